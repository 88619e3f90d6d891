/* wait.condition-met: a thread polls for what has already come.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * AIO_WAIT_WHILE() looks at its condition again when its poll returns, and it
 * is aio_wait_kick() that makes it return. Whoever changes the condition and
 * does not kick, or kicks before, leaves the waiter asleep. The general rule
 * for all such waits; the graph lock's has its own (graph.writer-unkicked).
 * Source: include/block/aio-wait.h, util/aio-wait.c.
 */
#include "diagnose/poll.h"
#include "diagnose/wait.h"

#include <inttypes.h>

/* The coroutine whose end it is has ended its work, but may be on its way to
 * the kick. */
static enum qh_quiet worker_quiet(const struct qh_snapshot *snapshot,
                                  struct raddr address)
{
    const struct qh_coroutine *worker =
        qh_snapshot_coroutine(snapshot, address);

    return worker && (worker->state == QH_CO_RUNNING ||
                      worker->state == QH_CO_ENTERED)
               ? QH_DISTURBED
               : QH_QUIET;
}

static uint64_t fingerprint_of(const struct qh_poll_view *view,
                               const struct qh_wait *wait)
{
    uint64_t print = QH_FINGERPRINT;

    print = qh_fingerprint_mix(print, (uint64_t)wait->tid);
    print = qh_fingerprint_mix(print, wait->object.value);
    for (size_t i = 0; i < wait->operand_count; i++) {
        print = qh_fingerprint_mix(print, wait->operands[i].address.value);
        print = qh_fingerprint_mix(print, (uint64_t)wait->operands[i].value);
    }
    return qh_fingerprint_stack(print, &view->thread->stack);
}

static struct qh_error *add_evidence(const struct qh_poll_view *view,
                                     const struct qh_wait *wait,
                                     struct qh_findings *findings,
                                     struct qh_finding *finding)
{
    enum { MOST_TOLD = 8 };

    for (size_t i = 0; i < wait->operand_count && i < MOST_TOLD; i++) {
        const struct qh_operand *operand = &wait->operands[i];
        QH_TRY(qh_number_evidence(
            findings, finding,
            qh_arena_printf(&findings->arena, "%s = %" PRId64 "%s",
                            operand->what, operand->value,
                            i ? "" : ": what it waits for has come"),
            operand->address, operand->value));
    }
    return qh_poll_evidence(view, findings, finding);
}

static struct qh_error *judge(const struct qh_poll_view *view,
                              const struct qh_wait *wait, enum qh_quiet poll,
                              struct qh_findings *findings)
{
    struct qh_finding finding = {
        .rule = "wait.condition-met",
        .tid = wait->tid,
        .waiter = wait->tid,
        .context = qh_poll_notify(view),
        .summary = "a wait whose condition is met: no kick",
        .fingerprint = fingerprint_of(view, wait),
    };
    enum qh_quiet quiet = qh_quiet_worse(
        poll, worker_quiet(view->snapshot, wait->owner_coroutine));

    quiet = qh_quiet_worse(quiet, qh_poll_heals(view, &finding));
    if (quiet == QH_DISTURBED || wait->late) {
        findings->unsettled = true;
        return NULL;
    }
    finding.certainty = quiet == QH_QUIET ? QH_PROOF : QH_STRONG;
    QH_TRY(add_evidence(view, wait, findings, &finding));
    return qh_findings_add(findings, &finding);
}

struct qh_error *qh_rule_wait_condition_met(const struct qh_snapshot *snapshot,
                                            struct qh_findings *findings)
{
    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_wait *wait = &snapshot->waits[i];
        const struct qh_thread *thread =
            qh_snapshot_thread(snapshot, wait->tid);
        if (!wait->tid || !thread || wait->kind == QH_WAIT_GRAPH_WRITE ||
            qh_wait_condition(wait) != QH_CONDITION_MET ||
            !qh_poll_is_of(&thread->stack, NULL)) {
            continue;
        }
        const struct qh_poll_view view = qh_poll_view(snapshot, thread);
        QH_TRY(judge(&view, wait, qh_poll_quiet(&view), findings));
    }
    return NULL;
}
