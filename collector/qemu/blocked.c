/* How long the loop has stood still.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A wait with a timeout began at the deadline less the timeout: aio_poll()
 * takes the timeout from the earliest timer of its context (util/aio-posix.c),
 * so that the timer's expire_time is the deadline, in a core too. Where the
 * waiter has no timeout but a sleeper that it told to stop has, both began to
 * wait within the same race, so the sleeper's wait stands for both. Else since
 * the thread was last on a CPU, which is only a lower bound: whoever looked at
 * it with a debugger made it run. */
#include "qemu/reader.h"

static int64_t earliest_timer(const struct qh_snapshot *snapshot,
                              struct raddr context)
{
    int64_t earliest = QH_TIME_UNKNOWN;

    for (size_t i = 0; i < snapshot->timer_count; i++) {
        const struct qh_timer *timer = &snapshot->timers[i];
        if (timer->clock == QH_CLOCK_REALTIME && timer->clock_enabled &&
            qh_raddr_equal(timer->context, context) &&
            (earliest == QH_TIME_UNKNOWN || timer->expire_ns < earliest)) {
            earliest = timer->expire_ns;
        }
    }
    return earliest;
}

/* When the thread's timed wait began, or QH_TIME_UNKNOWN. */
static int64_t wait_began(const struct qh_snapshot *snapshot,
                          const struct qh_thread *thread)
{
    if (thread->state != QH_THREAD_BLOCKED || thread->timeout_ns <= 0 ||
        !thread->polls.value) {
        return QH_TIME_UNKNOWN;
    }
    int64_t began = qh_time_sub(earliest_timer(snapshot, thread->polls),
                                thread->timeout_ns);
    return began < 0 ? QH_TIME_UNKNOWN : began;
}

static void set_blocked(struct qh_snapshot *snapshot, int64_t since,
                        const char *source, bool at_least)
{
    if (since != QH_TIME_UNKNOWN && since <= snapshot->monotonic_ns) {
        snapshot->blocked_ns = qh_time_sub(snapshot->monotonic_ns, since);
        snapshot->blocked_source = source;
        snapshot->blocked_at_least = at_least;
    }
}

/* The wait of the thread whose sleeper was told to stop. */
static int64_t sleeper_began(const struct qh_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->sleeper_count; i++) {
        const struct qh_sleeper *sleeper = &snapshot->sleepers[i];
        const struct qh_coroutine *coroutine =
            qh_snapshot_coroutine(snapshot, sleeper->coroutine);
        const struct qh_context *home =
            coroutine ? qh_snapshot_context(snapshot, coroutine->context)
                      : NULL;
        const struct qh_thread *thread =
            home ? qh_snapshot_thread(snapshot, home->tid) : NULL;
        if (thread && sleeper->has_cleaner &&
            sleeper->cleaner.interval_s == 0 && sleeper->cleaner.waiter_tid) {
            return wait_began(snapshot, thread);
        }
    }
    return QH_TIME_UNKNOWN;
}

static const struct qh_thread *main_thread(const struct qh_snapshot *snapshot)
{
    const struct qh_thread *thread =
        qh_snapshot_thread(snapshot, snapshot->graph.writer_tid);

    return thread ? thread : qh_snapshot_thread(snapshot, snapshot->pid);
}

struct qh_error *qh_measure_blocked(struct qh_reader *reader)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    const struct qh_thread *thread = main_thread(snapshot);

    if (!thread || thread->state == QH_THREAD_RUNNABLE ||
        snapshot->monotonic_ns == QH_TIME_UNKNOWN) {
        return NULL;
    }
    set_blocked(snapshot, sleeper_began(snapshot), "timer", false);
    if (snapshot->blocked_ns == QH_TIME_UNKNOWN) {
        set_blocked(snapshot, thread->last_ran_ns, "last-ran", true);
    }
    set_blocked(snapshot, wait_began(snapshot, thread), "timer", false);
    return NULL;
}
