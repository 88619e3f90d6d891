/* Opening files whose names come from a target.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int qh_open_linkless(int at, const char *path)
{
    int here = openat(at, ".", O_PATH | O_CLOEXEC);

    while (here >= 0) {
        path += strspn(path, "/");
        size_t length = strcspn(path, "/");
        if (!length) {
            return here;
        }
        QH_CLEANUP(qh_close_guard) int folder = here;
        char name[NAME_MAX + 1];
        if (length > NAME_MAX || (length == 2 && !memcmp(path, "..", 2))) {
            errno = length > NAME_MAX ? ENAMETOOLONG : EXDEV;
            return -1;
        }
        memcpy(name, path, length);
        name[length] = '\0';
        /* A link is opened itself: it is no folder and no regular file. */
        here = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        path += length;
    }
    return -1;
}

static int open_path(int at, const char *path, bool inside)
{
    struct open_how how = {
        .flags = O_PATH | O_CLOEXEC,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };

    if (!inside) {
        return openat(at, path, O_PATH | O_CLOEXEC);
    }
    int fd = (int)syscall(SYS_openat2, at, path, &how, sizeof(how));
    return fd < 0 && errno == ENOSYS ? qh_open_linkless(at, path) : fd;
}

struct qh_error *qh_open_regular(int at, const char *path, bool inside,
                                 int *ret_fd)
{
    QH_CLEANUP(qh_close_guard) int look = open_path(at, path, inside);
    struct stat st;
    char again[64];

    if (look < 0 || fstat(look, &st) < 0) {
        return qh_error_path(
            qh_error_errno(QH_ERR_SYSTEM, errno, "cannot open %s", path), path);
    }
    if (!S_ISREG(st.st_mode)) {
        return qh_error_path(
            qh_error_new(QH_ERR_SYSTEM, "%s is no regular file", path), path);
    }
    snprintf(again, sizeof(again), "/proc/self/fd/%d", look);
    int fd = open(again, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        return qh_error_path(
            qh_error_errno(QH_ERR_SYSTEM, errno, "cannot read %s", path), path);
    }
    *ret_fd = fd;
    return NULL;
}
