/* Opening files whose names come from a target.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_path(int at, const char *path, bool inside)
{
    struct open_how how = {
        .flags = O_PATH | O_CLOEXEC,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };

    if (!inside) {
        return openat(at, path, O_PATH | O_CLOEXEC);
    }
    return (int)syscall(SYS_openat2, at, path, &how, sizeof(how));
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
