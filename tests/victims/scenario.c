/* The table of scenarios.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "scenario.h"

#include <stddef.h>
#include <string.h>

/* Long enough for no timer to fire while anybody looks; QEMU's default. */
#define LONG_SLEEP 600

/* Coroutines: the dispatcher is always there; a cleaner; the coroutine that
 * waits for the cleaner. */
static const struct scenario scenarios[] = {
    {
        .name = "idle",
        .about = "nothing to do, nobody asleep",
        .coroutines = 1,
        .run = run_idle,
    },
    {
        .name = "timer-waiting",
        .about = "a cleaner sleeps, and nobody has asked it to stop",
        .coroutines = 2,
        .interval = LONG_SLEEP,
        .run = run_timer_waiting,
    },
    {
        .name = "wake-lost",
        .about = "the cleaner was woken before it had armed",
        .coroutines = 3,
        .end = END_STUCK,
        .interval = LONG_SLEEP,
        .run = run_wake_lost,
    },
    {
        .name = "wake-lost-twin",
        .about = "the same interleaving, fixed primitive",
        .coroutines = 1,
        .fixed = true,
        .interval = LONG_SLEEP,
        .run = run_wake_lost_twin,
    },
    {
        .name = "erased",
        .about = "the cleaner armed between a wake's load and store",
        .coroutines = 3,
        .end = END_STUCK,
        .interval = LONG_SLEEP,
        .run = run_erased,
    },
    {
        .name = "erased-fired",
        .about = "the same, and its timer has fired in vain",
        .coroutines = 3,
        .end = END_STUCK,
        .interval = 1,
        .run = run_erased_fired,
    },
    {
        .name = "erased-twin",
        .about = "the same interleaving, fixed primitive",
        .coroutines = 1,
        .fixed = true,
        .interval = LONG_SLEEP,
        .run = run_erased_twin,
    },
    {
        .name = "graph-unkicked",
        .about = "the last reader left without kicking the writer",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_graph_unkicked,
    },
    {
        .name = "graph-unkicked-twin",
        .about = "the same interleaving, fixed lock",
        .coroutines = 1,
        .fixed = true,
        .run = run_graph_unkicked_twin,
    },
    {
        .name = "busy",
        .about = "all threads at work: nodes opened and closed, wakes",
        .coroutines = -1,
        .fixed = true,
        .interval = LONG_SLEEP,
        .run = run_busy,
        .release = release_busy,
    },
    {
        .name = "waits",
        .about = "a coroutine waits for each kind of thing",
        .coroutines = 12,
        .fixed = true,
        .run = run_waits,
        .release = release_waits,
    },
    {
        .name = "mid-wake",
        .about = "the waker has taken the sleeper, and not yet scheduled it",
        .coroutines = 3,
        .interval = LONG_SLEEP,
        .run = run_mid_wake,
        .release = release_held,
    },
    {
        .name = "mid-wake-spin",
        .about = "the same, the waker spinning in user code",
        .coroutines = 3,
        .interval = LONG_SLEEP,
        .run = run_mid_wake_spin,
        .release = release_held,
    },
    {
        .name = "mid-wake-entered",
        .about = "the waker is in qemu_co_sleep_wake, nothing done yet",
        .coroutines = 3,
        .interval = LONG_SLEEP,
        .run = run_mid_wake_entered,
        .release = release_held,
    },
    {
        .name = "mid-kick",
        .about = "the last reader is uncounted, the writer not yet kicked",
        .coroutines = 2,
        .fixed = true,
        .run = run_mid_kick,
        .release = release_held,
    },
    {
        .name = "mid-notify",
        .about = "the kick is queued, its eventfd not yet written",
        .coroutines = 2,
        .fixed = true,
        .run = run_mid_notify,
        .release = release_held,
    },
    {
        .name = "mid-notify-wake",
        .about = "the sleeper is queued, its eventfd not yet written",
        .coroutines = 3,
        .interval = LONG_SLEEP,
        .run = run_mid_notify_wake,
        .release = release_held,
    },
    {
        .name = "runnable",
        .about = "the writer is out of its poll, and has seen nothing yet",
        .coroutines = 1,
        .fixed = true,
        .run = run_runnable,
        .release = release_held,
    },
    {
        .name = "runnable-late",
        .about = "the same, the kick served, the condition not looked at",
        .coroutines = 1,
        .fixed = true,
        .run = run_runnable_late,
        .release = release_held,
    },
    {
        .name = "runnable-starved",
        .about = "the writer is kicked, and gets no CPU to leave its poll",
        .coroutines = 1,
        .fixed = true,
        .prepare = prepare_starved,
        .run = run_starved,
        .release = release_starved,
    },
    {
        .name = "mutex-cycle",
        .about = "two threads want each other's mutex",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_mutex_cycle,
    },
    {
        .name = "mutex-order",
        .about = "the same mutexes, one will be given back",
        .coroutines = 1,
        .run = run_mutex_order,
        .release = release_mutex_order,
    },
    {
        .name = "co-mutex-cycle",
        .about = "two coroutines want each other's CoMutex",
        .coroutines = 3,
        .end = END_STUCK,
        .run = run_co_mutex_cycle,
    },
    {
        .name = "co-mutex-order",
        .about = "the same CoMutexes, one will be given back",
        .coroutines = 3,
        .run = run_co_mutex_order,
        .release = release_co_mutex_order,
    },
    {
        .name = "bql-cycle",
        .about = "the BQL's holder polls for one who wants it",
        .coroutines = 2,
        .end = END_STUCK,
        .run = run_bql_cycle,
    },
    {
        .name = "bql-order",
        .about = "the same, and another holds the BQL",
        .coroutines = 2,
        .run = run_bql_order,
        .release = release_bql_order,
    },
    {
        .name = "condition-met",
        .about = "done is set, and its waiter was not kicked",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_condition_met,
    },
    {
        .name = "condition-met-twin",
        .about = "the same, and kicked",
        .coroutines = 1,
        .run = run_condition_met_twin,
    },
    {
        .name = "drain-unkicked",
        .about = "the last request has ended, the drain was not kicked",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_drain_unkicked,
    },
    {
        .name = "drain-unread",
        .about = "the same; a device has a say that qhang can't read",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_drain_unread,
    },
    {
        .name = "drain-waiting",
        .about = "a drain waits for a request that is in flight",
        .coroutines = 1,
        .run = run_drain_waiting,
        .release = release_drain,
    },
    {
        .name = "bh-unnotified",
        .about = "a bottom half is queued, the eventfd never written",
        .coroutines = 1,
        .run = run_bh_unnotified,
    },
    {
        .name = "bh-idle",
        .about = "the same, an idle one, which wakes nobody by design",
        .coroutines = 1,
        .run = run_bh_idle,
    },
    {
        .name = "timer-unserved",
        .about = "a timer is past, its loop sleeps without a timeout",
        .coroutines = 1,
        .run = run_timer_unserved,
    },
    {
        .name = "timer-served",
        .about = "the same timer, notified, has been served",
        .coroutines = 1,
        .run = run_timer_served,
    },
    {
        .name = "handoff-lost",
        .about = "a CoMutex was given up, and its waiter not seen",
        .coroutines = 2,
        .run = run_handoff_lost,
        .release = release_handoff,
    },
    {
        .name = "handoff-unwoken",
        .about = "a CoMutex's next holder was chosen, and not woken",
        .coroutines = 2,
        .run = run_handoff_unwoken,
        .release = release_handoff,
    },
    {
        .name = "handoff-twin",
        .about = "the same CoMutex, passed on",
        .coroutines = 1,
        .run = run_handoff_twin,
    },
    {
        .name = "mid-handoff",
        .about = "the next holder is off the list, and not yet woken",
        .coroutines = 3,
        .run = run_mid_handoff,
        .release = release_mid_handoff,
    },
    {
        .name = "handoff-behind",
        .about = "it is woken once its waker's coroutine yields",
        .coroutines = 3,
        .run = run_handoff_behind,
        .release = release_busy_one,
    },
    {
        .name = "handoff-queued",
        .about = "it is scheduled in a loop that is busy",
        .coroutines = 2,
        .run = run_handoff_queued,
        .release = release_busy_one,
    },
    {
        .name = "rwlock-stalled",
        .about = "a CoRwlock is free, and its first ticket not granted",
        .coroutines = 2,
        .run = run_rwlock_stalled,
        .release = release_rwlock,
    },
    {
        .name = "rwlock-twin",
        .about = "the same CoRwlock, passed on",
        .coroutines = 1,
        .run = run_rwlock_twin,
    },
    {
        .name = "mid-rwlock",
        .about = "the ticket is granted, its coroutine not yet woken",
        .coroutines = 3,
        .run = run_mid_rwlock,
        .release = release_mid_rwlock,
    },
    {
        .name = "owner-gone",
        .about = "a mutex's owner has exited, the main thread waits",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_owner_gone,
    },
    {
        .name = "owner-self",
        .about = "the main thread locks a mutex that it holds",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_owner_self,
    },
    {
        .name = "owner-asleep",
        .about = "a mutex's owner sleeps, and will unlock it",
        .coroutines = 1,
        .run = run_owner_asleep,
        .release = release_lock,
    },
    {
        .name = "bql-asleep",
        .about = "the BQL's owner polls, a vCPU waits for the BQL",
        .coroutines = 1,
        .run = run_bql_asleep,
        .release = release_drain,
    },
    {
        .name = "kernel-stuck",
        .about = "a mutex's owner is in state D, the main thread waits",
        .coroutines = 1,
        .run = run_kernel_stuck,
        .release = release_kernel,
    },
    {
        .name = "kernel-alone",
        .about = "a thread is in state D, and nobody waits for it",
        .coroutines = 1,
        .run = run_kernel_alone,
        .release = release_kernel,
    },
    {
        .name = "rcu-stalled",
        .about = "a reader sleeps in its section, call_rcu waits",
        .coroutines = 1,
        .run = run_rcu_stalled,
        .release = release_rcu,
    },
    {
        .name = "rcu-running",
        .about = "the same, the reader runs",
        .coroutines = 1,
        .run = run_rcu_running,
        .release = release_rcu,
    },
    {
        .name = "copy-lost",
        .about = "a rate-limited copy is cancelled before it had armed",
        .coroutines = 2,
        .interval = LONG_SLEEP,
        .run = run_copy_lost,
        .release = release_copy,
    },
    {
        .name = "copy-twin",
        .about = "the same interleaving, fixed primitive",
        .coroutines = 1,
        .fixed = true,
        .interval = LONG_SLEEP,
        .run = run_copy_twin,
    },
    {
        .name = "timeout-lost",
        .about = "what has a timeout ends before the timeout had armed",
        .coroutines = 2,
        .interval = LONG_SLEEP,
        .run = run_timeout_lost,
        .release = release_timeout,
    },
    {
        .name = "timeout-twin",
        .about = "the same interleaving, fixed primitive",
        .coroutines = 1,
        .fixed = true,
        .interval = LONG_SLEEP,
        .run = run_timeout_twin,
    },
};

#define SCENARIOS ((int)(sizeof(scenarios) / sizeof(scenarios[0])))

const struct scenario *scenario_at(int i)
{
    return i >= 0 && i < SCENARIOS ? &scenarios[i] : NULL;
}

const struct scenario *scenario_find(const char *name)
{
    for (int i = 0; i < SCENARIOS; i++) {
        if (!strcmp(scenarios[i].name, name)) {
            return &scenarios[i];
        }
    }
    return NULL;
}
