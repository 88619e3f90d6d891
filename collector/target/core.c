/* A core file: opened, checked, described, closed.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/core.h"
#include "target/procfs.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)

static void core_destroy(struct qh_target *target)
{
    struct qh_core *core = target->core;

    if (core) {
        qh_core_close_images(target);
        elf_end(core->elf);
        qh_close_guard(&core->fd);
        free(core);
    }
}

static struct qh_error *core_stop(struct qh_target *target)
{
    return NULL; /* it could not be more still */
}

static void core_resume(struct qh_target *target)
{
}

static struct qh_error *core_prefetch(struct qh_target *target,
                                      const struct qh_range *ranges,
                                      size_t count)
{
    return NULL; /* it is mapped as a whole */
}

static struct qh_error *core_open_file(struct qh_target *target,
                                       const struct qh_module *module,
                                       int *ret_fd)
{
    struct qh_core *core = target->core;
    const char *path = module->is_exe && core->exe ? core->exe : module->path;

    if (path[0] == '[') {
        return qh_error_path(
            qh_error_new(QH_ERR_NO_DEBUGINFO, "%s is no file", path), path);
    }
    struct qh_error *why = qh_open_regular(AT_FDCWD, path, false, ret_fd);
    if (!why) {
        return NULL;
    }
    struct qh_error *error = qh_error_path(
        qh_error_new(QH_ERR_NO_DEBUGINFO, "%s; the core's has build-id %s",
                     why->message,
                     module->build_id[0] ? module->build_id : "(not known)"),
        path);
    qh_error_destroy(why);
    return module->is_exe
               ? qh_error_try(error,
                              "give the executable that made the core with "
                              "--exe")
               : error;
}

/* Whether the core was written since this boot of this very kernel: then the
 * distance of its clocks is known. */
static bool is_from_here(struct qh_target *target)
{
    struct qh_core *core = target->core;
    uint64_t vdso =
        qh_auxv_value(core->auxv, core->auxv_bytes, AT_SYSINFO_EHDR);
    const struct qh_mapping *mapping =
        qh_target_mapping_at(target, qh_raddr(vdso));
    int64_t boot = qh_now_ns(CLOCK_REALTIME) - qh_now_ns(CLOCK_BOOTTIME);
    char theirs[QH_BUILD_ID_HEX], ours[QH_BUILD_ID_HEX];

    if (!vdso || !mapping || core->written_ns <= boot ||
        core->written_ns > qh_now_ns(CLOCK_REALTIME)) {
        return false;
    }
    qh_build_id_of_memory(target, vdso, mapping->end, theirs);
    qh_build_id_of_own_vdso(ours);
    return theirs[0] && strcmp(theirs, ours) == 0;
}

static struct qh_error *core_clock(struct qh_target *target, int clock,
                                   int64_t *ret_ns)
{
    struct qh_core *core = target->core;

    if (core->capture.present) {
        *ret_ns = clock == CLOCK_MONOTONIC ? core->capture.monotonic_ns
                                           : core->capture.realtime_ns;
        return NULL;
    }
    if (!is_from_here(target)) {
        return qh_error_new(QH_ERR_ABSENT,
                            "a core stores no clock, and this one is not from "
                            "this boot of this machine");
    }
    *ret_ns = core->written_ns;
    if (clock == CLOCK_MONOTONIC) {
        *ret_ns -= qh_now_ns(CLOCK_REALTIME) - qh_now_ns(CLOCK_MONOTONIC);
    }
    return NULL;
}

static struct qh_error *core_eventfd_count(struct qh_target *target, int fd,
                                           uint64_t *ret_count)
{
    const struct qh_core_capture *capture = &target->core->capture;

    for (size_t i = 0; i < capture->eventfd_count; i++) {
        if (capture->eventfds[i].fd == fd) {
            *ret_count = capture->eventfds[i].count;
            return NULL;
        }
    }
    return qh_error_new(QH_ERR_ABSENT, "a core holds no descriptors");
}

static const struct qh_target_ops core_ops = {
    .destroy = core_destroy,
    .stop = core_stop,
    .resume = core_resume,
    .read = qh_core_read,
    .read_some = qh_core_read_some,
    .prefetch = core_prefetch,
    .open_file = core_open_file,
    .clock = core_clock,
    .eventfd_count = core_eventfd_count,
};

static struct qh_error *bad_core(const struct qh_target *target,
                                 const char *what)
{
    return qh_error_path(
        qh_error_new(QH_ERR_BAD_CORE, "%s %s", target->process.core, what),
        target->process.core);
}

/* Unpacks zstd; names what else a core may be packed with. */
static struct qh_error *unpack(struct qh_target *target)
{
    static const struct {
        char magic[7];
        unsigned char bytes;
        const char *tool;
    } packers[] = {
        { "\x28\xb5\x2f\xfd", 4, NULL },
        { "\x1f\x8b", 2, "gunzip" },
        { "\xfd"
          "7zXZ",
          5, "unxz" },
        { "\x04\x22\x4d\x18", 4, "unlz4" },
        { "BZh", 3, "bunzip2" },
    };
    struct qh_core *core = target->core;
    char start[8] = "";
    int unpacked = -1;

    if (pread(core->fd, start, sizeof(start), 0) < 0) {
        return qh_error_path(qh_error_errno(QH_ERR_SYSTEM, errno,
                                            "cannot read %s",
                                            target->process.core),
                             target->process.core);
    }
    for (unsigned i = 0; i < QH_COUNT(packers); i++) {
        if (memcmp(start, packers[i].magic, packers[i].bytes) != 0) {
            continue;
        }
        if (packers[i].tool) {
            return qh_error_try(bad_core(target, "is compressed"),
                                "unpack it with %s first", packers[i].tool);
        }
        QH_TRY(qh_unzstd(core->fd, &unpacked, &core->cut));
        close(core->fd);
        core->fd = unpacked;
        return NULL;
    }
    return NULL;
}

static struct qh_error *check_header(const struct qh_target *target)
{
    const struct qh_core *core = target->core;
    Elf64_Ehdr header;

    if (!core->size) {
        return bad_core(target, "is empty");
    }
    if (core->size < SELFMAG || memcmp(core->image, ELFMAG, SELFMAG) != 0) {
        return bad_core(target, "is no ELF core");
    }
    if (core->size < sizeof(header)) {
        return bad_core(target, "is cut short in its first header");
    }
    memcpy(&header, core->image, sizeof(header));
    if (header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_ident[EI_DATA] != ELFDATA2LSB ||
        header.e_machine != EM_X86_64) {
        return qh_error_path(
            qh_error_new(QH_ERR_ARCH,
                         "%s is no x86-64 core (ELF class %d, machine %d)",
                         target->process.core, header.e_ident[EI_CLASS],
                         header.e_machine),
            target->process.core);
    }
    if (header.e_type == ET_CORE) {
        return NULL;
    }
    return qh_error_try(bad_core(target, "is an ELF file, but no core"),
                        "give the core with --core, and what made it with "
                        "--exe");
}

static struct qh_error *open_file(struct qh_target *target, const char *path)
{
    struct qh_core *core = target->core;
    struct stat st;
    size_t size = 0;

    struct qh_error *error = qh_open_regular(AT_FDCWD, path, false, &core->fd);
    if (error && error->errnum == EACCES) {
        return qh_error_try(error, "run it with sudo, or as whoever may read "
                                   "the file");
    }
    if (error) {
        return qh_error_try(error, "give the path of a core file; coredumpctl "
                                   "or /proc/sys/kernel/core_pattern tell "
                                   "where cores go");
    }
    if (fstat(core->fd, &st) < 0) {
        return qh_error_errno(QH_ERR_SYSTEM, errno, "cannot look at %s", path);
    }
    core->written_ns = st.st_mtim.tv_sec * SECOND_NS + st.st_mtim.tv_nsec;
    QH_TRY(unpack(target));
    elf_version(EV_CURRENT);
    core->elf = elf_begin(core->fd, ELF_C_READ_MMAP, NULL);
    /* Gives the mapping itself; NULL for an empty file. */
    core->image = (const unsigned char *)elf_rawfile(core->elf, &size);
    core->size = core->image ? size : 0;
    return check_header(target);
}

/* How far the program was moved from where its file would have it, by entry
 * point, equals how far its first page was moved. */
static bool entry_fits(struct qh_target *target, const struct qh_module *module,
                       int fd)
{
    struct qh_core *core = target->core;
    uint64_t entry = qh_auxv_value(core->auxv, core->auxv_bytes, AT_ENTRY);
    Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
    GElf_Ehdr header;
    GElf_Phdr phdr;
    size_t count = 0;
    bool fits = false;

    if (entry && gelf_getehdr(elf, &header) &&
        elf_getphdrnum(elf, &count) == 0) {
        for (size_t i = 0; i < count; i++) {
            if (gelf_getphdr(elf, (int)i, &phdr) && phdr.p_type == PT_LOAD) {
                uint64_t first = phdr.p_vaddr & -(uint64_t)QH_PAGE_BYTES;
                fits = entry - module->start == header.e_entry - first;
                break;
            }
        }
    }
    elf_end(elf);
    return fits;
}

static struct qh_error *wrong_exe(const struct qh_target *target,
                                  const char *path, const char *given,
                                  const char *wanted)
{
    return qh_error_path(
        qh_error_new(QH_ERR_WRONG_EXE,
                     "%s did not make %s: it has build-id %s, the core is of "
                     "%s",
                     path, target->process.core, given[0] ? given : "(none)",
                     wanted[0] ? wanted : "a program with another entry point"),
        path);
}

/* Holds the executable against the core. What the user gave must fit; what
 * lies at the recorded path by now need not. Where the core left the page with
 * the build-id out, the entry point has to do. */
static struct qh_error *check_exe(struct qh_target *target,
                                  struct qh_module *module)
{
    struct qh_core *core = target->core;
    QH_CLEANUP(qh_close_guard) int fd = -1;
    char found[QH_BUILD_ID_HEX];

    struct qh_error *error = core_open_file(target, module, &fd);
    if (error) {
        if (core->exe) {
            return error;
        }
        qh_error_destroy(error);
        return NULL;
    }
    qh_build_id_of_fd(fd, found);
    bool fits = module->build_id[0] ? strcmp(found, module->build_id) == 0
                                    : entry_fits(target, module, fd);
    if (!fits && core->exe) {
        return wrong_exe(target, core->exe, found, module->build_id);
    }
    if (fits) {
        memcpy(module->build_id, found, sizeof(found));
    }
    return NULL;
}

static struct qh_error *find_exe(struct qh_target *target)
{
    for (size_t i = 0; i < target->module_count; i++) {
        if (target->modules[i].is_exe) {
            target->process.exe = target->modules[i].path;
            return check_exe(target, &target->modules[i]);
        }
    }
    if (target->core->exe) {
        target->process.exe = target->core->exe;
    }
    return NULL;
}

static struct qh_error *tell_damage(struct qh_target *target)
{
    struct qh_core *core = target->core;
    const unsigned shift = core->damaged_at >> 23 ? 20 : 10;

    if (core->damaged_at) {
        target->process.damage = qh_arena_printf(
            &target->arena, "cut short: %llu of %llu %s are there%s%s",
            (unsigned long long)(core->size >> shift),
            (unsigned long long)(core->damaged_at >> shift),
            shift == 20 ? "MiB" : "KiB", core->cut ? ", " : "",
            core->cut ? core->cut : "");
        return target->process.damage ? NULL : qh_error_no_memory();
    }
    target->process.damage = core->cut;
    return NULL;
}

static struct qh_error *describe(struct qh_target *target)
{
    struct qh_core *core = target->core;

    QH_TRY(qh_core_read_notes(target));
    QH_TRY(qh_core_read_maps(target));
    QH_TRY(qh_modules_find(
        target, qh_auxv_value(core->auxv, core->auxv_bytes, AT_PHDR),
        qh_auxv_value(core->auxv, core->auxv_bytes, AT_SYSINFO_EHDR)));
    QH_TRY(find_exe(target));
    core->images = qh_arena_alloc(&target->arena, (target->module_count + 1) *
                                                      sizeof(*core->images));
    return core->images ? tell_damage(target) : qh_error_no_memory();
}

static struct qh_error *open_core(struct qh_target *target, const char *path,
                                  const char *exe)
{
    struct qh_core *core = calloc(1, sizeof(*core));

    if (!core) {
        return qh_error_no_memory();
    }
    core->fd = -1;
    target->core = core;
    target->ops = &core_ops;
    target->process.core = qh_arena_strdup(&target->arena, path);
    core->exe = qh_arena_strdup(&target->arena, exe);
    if (!target->process.core || (exe && !core->exe)) {
        return qh_error_no_memory();
    }
    QH_TRY(open_file(target, path));
    return describe(target);
}

struct qh_error *qh_target_open_core(const char *core, const char *exe,
                                     struct qh_target **ret)
{
    QH_CLEANUP(qh_target_guard) struct qh_target *target = NULL;

    QH_TRY(qh_target_new(QH_TARGET_CORE, &target));
    QH_TRY(open_core(target, core, exe));
    *ret = target;
    target = NULL;
    return NULL;
}
