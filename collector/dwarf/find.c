/* Finding the debug file of the executable, and saying why there is none.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * libdwfl knows the usual places: the build-id folders, .gnu_debuglink beside
 * the file and in .debug, /usr/lib/debug, debuginfod. What a user names with
 * --debuginfo is tried before, by the build-id alone: a file of another build
 * would tell wrong offsets without a word. So is what stands in the usual
 * places of a container, whose files are opened as the process itself sees
 * them.
 */
#include "dwarf/private.h"

#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void qh_elf_build_id(Elf *elf, char ret[129])
{
    static const char digits[] = "0123456789abcdef";
    const void *id = NULL;
    ssize_t bytes = dwelf_elf_gnu_build_id(elf, &id);
    const unsigned char *raw = id;

    ret[0] = '\0';
    if (bytes <= 0 || bytes > 64) {
        return;
    }
    for (ssize_t i = 0; i < bytes; i++) {
        ret[2 * i] = digits[raw[i] >> 4];
        ret[2 * i + 1] = digits[raw[i] & 15];
    }
    ret[2 * bytes] = '\0';
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Opens a regular file, not waiting for what may be a pipe. */
static int open_regular(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Whether the file is of this build; `*ret_elf` tells whether it is ELF. */
static bool is_of_build(int fd, const char *build_id, bool *ret_elf)
{
    char found[129] = "";
    Elf *elf = elf_begin(fd, ELF_C_READ_MMAP_PRIVATE, NULL);

    *ret_elf = elf && elf_kind(elf) == ELF_K_ELF;
    if (*ret_elf) {
        qh_elf_build_id(elf, found);
    }
    elf_end(elf);
    return found[0] && strcmp(found, build_id) == 0;
}

/* Adds one place to the list that the user is shown. */
static void note_place(struct qh_debug *debug, const char *place)
{
    debug->places = debug->places ? qh_arena_printf(&debug->arena, "%s, %s",
                                                    debug->places, place)
                                  : qh_arena_strdup(&debug->arena, place);
}

/* Opens `path` if it is the debug file; -1 if not, which is noted. */
static int try_file(struct qh_debug *debug, const char *path)
{
    bool is_elf = false;
    int fd = path ? open_regular(path) : -1;

    if (fd < 0) {
        note_place(debug, path ? path : "(out of memory)");
        return -1;
    }
    if (is_of_build(fd, debug->build_id, &is_elf)) {
        return fd;
    }
    close(fd);
    if (is_elf) {
        note_place(debug, qh_arena_printf(&debug->arena,
                                          "%s (of another build)", path));
    } else {
        note_place(debug, path);
        debug->bad_file = path;
    }
    return -1;
}

/* Tries what --debuginfo names: a folder, or the file itself. */
static int try_given(struct qh_debug *debug, const char *debuglink,
                     const char **ret_path)
{
    struct qh_arena *arena = &debug->arena;
    const char *dir = debug->debuginfo_dir;
    const char *id = debug->build_id;
    const char *base = base_name(debug->exe_path);
    const char *paths[] = {
        qh_arena_printf(arena, "%s/.build-id/%.2s/%s.debug", dir, id, id + 2),
        qh_arena_printf(arena, "%s/%s", dir, debuglink ? debuglink : base),
        qh_arena_printf(arena, "%s/%s.debug", dir, base),
    };
    struct stat st;

    if (stat(dir, &st) == 0 && S_ISREG(st.st_mode)) {
        *ret_path = dir;
        return try_file(debug, dir);
    }
    for (size_t i = 0; i < QH_COUNT(paths); i++) {
        int fd = try_file(debug, paths[i]);
        if (fd >= 0) {
            *ret_path = paths[i];
            return fd;
        }
    }
    return -1;
}

/* Tries `path` as a process in a container sees it; -1 if not, which is noted
 * as the path by which this host finds it. */
static int try_one_inside(struct qh_debug *debug, const char *path,
                          const char **ret_path)
{
    const struct qh_process *process = qh_target_process(debug->target);
    bool is_elf = false;
    int fd = -1;
    struct qh_error *error = qh_target_open_inside(debug->target, path, &fd);
    const char *shown = qh_arena_printf(&debug->arena, "/proc/%d/root%s",
                                        (int)process->pid, path);

    qh_error_destroy(error);
    if (fd >= 0 && is_of_build(fd, debug->build_id, &is_elf)) {
        *ret_path = shown;
        return fd;
    }
    qh_close_guard(&fd);
    note_place(debug, shown ? shown : "(out of memory)");
    return -1;
}

/* The usual places of a target that has a root of its own. */
static int try_inside(struct qh_debug *debug, const char *file_name,
                      const char *debuglink, const char **ret_path)
{
    struct qh_arena *arena = &debug->arena;
    const char *id = debug->build_id;
    const char *slash = strrchr(file_name, '/');
    int length = slash ? (int)(slash - file_name) : 0;
    const char *link =
        debuglink ? debuglink
                  : qh_arena_printf(arena, "%s.debug", base_name(file_name));
    const char *paths[] = {
        qh_arena_printf(arena, "/usr/lib/debug/.build-id/%.2s/%s.debug", id,
                        id + 2),
        qh_arena_printf(arena, "%.*s/%s", length, file_name, link),
        qh_arena_printf(arena, "%.*s/.debug/%s", length, file_name, link),
        qh_arena_printf(arena, "/usr/lib/debug%.*s/%s", length, file_name,
                        link),
    };

    for (size_t i = 0; i < QH_COUNT(paths); i++) {
        int fd = paths[i] ? try_one_inside(debug, paths[i], ret_path) : -1;
        if (fd >= 0) {
            return fd;
        }
    }
    return -1;
}

/* The places that dwfl_standard_find_debuginfo() goes through. */
static void note_standard(struct qh_debug *debug, const char *file_name,
                          const char *debuglink)
{
    struct qh_arena *arena = &debug->arena;
    const char *id = debug->build_id;
    const char *slash = strrchr(file_name, '/');
    int length = slash ? (int)(slash - file_name) : 0;

    if (id[0]) {
        note_place(debug, qh_arena_printf(
                              arena, "/usr/lib/debug/.build-id/%.2s/%s.debug",
                              id, id + 2));
    }
    if (!debuglink) {
        debuglink = qh_arena_printf(arena, "%s.debug", base_name(file_name));
    }
    note_place(debug,
               qh_arena_printf(arena, "%.*s/%s", length, file_name, debuglink));
    note_place(debug, qh_arena_printf(arena, "%.*s/.debug/%s", length,
                                      file_name, debuglink));
    note_place(debug, qh_arena_printf(arena, "/usr/lib/debug%.*s/%s", length,
                                      file_name, debuglink));
}

int qh_find_debuginfo(Dwfl_Module *module, void **userdata,
                      const char *module_name, Dwarf_Addr base,
                      const char *file_name, const char *debuglink,
                      GElf_Word debuglink_crc, char **ret_file_name)
{
    struct qh_debug *debug = *userdata;
    const char *given = NULL;
    int fd = -1;

    /* Libraries are read for their symbols and CFI only. */
    if (!debug) {
        return -1;
    }
    if (debug->debuginfo_dir && debug->build_id[0]) {
        fd = try_given(debug, debuglink, &given);
        if (fd >= 0) {
            *ret_file_name = strdup(given);
        }
    }
    /* Not twice, which is for the file that a debug file shares with others. */
    if (fd < 0 && debug->build_id[0] && !debug->debug_file &&
        qh_target_has_own_root(debug->target)) {
        fd = try_inside(debug, file_name, debuglink, &given);
        if (fd >= 0) {
            *ret_file_name = given ? strdup(given) : NULL;
        }
    }
    if (fd < 0) {
        fd = dwfl_standard_find_debuginfo(module, userdata, module_name, base,
                                          file_name, debuglink, debuglink_crc,
                                          ret_file_name);
    }
    if (fd < 0) {
        note_standard(debug, file_name, debuglink);
    } else if (*ret_file_name) {
        debug->debug_file = qh_arena_strdup(&debug->arena, *ret_file_name);
    } else {
        debug->debug_file = "a file from debuginfod";
    }
    return fd;
}

static struct qh_error *bad(struct qh_debug *debug, const char *file,
                            const char *why)
{
    return qh_error_path(
        qh_error_new(QH_ERR_BAD_DEBUGINFO,
                     "%s, the debug information of %s, cannot be used: %s",
                     file, debug->exe_path, why),
        file);
}

struct qh_error *qh_find_failed(struct qh_debug *debug, const char *why)
{
    const char *urls = getenv("DEBUGINFOD_URLS");
    const char *id = debug->build_id[0] ? debug->build_id : "none";

    if (debug->debug_file) {
        return bad(debug, debug->debug_file, why);
    }
    if (debug->bad_file) {
        return bad(debug, debug->bad_file, "it is no ELF file");
    }
    if (!debug->places) { /* never asked for: the executable's own is broken */
        return bad(debug, debug->exe_path, why);
    }
    struct qh_error *error = qh_error_path(
        qh_error_new(QH_ERR_NO_DEBUGINFO,
                     "no debug information for %s, build-id %s; looked in %s; "
                     "DEBUGINFOD_URLS %s%s",
                     debug->exe_path, id, debug->places,
                     urls && urls[0] ? "asked: " : "is not set",
                     urls ? urls : ""),
        debug->exe_path);
    return qh_error_try(
        error,
        "install the debug symbols of exactly this build, or give their "
        "folder with --debuginfo, or set DEBUGINFOD_URLS (sudo drops it: "
        "sudo --preserve-env=DEBUGINFOD_URLS)");
}
