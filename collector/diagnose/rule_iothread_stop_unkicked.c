/* iothread.stop-unkicked: an iothread was told to stop, and sleeps on.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * iothread_stop() sets `stopping`, has a bottom half clear `running` in the
 * iothread itself, and joins the thread. That one looks at `running` whenever
 * its aio_poll() returns. So one that is being joined and sleeps in that very
 * poll, with nothing queued, has missed what was to end it. A bottom half that
 * is queued there still is aio.queued-unnotified; a poll further in, below a
 * callback, is a wait of its own.
 * Source: iothread.c (iothread_run, iothread_stop, iothread_stop_bh).
 */
#include "diagnose/poll.h"
#include "diagnose/wait.h"

#include <inttypes.h>

/* The wait of the iothread that `joiner` joins and that is to stop, or NULL. */
static const struct qh_wait *stopped_wait(const struct qh_snapshot *snapshot,
                                          const struct qh_wait *joiner)
{
    const struct qh_wait *wait = joiner->tid && joiner->kind == QH_WAIT_JOIN
                                     ? qh_wait_of(snapshot, joiner->owner_tid)
                                     : NULL;
    const struct qh_operand *stopping =
        wait ? qh_wait_operand_named(wait, "stopping") : NULL;

    return stopping && stopping->value ? wait : NULL;
}

static struct qh_error *add_evidence(const struct qh_wait *wait,
                                     const struct qh_poll_view *view,
                                     struct qh_findings *findings,
                                     struct qh_finding *finding)
{
    const struct qh_operand *stopping = qh_wait_operand_named(wait, "stopping");
    const struct qh_operand *running = qh_wait_operand_named(wait, "running");

    QH_TRY(qh_number_evidence(findings, finding,
                              "stopping = 1: it was told to stop",
                              stopping->address, stopping->value));
    if (running) {
        QH_TRY(qh_number_evidence(
            findings, finding,
            running->value ? "running = 1: nothing is left to clear it"
                           : "running = 0: its next look would end it",
            running->address, running->value));
    }
    return qh_poll_evidence(view, findings, finding);
}

static struct qh_error *judge(const struct qh_snapshot *snapshot,
                              const struct qh_wait *joiner,
                              const struct qh_wait *wait,
                              const struct qh_thread *thread,
                              struct qh_findings *findings)
{
    static const char *const stopping[] = { "iothread_stop_bh" };
    const struct qh_operand *running = qh_wait_operand_named(wait, "running");
    const struct qh_poll_view view = qh_poll_view(snapshot, thread);
    struct qh_finding finding = {
        .rule = "iothread.stop-unkicked",
        .tid = thread->tid,
        .waiter = joiner->tid,
        .context = qh_poll_notify(&view),
        .summary = "an iothread was told to stop, not woken",
        .fingerprint = qh_fingerprint_stack(
            qh_fingerprint_mix(QH_FINGERPRINT, (uint64_t)thread->tid),
            &thread->stack),
    };
    enum qh_quiet quiet = qh_quiet_worse(
        qh_poll_quiet(&view), qh_quiet_asleep(snapshot, joiner->tid));

    quiet = qh_quiet_worse(
        quiet, qh_quiet_functions(snapshot, stopping, QH_COUNT(stopping)));
    quiet = qh_quiet_worse(quiet, qh_poll_heals(&view, &finding));
    if (quiet == QH_DISTURBED || wait->late) {
        findings->unsettled = true;
        return NULL;
    }
    if (!running || running->value) {
        /* To look again does not help it. */
        finding.heals = QH_HEALS_NEVER;
        finding.heals_in_ns = QH_TIME_UNKNOWN;
    }
    finding.certainty = quiet == QH_QUIET ? QH_PROOF : QH_STRONG;
    QH_TRY(add_evidence(wait, &view, findings, &finding));
    return qh_findings_add(findings, &finding);
}

struct qh_error *
qh_rule_iothread_stop_unkicked(const struct qh_snapshot *snapshot,
                               struct qh_findings *findings)
{
    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_wait *joiner = &snapshot->waits[i];
        const struct qh_wait *wait = stopped_wait(snapshot, joiner);
        const struct qh_thread *thread =
            wait ? qh_snapshot_thread(snapshot, wait->tid) : NULL;
        if (thread && qh_poll_is_of(&thread->stack, "iothread_run")) {
            QH_TRY(judge(snapshot, joiner, wait, thread, findings));
        }
    }
    return NULL;
}
