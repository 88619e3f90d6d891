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
#include "diagnose/poll.h"

#include <inttypes.h>

/* Whether the state is the one that a lost kick leaves behind. */
static bool looks_unkicked(const struct qh_graph_lock *graph,
                           const struct qh_thread *writer)
{
    return graph->has_writer == 0 && graph->readers == 0 &&
           graph->num_waiters >= 1 &&
           qh_poll_is_of(&writer->stack, "bdrv_graph_wrlock");
}

static uint64_t fingerprint_of(const struct qh_poll_view *view)
{
    const struct qh_snapshot *snapshot = view->snapshot;
    uint64_t print = QH_FINGERPRINT;

    print = qh_fingerprint_mix(print, (uint64_t)view->thread->tid);
    print = qh_fingerprint_mix(print, snapshot->qmp_coroutine.value);
    print = qh_fingerprint_mix(print, snapshot->graph.num_waiters);
    return qh_fingerprint_stack(print, &view->thread->stack);
}

static struct qh_error *add_evidence(const struct qh_poll_view *view,
                                     struct qh_findings *findings,
                                     struct qh_finding *finding)
{
    const struct qh_graph_lock *graph = &view->snapshot->graph;

    QH_TRY(qh_number_evidence(findings, finding,
                              "reader count = 0: nobody left to wait for",
                              graph->orphaned_address, graph->readers));
    QH_TRY(qh_number_evidence(findings, finding,
                              "has_writer = 0: no reader will kick it",
                              graph->has_writer_address, graph->has_writer));
    QH_TRY(qh_number_evidence(findings, finding,
                              qh_arena_printf(&findings->arena,
                                              "num_waiters = %" PRIu32
                                              ": it waits to be kicked",
                                              graph->num_waiters),
                              graph->num_waiters_address, graph->num_waiters));
    return qh_poll_evidence(view, findings, finding);
}

static struct qh_error *judge_writer(const struct qh_poll_view *view,
                                     struct qh_findings *findings)
{
    struct qh_finding finding = {
        .rule = "graph.writer-unkicked",
        .tid = view->thread->tid,
        .waiter = view->thread->tid,
        .context = qh_poll_notify(view),
        .summary = "graph lock: the writer was never kicked",
        .fixed_in = qh_fixed_in,
        .fixed_in_count = qh_fixed_in_count,
        .fingerprint = fingerprint_of(view),
    };
    enum qh_quiet quiet =
        qh_quiet_worse(qh_poll_quiet(view), qh_poll_heals(view, &finding));

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
    const struct qh_graph_lock *graph = &snapshot->graph;
    const struct qh_thread *writer =
        qh_snapshot_thread(snapshot, graph->writer_tid);

    if (!graph->present || !graph->readable || !graph->writer_tid || !writer ||
        !looks_unkicked(graph, writer)) {
        return NULL;
    }
    const struct qh_poll_view view = qh_poll_view(snapshot, writer);
    return judge_writer(&view, findings);
}
