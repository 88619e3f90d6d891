/* Which ELF files are mapped where, told from the memory map.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/ops.h"

#include <elf.h>
#include <string.h>

/* A file's mappings, while they are being put together. */
struct group {
    uint64_t start, end;
    const char *path;
    bool executable;
};

bool qh_path_take_deleted(char *path)
{
    static const char suffix[] = " (deleted)";
    size_t bytes = strlen(path), tail = sizeof(suffix) - 1;

    if (bytes <= tail || strcmp(path + bytes - tail, suffix) != 0) {
        return false;
    }
    path[bytes - tail] = '\0';
    return true;
}

struct qh_module *qh_module_at(const struct qh_target *target, uint64_t address)
{
    for (size_t i = 0; i < target->module_count; i++) {
        struct qh_module *module = &target->modules[i];
        if (address >= module->start && address < module->end) {
            return module;
        }
    }
    return NULL;
}

static bool has_elf_magic(struct qh_target *target, uint64_t address)
{
    unsigned char magic[SELFMAG];
    struct qh_error *error =
        qh_target_read(target, qh_raddr(address), magic, sizeof(magic));
    bool readable = !error;

    qh_error_destroy(error);
    /* A core may leave the page out: then the name has to do. */
    return !readable || memcmp(magic, ELFMAG, SELFMAG) == 0;
}

/* What is never executed is data, and may be the guest's memory: it is not
 * even looked at. */
static struct qh_error *finish_group(struct qh_target *target,
                                     const struct group *group, uint64_t phdr,
                                     size_t *capacity)
{
    if (!group->path || !group->executable ||
        !has_elf_magic(target, group->start)) {
        return NULL;
    }
    struct qh_module *module =
        qh_list_add(&target->arena, &target->modules, &target->module_count,
                    capacity, sizeof(*module));
    char *path = qh_arena_strdup(&target->arena, group->path);
    if (!module || !path) {
        return qh_error_no_memory();
    }
    module->start = group->start;
    module->end = group->end;
    module->deleted = qh_path_take_deleted(path);
    module->path = path;
    module->is_exe = phdr >= group->start && phdr < group->end;
    qh_build_id_of_memory(target, group->start, group->end, module->build_id);
    return NULL;
}

/* Anonymous memory between the mappings of a file is its own (.bss), what
 * begins at offset 0 of the file is a new copy of it. */
static bool belongs(const struct group *group, const struct qh_mapping *mapping)
{
    return group->path && mapping->file_offset &&
           strcmp(group->path, mapping->path) == 0;
}

struct qh_error *qh_modules_find(struct qh_target *target, uint64_t phdr,
                                 uint64_t vdso)
{
    struct group group = { 0 };
    size_t capacity = 0;

    for (size_t i = 0; i < target->mapping_count; i++) {
        struct qh_mapping *mapping = &target->mappings[i];
        if (vdso && vdso == mapping->start) {
            mapping->path = "[vdso]";
        }
        if (mapping->path[0] != '/' && strcmp(mapping->path, "[vdso]") != 0) {
            continue;
        }
        if (!belongs(&group, mapping)) {
            QH_TRY(finish_group(target, &group, phdr, &capacity));
            group = (struct group){ .start = mapping->start,
                                    .path = mapping->path };
        }
        group.end = mapping->end;
        group.executable |= mapping->executable;
    }
    return finish_group(target, &group, phdr, &capacity);
}
