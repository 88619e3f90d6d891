/* kernel.stuck: others wait for a thread that is stuck in the kernel.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A thread in state D waits, without being open to signals, for storage or a
 * file system that does not answer: dead NFS, a lost path. That happens to a
 * healthy QEMU for a while, so it has to be the same sleep in both samples, by
 * its count of context switches, and one that others wait for.
 */
#include "diagnose/poll.h"
#include "diagnose/wait.h"

/* The first thread that waits for what thread `tid` holds or does, or NULL. */
static const struct qh_wait *waiter_of(const struct qh_snapshot *snapshot,
                                       pid_t tid)
{
    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_wait *wait = &snapshot->waits[i];
        if (wait->tid && wait->tid != tid &&
            (wait->owner_tid == tid ||
             (wait->kind == QH_WAIT_BQL && snapshot->bql_owner == tid))) {
            return wait;
        }
    }
    return NULL;
}

static struct qh_error *judge(const struct qh_thread *thread,
                              const struct qh_wait *wait,
                              struct qh_findings *findings)
{
    const char *who = qh_thread_words(findings, thread);
    struct qh_finding finding = {
        .rule = "kernel.stuck",
        .tid = thread->tid,
        .waiter = wait->tid,
        .certainty = QH_STRONG,
        .heals_in_ns = QH_TIME_UNKNOWN,
        .summary = "a thread is stuck in the kernel",
    };

    if (wait->late) {
        findings->unsettled = true;
        return NULL;
    }
    finding.fingerprint =
        qh_fingerprint_mix(QH_FINGERPRINT, (uint64_t)thread->tid);
    finding.fingerprint =
        qh_fingerprint_mix(finding.fingerprint, thread->switches);
    finding.fingerprint =
        qh_fingerprint_mix(finding.fingerprint, (uint64_t)wait->tid);
    QH_TRY(qh_evidence_add(
        findings, &finding,
        who ? qh_arena_printf(&findings->arena, "%s is in state D, in %s", who,
                              thread->blocked_in ? thread->blocked_in
                                                 : "the kernel")
            : NULL,
        qh_raddr(0), "D"));
    QH_TRY(qh_evidence_add(
        findings, &finding,
        qh_arena_printf(&findings->arena, "thread %d waits for it (%s)",
                        (int)wait->tid, qh_wait_kind_name(wait->kind)),
        wait->object, qh_wait_kind_name(wait->kind)));
    return qh_findings_add(findings, &finding);
}

struct qh_error *qh_rule_kernel_stuck(const struct qh_snapshot *snapshot,
                                      struct qh_findings *findings)
{
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        const struct qh_thread *thread = &snapshot->threads[i];
        const struct qh_wait *wait = thread->state == QH_THREAD_IN_KERNEL
                                         ? waiter_of(snapshot, thread->tid)
                                         : NULL;
        if (wait && thread->switches) {
            QH_TRY(judge(thread, wait, findings));
        }
    }
    return NULL;
}
