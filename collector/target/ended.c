/* How a process came to its end, of one that is nobody's child of ours.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * As long as its parent has not waited for it, the last field of its stat says
 * so (proc(5), exit_code; to whom may trace it). After that only its pidfd
 * does, and only of Linux 6.15 and later: PIDFD_GET_INFO with PIDFD_INFO_EXIT
 * (include/uapi/linux/pidfd.h, fs/pidfs.c). Both tell a wait status. */
#include "target/live.h"

#include "target/procfs.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* struct pidfd_info as first released, 64 bytes; older headers lack it. */
struct pidfd_info_first {
    uint64_t mask;
    uint64_t cgroup_id;
    uint32_t ids[11]; /* pids, uids and gids, not needed here */
    int32_t exit_code;
};
#define GET_INFO _IOWR(0xff, 11, struct pidfd_info_first)
enum { INFO_EXIT = 1 << 3 };
enum { END_MS = 10000 };

bool qh_live_open_pidfd(struct qh_live *live)
{
    if (live->pidfd < 0) {
        live->pidfd = (int)syscall(SYS_pidfd_open, live->pid, 0);
    }
    return live->pidfd >= 0;
}

static bool status_from_stat(const struct qh_live *live, int *ret)
{
    char text[4096];
    struct qh_proc_stat stat;

    if (qh_proc_read(live->dir, "stat", text, sizeof(text)) <= 0 ||
        !qh_proc_parse_stat(text, &stat) || stat.state != 'Z') {
        return false;
    }
    *ret = stat.exit_code;
    return true;
}

static bool status_from_pidfd(const struct qh_live *live, int *ret)
{
    struct pidfd_info_first info = { .mask = INFO_EXIT };

    if (live->pidfd < 0 || ioctl(live->pidfd, GET_INFO, &info) < 0 ||
        !(info.mask & INFO_EXIT)) {
        return false;
    }
    *ret = info.exit_code;
    return true;
}

/* Memory is given up first, which is when reading it fails: to take a guest's
 * apart, and its descriptors, may need a while yet. */
static void await_end(const struct qh_live *live)
{
    struct pollfd end = { .fd = live->pidfd, .events = POLLIN };

    if (live->pidfd >= 0) {
        poll(&end, 1, END_MS);
    }
}

struct qh_ending qh_target_ending(const struct qh_target *target)
{
    const struct qh_live *live = target->live;
    int status;

    if (live) {
        await_end(live);
    }

    if (!live || (!status_from_stat(live, &status) &&
                  !status_from_pidfd(live, &status))) {
        return (struct qh_ending){ .how = QH_ENDING_UNKNOWN };
    }
    if (WIFSIGNALED(status)) {
        return (struct qh_ending){ .how = QH_ENDING_KILLED,
                                   .number = WTERMSIG(status) };
    }
    return (struct qh_ending){ .how = QH_ENDING_EXITED,
                               .number = WEXITSTATUS(status) };
}
