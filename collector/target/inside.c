/* Files as the process itself sees them: it may live in a container.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Whoever owns the container chose every name and link in there, so a path is
 * resolved with the process's root as "/", and only regular files are opened.
 */
#include "target/live.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static bool is_same(int at, const char *path, const char *own)
{
    struct stat its, ours;

    return fstatat(at, path, &its, 0) == 0 && stat(own, &ours) == 0 &&
           its.st_dev == ours.st_dev && its.st_ino == ours.st_ino;
}

struct qh_error *qh_live_open_inside(const struct qh_live *live,
                                     const char *path, int *ret_fd)
{
    QH_CLEANUP(qh_close_guard)
    int root = openat(live->dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (root < 0) {
        return qh_error_errno(QH_ERR_SYSTEM, errno, "cannot open /proc/%d/root",
                              (int)live->pid);
    }
    return qh_open_regular(root, path, true, ret_fd);
}

/* Namespaces are told apart by their inode (namespaces(7)). */
bool qh_target_has_own_root(const struct qh_target *target)
{
    const struct qh_live *live = target->live;

    return live && (!is_same(live->dir, "ns/mnt", "/proc/self/ns/mnt") ||
                    !is_same(live->dir, "root", "/"));
}

struct qh_error *qh_target_open_inside(struct qh_target *target,
                                       const char *path, int *ret_fd)
{
    if (!target->live) {
        return qh_error_new(QH_ERR_ABSENT, "a core has no files");
    }
    return qh_live_open_inside(target->live, path, ret_fd);
}
