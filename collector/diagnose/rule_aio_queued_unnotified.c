/* aio.queued-unnotified: work is queued for a loop that sleeps on.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Whoever queues a bottom half or a coroutine calls aio_notify() next, which
 * writes the eventfd when the loop says that it is about to sleep; and the
 * loop, having said so, looks at the queues once more. So one that sleeps with
 * work in its queues and nothing in its eventfd has missed its wake, and any
 * other will make up for it. Idle bottom halves wake nobody, by design.
 * Source: util/async.c (aio_notify, aio_bh_enqueue, aio_co_schedule).
 */
#include "diagnose/poll.h"
#include "diagnose/wait.h"

#include <inttypes.h>

/* The first bottom half that is not an idle one, or NULL. */
static const struct qh_bh *first_bh(const struct qh_context *context)
{
    for (size_t i = 0; i < context->pending_count; i++) {
        if (!context->pending[i].idle) {
            return &context->pending[i];
        }
    }
    return NULL;
}

/* Whether a thread may have gone on while a capture was made: in state D, or
 * with no CPU, it could not be stopped. Of a live process the next sample would
 * tell. */
static bool somebody_went_on(const struct qh_snapshot *snapshot)
{
    bool unstopped = false;

    for (size_t i = 0; i < snapshot->thread_count; i++) {
        const struct qh_thread *thread = &snapshot->threads[i];
        unstopped |=
            thread->state == QH_THREAD_IN_KERNEL ||
            (thread->state == QH_THREAD_RUNNABLE && !thread->stack.count);
    }
    return unstopped && snapshot->kind == QH_TARGET_CORE;
}

/* Whether the eventfd was written, or may have been: a core has no counter, and
 * threads are not stopped for one at the same instant, so that a loop may lie
 * asleep in it beside work of which it has just been told. A capture has one,
 * but who went on meanwhile may have been between the two. */
static bool may_be_waking(const struct qh_snapshot *snapshot,
                          const struct qh_context *context)
{
    bool uncounted = context->event_count < 0 || somebody_went_on(snapshot);

    return context->event_count > 0 || (uncounted && context->notified);
}

static enum qh_quiet quiet_around(const struct qh_snapshot *snapshot,
                                  const struct qh_context *context,
                                  const struct qh_thread *loop)
{
    static const char *const queue[] = {
        "aio_bh_enqueue",    "qemu_bh_schedule",
        "aio_co_schedule",   "aio_bh_schedule_oneshot",
        "aio_notify",        "aio_bh_schedule_oneshot_full",
        "event_notifier_set"
    };
    enum qh_quiet quiet = qh_quiet_asleep(snapshot, loop->tid);

    if (may_be_waking(snapshot, context)) {
        return QH_DISTURBED;
    }
    return qh_quiet_worse(quiet,
                          qh_quiet_functions(snapshot, queue, QH_COUNT(queue)));
}

static struct qh_error *add_evidence(const struct qh_context *context,
                                     const struct qh_thread *loop,
                                     struct qh_findings *findings,
                                     struct qh_finding *finding)
{
    const struct qh_bh *bh = first_bh(context);

    if (bh) {
        const char *name = bh->callback ? bh->callback : bh->name;
        QH_TRY(qh_evidence_add(findings, finding,
                               qh_arena_printf(&findings->arena,
                                               "bottom half %s is scheduled",
                                               name ? name : "?"),
                               bh->address, "scheduled"));
    }
    if (context->scheduled_count) {
        QH_TRY(qh_number_evidence(
            findings, finding,
            qh_arena_printf(&findings->arena,
                            "scheduled_coroutines: %zu to be entered",
                            context->scheduled_count),
            context->scheduled[0], (int64_t)context->scheduled_count));
    }
    const char *who = qh_thread_words(findings, loop);
    QH_TRY(qh_evidence_add(
        findings, finding,
        who ? qh_arena_printf(&findings->arena, "%s sleeps in its poll", who)
            : NULL,
        context->address, loop->blocked_in ? loop->blocked_in : "asleep"));
    return qh_number_evidence(findings, finding,
                              context->event_count == 0
                                  ? "eventfd count 0: nobody wrote it"
                                  : "notified = 0: nobody told the loop",
                              context->notifier, 0);
}

static uint64_t fingerprint_of(const struct qh_context *context,
                               const struct qh_thread *loop)
{
    const struct qh_bh *bh = first_bh(context);
    uint64_t print = QH_FINGERPRINT;

    print = qh_fingerprint_mix(print, context->address.value);
    print = qh_fingerprint_mix(print, bh ? bh->address.value : 0);
    print = qh_fingerprint_mix(
        print, context->scheduled_count ? context->scheduled[0].value : 0);
    return qh_fingerprint_stack(print, &loop->stack);
}

static struct qh_error *judge(const struct qh_snapshot *snapshot,
                              const struct qh_context *context,
                              const struct qh_thread *loop,
                              struct qh_findings *findings)
{
    const struct qh_poll_view view = { snapshot, loop, context };
    struct qh_finding finding = {
        .rule = "aio.queued-unnotified",
        .tid = loop->tid,
        .waiter = loop->tid,
        .context = context->address,
        .summary = "work is queued, and its loop was not woken",
        .fingerprint = fingerprint_of(context, loop),
    };
    enum qh_quiet quiet = quiet_around(snapshot, context, loop);

    quiet = qh_quiet_worse(quiet, qh_poll_heals(&view, &finding));
    if (quiet == QH_DISTURBED) {
        findings->unsettled = true;
        return NULL;
    }
    finding.certainty = quiet == QH_QUIET ? QH_PROOF : QH_STRONG;
    QH_TRY(add_evidence(context, loop, findings, &finding));
    return qh_findings_add(findings, &finding);
}

struct qh_error *
qh_rule_aio_queued_unnotified(const struct qh_snapshot *snapshot,
                              struct qh_findings *findings)
{
    for (size_t i = 0; i < snapshot->context_count; i++) {
        const struct qh_context *context = &snapshot->contexts[i];
        if (!first_bh(context) && !context->scheduled_count) {
            continue;
        }
        const struct qh_thread *loop =
            qh_loop_asleep(snapshot, context->address);
        if (loop) {
            QH_TRY(judge(snapshot, context, loop, findings));
        }
    }
    return NULL;
}
