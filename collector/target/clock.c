/* The clocks of a running process, and what the scheduler's clock shows.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/live.h"
#include "target/procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t offset_of(int dir, const char *name)
{
    char text[256];
    int64_t ns = 0;

    if (qh_proc_read(dir, name, text, sizeof(text)) <= 0 ||
        !qh_proc_parse_timens(text, "monotonic", &ns)) {
        return 0;
    }
    return ns;
}

static bool same_link(int dir, const char *name, const char *own)
{
    char theirs[64] = "", ours[64] = "";

    return readlinkat(dir, name, theirs, sizeof(theirs) - 1) > 0 &&
           readlinkat(AT_FDCWD, own, ours, sizeof(ours) - 1) > 0 &&
           strcmp(theirs, ours) == 0;
}

/* timens_offsets shows the namespace for a process' children; it is its own
 * too unless it called unshare itself, which is why the links are compared. */
int64_t qh_clock_skew_ns(int dir)
{
    if (same_link(dir, "ns/time", "/proc/self/ns/time")) {
        return 0;
    }
    return offset_of(dir, "timens_offsets") -
           offset_of(AT_FDCWD, "/proc/self/timens_offsets");
}

/* After a sleep, however short, se.exec_start is the moment at which this
 * thread got the CPU; the least distance of a few is the best. */
static bool measure(int64_t *ret_ns)
{
    const struct timespec shortest = { .tv_nsec = 1 };
    int64_t least = INT64_MAX;
    char text[4096];

    for (unsigned i = 0; i < 3; i++) {
        int64_t exec_start;
        nanosleep(&shortest, NULL);
        int64_t now = qh_now_ns(CLOCK_MONOTONIC);
        if (qh_proc_read(AT_FDCWD, "/proc/thread-self/sched", text,
                         sizeof(text)) <= 0 ||
            !qh_proc_parse_exec_start(text, &exec_start)) {
            return false;
        }
        if (now - exec_start < least) {
            least = now - exec_start;
        }
    }
    *ret_ns = least;
    return true;
}

bool qh_clock_of_cpu(int cpu, int64_t *ret_ns)
{
    cpu_set_t only;

    if (cpu < 0 || cpu >= CPU_SETSIZE) {
        return false;
    }
    CPU_ZERO(&only);
    CPU_SET(cpu, &only);
    return sched_setaffinity(0, sizeof(only), &only) == 0 && measure(ret_ns);
}
