/* The programs that a path, a process or a build folder names, each judged.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/programs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void qh_programs_deinit(struct qh_programs *programs)
{
    for (size_t i = 0; i < programs->count; i++) {
        qh_verification_destroy(programs->items[i]);
    }
    qh_arena_deinit(&programs->arena);
}

static struct qh_error *cannot_open(const char *path)
{
    struct qh_error *error =
        qh_error_errno(errno == EACCES ? QH_ERR_PERMISSION : QH_ERR_SYSTEM,
                       errno, "cannot open the program");

    return qh_error_try(qh_error_path(error, path),
                        "give an executable, the PID of a running QEMU, or a "
                        "QEMU build folder");
}

static struct qh_error *verify_file(const char *open_as, const char *path,
                                    struct qh_programs *programs)
{
    QH_CLEANUP(qh_close_guard)
    int fd = open(open_as, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct qh_verification **added;
    const char **run_as;
    size_t count = programs->count;

    if (fd < 0) {
        return cannot_open(path);
    }
    run_as = qh_list_add(&programs->arena, &programs->run_as, &count,
                         &programs->run_as_capacity, sizeof(*run_as));
    added = qh_list_add(&programs->arena, &programs->items, &programs->count,
                        &programs->capacity, sizeof(*added));
    if (!run_as || !added) {
        return qh_error_no_memory();
    }
    *run_as = qh_arena_strdup(&programs->arena, open_as);
    return qh_verify(fd, path, added);
}

/* --- a build folder --- */

static bool is_program(const char *path)
{
    struct stat stat_;
    unsigned char magic[4] = { 0 };
    QH_CLEANUP(qh_close_guard) int fd = -1;

    if (stat(path, &stat_) < 0 || !S_ISREG(stat_.st_mode) ||
        !(stat_.st_mode & S_IXUSR)) {
        return false;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && read(fd, magic, 4) == 4 &&
           memcmp(magic, "\177ELF", 4) == 0;
}

static int is_qemu(const struct dirent *entry)
{
    return strncmp(entry->d_name, "qemu-", 5) == 0;
}

static struct qh_error *verify_entries(const char *folder,
                                       struct qh_programs *programs)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, is_qemu, alphasort);
    struct qh_error *error = NULL;

    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        if (!error && is_program(path)) {
            error = verify_file(path, path, programs);
        }
        free(entries[i]);
    }
    if (count >= 0) {
        free(entries);
    }
    return error;
}

/* Where QEMU's build leaves them (meson.build): the daemon has a folder. */
static struct qh_error *verify_folder(const char *folder,
                                      struct qh_programs *programs)
{
    char daemon[PATH_MAX];

    snprintf(daemon, sizeof(daemon), "%s/storage-daemon", folder);
    QH_TRY(verify_entries(folder, programs));
    QH_TRY(verify_entries(daemon, programs));
    if (!programs->count) {
        return qh_error_try(
            qh_error_path(
                qh_error_new(QH_ERR_NOT_QEMU, "no QEMU program in this folder"),
                folder),
            "give the folder that configure was run in, after a build");
    }
    return NULL;
}

/* --- a process --- */

static bool is_pid(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text) &&
           strlen(text) < 11;
}

static struct qh_error *verify_process(const char *pid,
                                       struct qh_programs *programs)
{
    char exe[64];
    char path[PATH_MAX];
    ssize_t length;

    snprintf(exe, sizeof(exe), "/proc/%s/exe", pid);
    length = readlink(exe, path, sizeof(path) - 1);
    if (length < 0) {
        bool gone = errno == ENOENT;
        struct qh_error *error =
            qh_error_errno(gone ? QH_ERR_NO_PROCESS : QH_ERR_PERMISSION, errno,
                           "cannot find the program of process %s", pid);
        return gone ? error
                    : qh_error_try(error, "run it with sudo, or give the "
                                          "program's path");
    }
    path[length] = 0;
    /* The very file, also where it was replaced since. */
    return verify_file(exe, path, programs);
}

struct qh_error *qh_programs_judge(const char *path,
                                   struct qh_programs *programs)
{
    struct stat stat_;

    if (stat(path, &stat_) < 0) {
        return is_pid(path) ? verify_process(path, programs)
                            : cannot_open(path);
    }
    return S_ISDIR(stat_.st_mode) ? verify_folder(path, programs)
                                  : verify_file(path, path, programs);
}
