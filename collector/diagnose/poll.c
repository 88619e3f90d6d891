/* What the rules ask of a thread that sleeps in aio_poll().
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose/poll.h"

#include <inttypes.h>
#include <string.h>

struct qh_poll_view qh_poll_view(const struct qh_snapshot *snapshot,
                                 const struct qh_thread *thread)
{
    return (struct qh_poll_view){
        .snapshot = snapshot,
        .thread = thread,
        .polled = qh_snapshot_context(snapshot, thread->polls.value
                                                    ? thread->polls
                                                    : snapshot->main_context),
    };
}

/* The innermost frame of `function`, or the number of frames. */
static size_t frame_of(const struct qh_backtrace *stack, const char *function)
{
    size_t i = 0;

    while (i < stack->count && (!stack->frames[i].function ||
                                strcmp(stack->frames[i].function, function))) {
        i++;
    }
    return i;
}

bool qh_poll_is_of(const struct qh_backtrace *stack, const char *function)
{
    static const char *const serving[] = { "aio_bh_poll",
                                           "aio_bh_call",
                                           "aio_dispatch_handler",
                                           "aio_dispatch_handlers",
                                           "aio_dispatch_ready_handlers",
                                           "timerlist_run_timers",
                                           "qemu_aio_coroutine_enter" };
    size_t poll = frame_of(stack, "aio_poll");

    if (poll + 1 >= stack->count) {
        return false;
    }
    if (function && (!stack->frames[poll + 1].function ||
                     strcmp(stack->frames[poll + 1].function, function))) {
        return false;
    }
    for (size_t i = 0; i < QH_COUNT(serving); i++) {
        if (frame_of(stack, serving[i]) < poll) {
            return false;
        }
    }
    return true;
}

struct raddr qh_poll_notify(const struct qh_poll_view *view)
{
    return view->polled ? view->polled->address : qh_raddr(0);
}

enum qh_quiet qh_poll_context_quiet(const struct qh_context *polled)
{
    if (!polled) {
        return QH_QUIET_UNKNOWN;
    }
    if (polled->pending_count || polled->scheduled_count ||
        polled->event_count > 0) {
        return QH_DISTURBED;
    }
    return polled->work_unknown ? QH_QUIET_UNKNOWN : QH_QUIET;
}

enum qh_quiet qh_poll_quiet(const struct qh_poll_view *view)
{
    /* From the store to the eventfd, and whatever else is on its way to wake
     * this poll. */
    static const char *const kick[] = {
        "bdrv_graph_co_rdunlock",
        "unregister_aiocontext",
        "bdrv_dec_in_flight",
        "blk_dec_in_flight",
        "bdrv_wakeup",
        "aio_wait_bh",
        "aio_wait_kick",
        "aio_bh_schedule_oneshot_full",
        "aio_bh_enqueue",
        "qemu_bh_schedule",
        "aio_co_schedule",
        "aio_notify",
        "event_notifier_set",
    };
    enum qh_quiet quiet = qh_quiet_asleep(view->snapshot, view->thread->tid);

    quiet = qh_quiet_worse(quiet, qh_poll_context_quiet(view->polled));
    return qh_quiet_worse(
        quiet, qh_quiet_functions(view->snapshot, kick, QH_COUNT(kick)));
}

/* How long until the earliest timer of the polled context, in `*ret_left_ns`
 * (UNKNOWN when its clock's time is not known); false when it has none. */
static bool next_timer(const struct qh_poll_view *view, int64_t *ret_left_ns)
{
    const struct qh_snapshot *snapshot = view->snapshot;
    bool found = false, known = true;
    int64_t first = INT64_MAX;

    for (size_t i = 0; view->polled && i < snapshot->timer_count; i++) {
        const struct qh_timer *timer = &snapshot->timers[i];
        if (!timer->clock_enabled ||
            !qh_raddr_equal(timer->context, view->polled->address)) {
            continue;
        }
        int64_t left_ns =
            qh_snapshot_left_ns(snapshot, timer->clock, timer->expire_ns);
        found = true;
        known &= left_ns != QH_TIME_UNKNOWN;
        if (left_ns < first) {
            first = left_ns;
        }
    }
    *ret_left_ns = found && known ? first : QH_TIME_UNKNOWN;
    return found;
}

/* What is left of the poll's own timeout, by the time that its thread last was
 * on a CPU; UNKNOWN when that is not known. */
static int64_t timeout_left(const struct qh_poll_view *view)
{
    const struct qh_thread *thread = view->thread;

    if (thread->timeout_ns < 0) {
        return QH_TIME_UNKNOWN;
    }
    return qh_time_sub(qh_time_add(thread->last_ran_ns, thread->timeout_ns),
                       view->snapshot->monotonic_ns);
}

enum qh_quiet qh_poll_heals(const struct qh_poll_view *view,
                            struct qh_finding *finding)
{
    int64_t left_ns;
    bool has_timer = next_timer(view, &left_ns);

    finding->heals_in_ns = QH_TIME_UNKNOWN;
    if (view->thread->timeout_ns == -1) {
        finding->heals = QH_HEALS_NEVER;
        return has_timer && left_ns != QH_TIME_UNKNOWN && left_ns <= 0
                   ? QH_DISTURBED
                   : QH_QUIET;
    }
    if (view->thread->timeout_ns == QH_TIME_UNKNOWN && !has_timer) {
        finding->heals = view->polled ? QH_HEALS_NEVER : QH_HEALS_UNKNOWN;
        return QH_QUIET;
    }
    if (left_ns == QH_TIME_UNKNOWN) {
        left_ns = timeout_left(view);
    }
    finding->heals = QH_HEALS_TIMER;
    if (left_ns > 0) {
        finding->heals_in_ns = left_ns;
    }
    return left_ns != QH_TIME_UNKNOWN && left_ns <= 0 ? QH_DISTURBED : QH_QUIET;
}

struct qh_error *qh_number_evidence(struct qh_findings *findings,
                                    struct qh_finding *finding,
                                    const char *what, struct raddr address,
                                    int64_t value)
{
    return qh_evidence_add(
        findings, finding, what, address,
        qh_arena_printf(&findings->arena, "%" PRId64, value));
}

struct qh_error *qh_poll_evidence(const struct qh_poll_view *view,
                                  struct qh_findings *findings,
                                  struct qh_finding *finding)
{
    const struct qh_context *polled = view->polled;

    if (!polled || polled->work_unknown) {
        return NULL;
    }
    return qh_number_evidence(
        findings, finding,
        polled->event_count == 0 ? "nothing queued, eventfd count 0"
                                 : "nothing queued in the polled context",
        polled->notifier.value ? polled->notifier : polled->address,
        polled->event_count > 0 ? polled->event_count : 0);
}
