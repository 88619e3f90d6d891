/* graph.writer-unkicked: a graph writer whose last reader left without a kick.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * bdrv_graph_wrlock() polls the main context until reader_count() is 0, with
 * has_writer at 0 while it polls (by design: callbacks may want to read). The
 * old bdrv_graph_co_rdunlock() kicks only when it sees has_writer at 1, so the
 * last reader may leave without a word; the writer then sleeps although its
 * condition holds. Any wake of that poll lets it look again, so this is a hang
 * only if none is on its way: no bottom half, no coroutine, no eventfd count.
 * A timer of the polled context ends it, too, but late.
 * Source: block/graph-lock.c, block/aio-wait.h, util/aio-wait.c.
 */
#include "diagnose/quiet.h"
#include "diagnose/rules.h"

#include <inttypes.h>
#include <string.h>

struct writer_view {
    const struct qh_snapshot *snapshot;
    const struct qh_graph_lock *graph;
    const struct qh_thread *writer;
    const struct qh_context *polled; /* NULL: could not be told */
};

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

/* Whether the thread waits in the very aio_poll() of bdrv_graph_wrlock(), and
 * not in a callback that this one runs. */
static bool waits_as_writer(const struct qh_backtrace *stack)
{
    static const char *const serving[] = { "aio_bh_poll",
                                           "aio_bh_call",
                                           "aio_dispatch_handler",
                                           "aio_dispatch_handlers",
                                           "aio_dispatch_ready_handlers",
                                           "timerlist_run_timers",
                                           "qemu_aio_coroutine_enter" };
    size_t poll = frame_of(stack, "aio_poll");

    if (poll + 1 >= stack->count || !stack->frames[poll + 1].function ||
        strcmp(stack->frames[poll + 1].function, "bdrv_graph_wrlock")) {
        return false;
    }
    for (size_t i = 0; i < QH_COUNT(serving); i++) {
        if (frame_of(stack, serving[i]) < poll) {
            return false;
        }
    }
    return true;
}

/* Whether the state is the one that a lost kick leaves behind. */
static bool looks_unkicked(const struct writer_view *view)
{
    return view->graph->has_writer == 0 && view->graph->readers == 0 &&
           view->graph->num_waiters >= 1 &&
           waits_as_writer(&view->writer->stack);
}

/* Whether nothing in the polled context is about to end the poll. */
static enum qh_quiet context_quiet(const struct qh_context *polled)
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

/* How long until the earliest timer of the polled context, in `*ret_left_ns`
 * (UNKNOWN when its clock's time is not known); false when it has none. */
static bool next_timer(const struct writer_view *view, int64_t *ret_left_ns)
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
        found = true;
        if (timer->clock != QH_CLOCK_REALTIME ||
            snapshot->monotonic_ns == QH_TIME_UNKNOWN) {
            known = false;
        } else if (timer->expire_ns < first) {
            first = timer->expire_ns;
        }
    }
    *ret_left_ns =
        found && known ? qh_time_sub(first, snapshot->monotonic_ns)
                       : QH_TIME_UNKNOWN;
    return found;
}

/* What is left of the poll's own timeout, by the time that its thread last was
 * on a CPU; UNKNOWN when that is not known. */
static int64_t timeout_left(const struct writer_view *view)
{
    const struct qh_thread *writer = view->writer;

    if (writer->timeout_ns < 0) {
        return QH_TIME_UNKNOWN;
    }
    return qh_time_sub(qh_time_add(writer->last_ran_ns, writer->timeout_ns),
                       view->snapshot->monotonic_ns);
}

/* Fills in whether and when a timer ends the poll; DISTURBED when that is now.
 * A poll without a timeout was entered with no timer to wait for. */
static enum qh_quiet tell_heals(const struct writer_view *view,
                                struct qh_finding *finding)
{
    int64_t left_ns;
    bool has_timer = next_timer(view, &left_ns);

    finding->heals_in_ns = QH_TIME_UNKNOWN;
    if (view->writer->timeout_ns == -1) {
        finding->heals = QH_HEALS_NEVER;
        return has_timer && left_ns != QH_TIME_UNKNOWN && left_ns <= 0
                   ? QH_DISTURBED
                   : QH_QUIET;
    }
    if (view->writer->timeout_ns == QH_TIME_UNKNOWN && !has_timer) {
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

static enum qh_quiet quiet_around(const struct writer_view *view)
{
    /* From the reader's leaving to the eventfd, and whatever else is on its
     * way to wake this poll. */
    static const char *const kick[] = {
        "bdrv_graph_co_rdunlock", "unregister_aiocontext",
        "aio_wait_kick",          "aio_bh_schedule_oneshot_full",
        "aio_bh_enqueue",         "qemu_bh_schedule",
        "aio_co_schedule",        "aio_notify",
        "event_notifier_set",
    };

    enum qh_quiet quiet = qh_quiet_asleep(view->snapshot, view->writer->tid);
    quiet = qh_quiet_worse(quiet, context_quiet(view->polled));
    return qh_quiet_worse(
        quiet, qh_quiet_functions(view->snapshot, kick, QH_COUNT(kick)));
}

static uint64_t fingerprint_of(const struct writer_view *view)
{
    uint64_t print = QH_FINGERPRINT;

    print = qh_fingerprint_mix(print, (uint64_t)view->writer->tid);
    print = qh_fingerprint_mix(print, view->snapshot->qmp_coroutine.value);
    print = qh_fingerprint_mix(print, view->graph->num_waiters);
    return qh_fingerprint_stack(print, &view->writer->stack);
}

static struct qh_error *number_evidence(struct qh_findings *findings,
                                        struct qh_finding *finding,
                                        const char *what, struct raddr address,
                                        int64_t value)
{
    return qh_evidence_add(
        findings, finding, what, address,
        qh_arena_printf(&findings->arena, "%" PRId64, value));
}

static struct qh_error *add_evidence(const struct writer_view *view,
                                     struct qh_findings *findings,
                                     struct qh_finding *finding)
{
    const struct qh_graph_lock *graph = view->graph;
    const struct qh_context *polled = view->polled;

    QH_TRY(number_evidence(findings, finding,
                           "reader count = 0: nobody left to wait for",
                           graph->orphaned_address, graph->readers));
    QH_TRY(number_evidence(findings, finding,
                           "has_writer = 0: no reader will kick it",
                           graph->has_writer_address, graph->has_writer));
    QH_TRY(number_evidence(findings, finding,
                           qh_arena_printf(&findings->arena,
                                           "num_waiters = %" PRIu32
                                           ": it waits to be kicked",
                                           graph->num_waiters),
                           graph->num_waiters_address, graph->num_waiters));
    if (!polled || polled->work_unknown) {
        return NULL;
    }
    return number_evidence(
        findings, finding,
        polled->event_count == 0 ? "nothing queued, eventfd count 0"
                                 : "nothing queued in the polled context",
        polled->notifier.value ? polled->notifier : polled->address,
        polled->event_count > 0 ? polled->event_count : 0);
}

static struct qh_error *judge_writer(const struct writer_view *view,
                                     struct qh_findings *findings)
{
    struct qh_finding finding = {
        .rule = "graph.writer-unkicked",
        .tid = view->writer->tid,
        .waiter = view->writer->tid,
        .summary = "graph lock: the writer was never kicked",
        .fixed_in = qh_fixed_in,
        .fixed_in_count = qh_fixed_in_count,
        .fingerprint = fingerprint_of(view),
    };
    enum qh_quiet quiet =
        qh_quiet_worse(quiet_around(view), tell_heals(view, &finding));

    if (quiet == QH_DISTURBED) {
        findings->unsettled = true;
        return NULL;
    }
    finding.certainty = quiet == QH_QUIET ? QH_PROOF : QH_STRONG;
    QH_TRY(add_evidence(view, findings, &finding));
    return qh_findings_add(findings, &finding);
}

struct qh_error *
qh_rule_graph_writer_unkicked(const struct qh_snapshot *snapshot,
                              struct qh_findings *findings)
{
    struct writer_view view = { .snapshot = snapshot,
                                .graph = &snapshot->graph };

    if (!view.graph->present || !view.graph->readable ||
        !view.graph->writer_tid) {
        return NULL;
    }
    view.writer = qh_snapshot_thread(snapshot, view.graph->writer_tid);
    if (!view.writer) {
        return NULL;
    }
    view.polled = qh_snapshot_context(snapshot, view.writer->polls.value
                                                    ? view.writer->polls
                                                    : snapshot->main_context);
    return looks_unkicked(&view) ? judge_writer(&view, findings) : NULL;
}
