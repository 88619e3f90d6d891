/* Who holds a process still must not wait for a CPU himself.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * On a busy host the scheduler takes the CPU away in the middle of a stop, and
 * the target then stands for as long as others compute. For the length of a
 * stop, which is bounded, qhang asks for the lowest real-time priority. Where
 * it may not have it (no CAP_SYS_NICE), the stop is only longer.
 *
 * Source: sched(7). A nice value would not do: with autogroup scheduling it
 * counts only within the session. */
#include "target/live.h"

#include <sched.h>

void qh_priority_raise(struct qh_priority *saved)
{
    const struct sched_param lowest = {
        .sched_priority = sched_get_priority_min(SCHED_FIFO),
    };

    saved->policy = sched_getscheduler(0);
    saved->raised =
        (saved->policy == SCHED_OTHER || saved->policy == SCHED_BATCH ||
         saved->policy == SCHED_IDLE) &&
        sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &lowest) == 0;
}

void qh_priority_restore(struct qh_priority *saved)
{
    const struct sched_param ordinary = { .sched_priority = 0 };

    if (saved->raised) {
        /* With RLIMIT_RTPRIO only, the flag cannot be taken off again. */
        if (sched_setscheduler(0, saved->policy, &ordinary) < 0) {
            sched_setscheduler(0, saved->policy | SCHED_RESET_ON_FORK,
                               &ordinary);
        }
        saved->raised = false;
    }
}
