/* rcu.stalled: a grace period waits for a reader that sleeps.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * call_rcu_thread waits until each reader has left its critical section, and
 * behind it wait all frees, and whoever calls drain_call_rcu(). A reader that
 * sleeps in the kernel within its section holds that up for as long.
 * Source: util/rcu.c (wait_for_readers), include/qemu/rcu.h.
 */
#include "diagnose/poll.h"
#include "diagnose/wait.h"

static struct qh_error *judge(const struct qh_snapshot *snapshot,
                              const struct qh_wait *wait,
                              const struct qh_thread *reader,
                              const struct qh_operand *ctr,
                              struct qh_findings *findings)
{
    const char *who = qh_thread_words(findings, reader);
    enum qh_quiet quiet =
        qh_quiet_worse(qh_quiet_asleep(snapshot, wait->tid),
                       qh_quiet_asleep(snapshot, reader->tid));
    struct qh_finding finding = {
        .rule = "rcu.stalled",
        .tid = reader->tid,
        .waiter = wait->tid,
        .certainty = QH_STRONG,
        .heals_in_ns = QH_TIME_UNKNOWN,
        .summary = "RCU waits for a reader that sleeps",
    };

    if (quiet == QH_DISTURBED || wait->late) {
        findings->unsettled = true;
        return NULL;
    }
    finding.fingerprint =
        qh_fingerprint_mix(QH_FINGERPRINT, (uint64_t)reader->tid);
    finding.fingerprint =
        qh_fingerprint_mix(finding.fingerprint, (uint64_t)ctr->value);
    finding.fingerprint =
        qh_fingerprint_stack(finding.fingerprint, &reader->stack);
    QH_TRY(qh_number_evidence(
        findings, &finding,
        who ? qh_arena_printf(&findings->arena, "%s is in its RCU section", who)
            : NULL,
        ctr->address, ctr->value));
    QH_TRY(qh_evidence_add(
        findings, &finding,
        qh_arena_printf(&findings->arena, "and sleeps in %s",
                        reader->blocked_in ? reader->blocked_in : "the kernel"),
        qh_raddr(0), "asleep"));
    return qh_findings_add(findings, &finding);
}

struct qh_error *qh_rule_rcu_stalled(const struct qh_snapshot *snapshot,
                                     struct qh_findings *findings)
{
    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_wait *wait = &snapshot->waits[i];
        const struct qh_thread *reader =
            qh_snapshot_thread(snapshot, wait->owner_tid);
        const struct qh_operand *ctr = qh_wait_operand_named(wait, "ctr");
        const struct qh_wait *why =
            reader ? qh_wait_of(snapshot, reader->tid) : NULL;
        if (why && (why->kind == QH_WAIT_BQL || why->owner_tid)) {
            continue; /* its lock's holder is whom all wait for */
        }
        if (wait->tid && wait->kind == QH_WAIT_RCU && reader && ctr &&
            reader->state == QH_THREAD_BLOCKED) {
            QH_TRY(judge(snapshot, wait, reader, ctr, findings));
        }
    }
    return NULL;
}
