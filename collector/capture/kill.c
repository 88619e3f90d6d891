/* The signal after the capture: to the process that was captured, no other.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source: pidfd_open(2), pidfd_send_signal(2). */
#include "capture/capture.h"
#include "target/raw.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct qh_error *exited(pid_t pid)
{
    return qh_error_tid(
        qh_error_new(QH_ERR_EXITED, "process %d has exited", (int)pid), pid);
}

/* The target's /proc files belong to the process that it was opened for: while
 * they can be read, the pid is still its own. */
struct qh_error *qh_kill_prepare(struct qh_target *target, int *ret_fd)
{
    pid_t pid = qh_target_process(target)->pid;
    QH_CLEANUP(qh_close_guard)
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct qh_arena arena = { NULL };
    char *text;
    size_t bytes;

    if (fd < 0 && errno == ESRCH) {
        return exited(pid);
    }
    if (fd < 0) {
        return qh_error_errno(QH_ERR_SYSTEM, errno,
                              "cannot take hold of process %d", (int)pid);
    }
    struct qh_error *error = qh_raw_file(target, "stat", &arena, &text, &bytes);
    qh_arena_deinit(&arena);
    QH_TRY(error);
    *ret_fd = fd;
    fd = -1;
    return NULL;
}

struct qh_error *qh_kill(int fd, pid_t pid, int signal)
{
    if (syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0) == 0) {
        return NULL;
    }
    if (errno == ESRCH) {
        return exited(pid);
    }
    return qh_error_tid(
        qh_error_errno(errno == EPERM ? QH_ERR_PERMISSION : QH_ERR_SYSTEM,
                       errno, "cannot send signal %d to %d", signal, (int)pid),
        pid);
}
