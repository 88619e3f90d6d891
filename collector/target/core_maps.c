/* The memory map of a core, put together from PT_LOAD and NT_FILE.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/core.h"

#include <string.h>

/* A mapping and its bytes, while they are being sorted. */
struct piece {
    struct qh_mapping mapping;
    struct qh_core_piece bytes;
};

/* The NT_FILE entry that holds `address`, or NULL. */
static const struct qh_core_file *file_at(const struct qh_core *core,
                                          uint64_t address)
{
    size_t low = 0, high = core->file_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct qh_core_file *file = &core->files[middle];
        if (address < file->start) {
            high = middle;
        } else if (address >= file->end) {
            low = middle + 1;
        } else {
            return file;
        }
    }
    return NULL;
}

static void add_segment(struct qh_core *core, const GElf_Phdr *phdr,
                        struct piece *piece)
{
    const struct qh_core_file *file = file_at(core, phdr->p_vaddr);
    uint64_t claimed =
        phdr->p_filesz < phdr->p_memsz ? phdr->p_filesz : phdr->p_memsz;
    uint64_t there =
        phdr->p_offset < core->size ? core->size - phdr->p_offset : 0;

    piece->mapping = (struct qh_mapping){
        .start = phdr->p_vaddr,
        .end = phdr->p_vaddr + phdr->p_memsz,
        .readable = phdr->p_flags & PF_R,
        .writable = phdr->p_flags & PF_W,
        .executable = phdr->p_flags & PF_X,
        .present_bytes = claimed < there ? claimed : there,
        .path = file ? file->path : "",
        .file_offset = file ? file->offset + (phdr->p_vaddr - file->start) : 0,
    };
    piece->bytes = (struct qh_core_piece){
        .start = piece->mapping.start,
        .end = piece->mapping.end,
        .offset = phdr->p_offset,
        .claimed = claimed,
        .present = piece->mapping.present_bytes,
    };
    if (claimed > there && phdr->p_offset + claimed > core->damaged_at) {
        core->damaged_at = phdr->p_offset + claimed;
    }
}

/* A core that was cut may end in the middle of a table of nonsense: what wraps
 * around is left out. */
static bool usable(const GElf_Phdr *phdr)
{
    return phdr->p_type == PT_LOAD && phdr->p_memsz &&
           phdr->p_vaddr <= UINT64_MAX - phdr->p_memsz &&
           phdr->p_offset <= UINT64_MAX - phdr->p_filesz;
}

static int by_start(const void *a, const void *b)
{
    const struct piece *left = a, *right = b;

    return (left->mapping.start > right->mapping.start) -
           (left->mapping.start < right->mapping.start);
}

static size_t drop_overlaps(struct piece *pieces, size_t count)
{
    size_t kept = 0;

    qsort(pieces, count, sizeof(*pieces), by_start);
    for (size_t i = 0; i < count; i++) {
        if (!kept || pieces[i].mapping.start >= pieces[kept - 1].mapping.end) {
            pieces[kept++] = pieces[i];
        }
    }
    return kept;
}

static bool overlaps(const struct piece *pieces, size_t count, uint64_t start,
                     uint64_t end)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (pieces[middle].mapping.end <= start) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < count && pieces[low].mapping.start < end;
}

/* Mappings that gcore left out. Their protection is not known: gcore leaves
 * out only what is as it is in the file, and core_memory.c asks the file
 * whether it is a part that is never written. */
static size_t add_files(const struct qh_core *core, struct piece *pieces,
                        size_t count)
{
    size_t all = count;

    for (size_t i = 0; i < core->file_count; i++) {
        const struct qh_core_file *file = &core->files[i];
        if (file->start >= file->end ||
            overlaps(pieces, count, file->start, file->end)) {
            continue;
        }
        pieces[all++] = (struct piece){
            .mapping = { .start = file->start,
                         .end = file->end,
                         .file_offset = file->offset,
                         .readable = true,
                         .executable = true,
                         .path = file->path },
        };
    }
    return all;
}

/* What NT_FILE alone knows of has no bytes in the core. */
static struct qh_error *publish_pieces(struct qh_target *target,
                                       const struct piece *pieces, size_t count)
{
    struct qh_core *core = target->core;

    core->pieces =
        qh_arena_alloc(&target->arena, (count + 1) * sizeof(*core->pieces));
    if (!core->pieces) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].bytes.claimed) {
            core->pieces[core->piece_count++] = pieces[i].bytes;
        }
    }
    return NULL;
}

/* A capture knows the map as it was; its PT_LOADs are smaller than that. */
static struct qh_error *publish_captured(struct qh_target *target)
{
    struct qh_core_capture *capture = &target->core->capture;
    struct qh_error *error = qh_maps_parse(target, capture->maps);

    if (error && error->code == QH_ERR_INCONSISTENT) {
        qh_error_destroy(error);
        capture->present = false; /* then it is like any other core */
        return NULL;
    }
    return error;
}

static struct qh_error *publish(struct qh_target *target,
                                const struct piece *pieces, size_t count)
{
    QH_TRY(publish_pieces(target, pieces, count));
    if (target->core->capture.present) {
        QH_TRY(publish_captured(target));
    }
    if (target->core->capture.present) {
        return NULL;
    }
    target->mappings =
        qh_arena_alloc(&target->arena, (count + 1) * sizeof(*target->mappings));
    if (!target->mappings) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < count; i++) {
        target->mappings[i] = pieces[i].mapping;
    }
    target->mapping_count = count;
    return NULL;
}

struct qh_error *qh_core_read_maps(struct qh_target *target)
{
    struct qh_core *core = target->core;
    size_t phdrs = 0, count = 0;

    if (elf_getphdrnum(core->elf, &phdrs) < 0) {
        phdrs = 0;
    }
    QH_CLEANUP(qh_free_guard)
    struct piece *pieces =
        calloc(phdrs + core->file_count + 1, sizeof(*pieces));
    if (!pieces) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < phdrs; i++) {
        GElf_Phdr phdr;
        if (gelf_getphdr(core->elf, (int)i, &phdr) && usable(&phdr)) {
            add_segment(core, &phdr, &pieces[count++]);
        }
    }
    count = drop_overlaps(pieces, count);
    count = add_files(core, pieces, count);
    return publish(target, pieces, drop_overlaps(pieces, count));
}
