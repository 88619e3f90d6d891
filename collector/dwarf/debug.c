/* Opening a target's ELF files and the DWARF of its executable.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf/private.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The vdso is a few pages; what claims to be more is not it. */
enum { MAX_VDSO_BYTES = 1 << 20 };

/* What debuginfod is given to answer, in seconds: a transfer that stands
 * still, and all of it. Only where the user has not set his own. */
#define DEBUGINFOD_STALL "15"
#define DEBUGINFOD_TOTAL "120"

/* Files are handed to libdwfl; it is never to look for them by name. */
static int find_elf(Dwfl_Module *module, void **userdata,
                    const char *module_name, Dwarf_Addr base,
                    char **ret_file_name, Elf **ret_elf)
{
    return -1;
}

/* The vdso has no file: its image is copied out of the target. */
static struct qh_error *open_vdso(struct qh_target *target,
                                  const struct qh_module *module, int *ret_fd)
{
    uint64_t bytes = module->end - module->start;
    QH_CLEANUP(qh_free_guard) void *image = NULL;
    QH_CLEANUP(qh_close_guard) int fd = -1;

    if (bytes > MAX_VDSO_BYTES) {
        return qh_error_new(QH_ERR_INCONSISTENT, "the vdso is too large");
    }
    image = malloc(bytes);
    if (!image) {
        return qh_error_no_memory();
    }
    QH_TRY(qh_target_read(target, qh_raddr(module->start), image, bytes));
    fd = memfd_create("vdso", MFD_CLOEXEC);
    if (fd < 0 || write(fd, image, bytes) != (ssize_t)bytes) {
        return qh_error_errno(QH_ERR_SYSTEM, errno, "copy of the vdso");
    }
    *ret_fd = fd;
    fd = -1;
    return NULL;
}

static struct qh_error *open_module(struct qh_target *target,
                                    const struct qh_module *module, int *ret_fd)
{
    if (module->path[0] == '[') {
        return open_vdso(target, module, ret_fd);
    }
    return qh_target_open_module(target, module, ret_fd);
}

/* Remembers a module that could not be had, and why; takes `error` over. */
static struct qh_error *add_missing(struct qh_debug *debug,
                                    const struct qh_module *module,
                                    struct qh_error *error)
{
    QH_CLEANUP(qh_error_guard) struct qh_error *reason = error;
    struct qh_missing *missing =
        qh_list_add(&debug->arena, &debug->missing, &debug->missing_count,
                    &debug->missing_capacity, sizeof(*missing));

    if (!missing) {
        return qh_error_no_memory();
    }
    missing->start = module->start;
    missing->end = module->end;
    missing->path = qh_arena_strdup(&debug->arena, module->path);
    missing->why = qh_arena_strdup(&debug->arena, reason->message);
    return missing->path && missing->why ? NULL : qh_error_no_memory();
}

/* Reports one module to libdwfl. */
static struct qh_error *report(struct qh_debug *debug,
                               const struct qh_module *module,
                               Dwfl_Module **ret)
{
    int fd = -1;

    QH_TRY(open_module(debug->target, module, &fd));
    Dwfl_Module *reported = dwfl_report_elf(debug->dwfl, module->path,
                                            module->path, fd, module->start,
                                            false);
    if (!reported) {
        close(fd);
        return qh_error_path(qh_error_new(QH_ERR_BAD_DEBUGINFO, "%s: %s",
                                          module->path, dwfl_errmsg(-1)),
                             module->path);
    }
    *ret = reported;
    return NULL;
}

static struct qh_error *report_modules(struct qh_debug *debug)
{
    size_t count = 0;
    const struct qh_module *modules =
        qh_target_modules(debug->target, &count);

    for (size_t i = 0; i < count; i++) {
        Dwfl_Module *module = NULL;
        struct qh_error *error = report(debug, &modules[i], &module);
        if (error && (modules[i].is_exe || error->code == QH_ERR_MEMORY)) {
            return error;
        }
        if (error) {
            QH_TRY(add_missing(debug, &modules[i], error));
        }
        if (modules[i].is_exe) {
            debug->exe = module;
            debug->exe_path =
                qh_arena_strdup(&debug->arena, modules[i].path);
            memcpy(debug->build_id, modules[i].build_id,
                   sizeof(debug->build_id));
        }
    }
    if (!debug->exe) {
        return qh_error_try(
            qh_error_new(QH_ERR_NO_DEBUGINFO,
                         "the target's executable is not among its mappings"),
            "name it with --exe");
    }
    return debug->exe_path ? NULL : qh_error_no_memory();
}

static void bound_debuginfod(void)
{
    const char *urls = getenv("DEBUGINFOD_URLS");

    if (urls && urls[0]) {
        setenv("DEBUGINFOD_TIMEOUT", DEBUGINFOD_STALL, 0);
        setenv("DEBUGINFOD_MAXTIME", DEBUGINFOD_TOTAL, 0);
    }
}

/* Whether the DWARF that was found parses as far as its units go. */
static struct qh_error *check_units(struct qh_debug *debug)
{
    Dwarf_CU *cu = NULL;
    size_t count = 0;
    int more = 0;

    while ((more = dwarf_get_units(debug->dwarf, cu, &cu, NULL, NULL, NULL,
                                   NULL)) == 0) {
        count++;
    }
    if (more < 0) {
        return qh_dwarf_error(debug, "its units");
    }
    return count ? NULL : qh_find_failed(debug, "it describes nothing");
}

static struct qh_error *load_dwarf(struct qh_debug *debug)
{
    GElf_Addr bias = 0;
    char build_id[129];
    void **userdata = NULL;

    dwfl_module_info(debug->exe, &userdata, NULL, NULL, NULL, NULL, NULL,
                     NULL);
    *userdata = debug;
    debug->elf = dwfl_module_getelf(debug->exe, &bias);
    if (!debug->elf) {
        return qh_find_failed(debug, dwfl_errmsg(-1));
    }
    debug->elf_bias = bias;
    if (!debug->build_id[0]) {
        qh_elf_build_id(debug->elf, debug->build_id);
    }
    bound_debuginfod();
    debug->dwarf = dwfl_module_getdwarf(debug->exe, &bias);
    if (!debug->dwarf) {
        return qh_find_failed(debug, dwfl_errmsg(-1));
    }
    debug->dwarf_bias = bias;
    qh_elf_build_id(dwarf_getelf(debug->dwarf), build_id);
    if (debug->build_id[0] && build_id[0] &&
        strcmp(debug->build_id, build_id) != 0) {
        return qh_find_failed(debug, "it is of another build");
    }
    return check_units(debug);
}

static struct qh_error *open_dwfl(struct qh_debug *debug)
{
    debug->callbacks = (Dwfl_Callbacks){
        .find_elf = find_elf,
        .find_debuginfo = qh_find_debuginfo,
    };
    debug->dwfl = dwfl_begin(&debug->callbacks);
    if (!debug->dwfl) {
        return qh_error_no_memory();
    }
    dwfl_report_begin(debug->dwfl);
    QH_TRY(report_modules(debug));
    if (dwfl_report_end(debug->dwfl, NULL, NULL) != 0) {
        return qh_error_new(QH_ERR_SYSTEM, "libdwfl: %s", dwfl_errmsg(-1));
    }
    QH_TRY(load_dwarf(debug));
    QH_TRY(qh_symbols_load(debug));
    if (!qh_unwind_attach(debug)) {
        return qh_error_new(QH_ERR_SYSTEM, "libdwfl: %s", dwfl_errmsg(-1));
    }
    return NULL;
}

struct qh_error *qh_debug_open(struct qh_target *target,
                               const struct qh_debug_options *options,
                               struct qh_debug **ret)
{
    QH_CLEANUP(qh_debug_guard) struct qh_debug *debug =
        calloc(1, sizeof(*debug));

    if (!debug) {
        return qh_error_no_memory();
    }
    elf_version(EV_CURRENT);
    debug->target = target;
    debug->exe_path = "the executable";
    if (options && options->debuginfo_dir) {
        debug->debuginfo_dir =
            qh_arena_strdup(&debug->arena, options->debuginfo_dir);
        if (!debug->debuginfo_dir) {
            return qh_error_no_memory();
        }
    }
    QH_TRY(open_dwfl(debug));
    *ret = debug;
    debug = NULL;
    return NULL;
}

void qh_debug_destroy(struct qh_debug *debug)
{
    if (!debug) {
        return;
    }
    if (debug->dwfl) {
        dwfl_end(debug->dwfl);
    }
    qh_symbols_deinit(&debug->symbols);
    qh_units_deinit(&debug->units);
    free(debug->by_pc.slots);
    qh_arena_deinit(&debug->arena);
    free(debug);
}

void qh_debug_guard(struct qh_debug **debug)
{
    qh_debug_destroy(*debug);
}

const char *qh_debug_build_id(const struct qh_debug *debug)
{
    return debug->build_id;
}
