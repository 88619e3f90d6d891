/* corwlock.stalled: a CoRwlock that its first waiter could have, and has not.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Whoever unlocks, downgrades or has got a CoRwlock looks at the first ticket:
 * a reader's is granted unless a writer has the lock, a writer's when nobody
 * has. It counts the new owner, takes the ticket off and wakes it. So a first
 * ticket that could be granted is one that somebody is about to grant, and so
 * is a waiter without a ticket one that is about to wake; when nobody is, the
 * queue stands for ever, for newcomers stand in line behind it. All of that
 * happens under the inner CoMutex, so while that is locked nothing is told:
 * whoever has it is at it.
 * Source: util/qemu-coroutine-lock.c (qemu_co_rwlock_maybe_wake_one).
 */
#include "diagnose/co_lock.h"
#include "diagnose/poll.h"
#include "diagnose/wait.h"

#include <inttypes.h>

/* Whether it has been chosen to go on, or the lock's owners leave room for
 * whose ticket is the first. */
static bool looks_stalled(const struct qh_snapshot *snapshot,
                          const struct qh_wait *wait)
{
    const struct qh_operand *owners = qh_wait_operand_named(wait, "owners");
    const struct qh_operand *listed = qh_wait_operand_named(wait, "listed");
    const struct qh_operand *reads =
        qh_wait_operand_named(wait, "first ticket reads");

    return owners && qh_wait_operand_named(wait, "mutex.locked") && listed &&
           (!listed->value ||
            (reads && (!owners->value || (owners->value > 0 && reads->value))));
}

static struct qh_error *add_evidence(const struct qh_co_lock *lock,
                                     const struct qh_operand *owners,
                                     struct qh_findings *findings,
                                     struct qh_finding *finding)
{
    const struct qh_operand *reads =
        qh_wait_operand_named(lock->first, "first ticket reads");

    QH_TRY(qh_number_evidence(findings, finding,
                              owners->value > 0 ? "owners: readers only"
                              : owners->value < 0
                                  ? "owners = -1: counted as the writer's"
                                  : "owners = 0: nobody has it",
                              owners->address, owners->value));
    if (reads && !lock->chosen) {
        QH_TRY(qh_number_evidence(findings, finding,
                                  reads->value
                                      ? "the first ticket is a reader's"
                                      : "the first ticket is a writer's",
                                  reads->address, reads->value));
    }
    return qh_co_lock_evidence(lock, findings, finding);
}

static struct qh_error *judge(const struct qh_co_lock *lock,
                              struct qh_findings *findings)
{
    const struct qh_operand *owners =
        qh_wait_operand_named(lock->first, "owners");
    const struct qh_operand *inner =
        qh_wait_operand_named(lock->first, "mutex.locked");

    enum qh_quiet quiet = qh_co_lock_passing(lock);
    if (quiet == QH_DISTURBED || lock->late || inner->value) {
        findings->unsettled = true;
        return NULL;
    }
    struct qh_finding finding =
        qh_co_lock_finding(lock, "corwlock.stalled", quiet);
    finding.summary = "a CoRwlock was not passed on";
    finding.fingerprint =
        qh_fingerprint_mix(finding.fingerprint, (uint64_t)owners->value);
    QH_TRY(add_evidence(lock, owners, findings, &finding));
    return qh_findings_add(findings, &finding);
}

struct qh_error *qh_rule_corwlock_stalled(const struct qh_snapshot *snapshot,
                                          struct qh_findings *findings)
{
    struct qh_co_lock lock;

    for (size_t i = 0; i < snapshot->wait_count; i++) {
        if (qh_co_lock_view(snapshot, i, QH_WAIT_CO_RWLOCK, looks_stalled,
                            &lock)) {
            QH_TRY(judge(&lock, findings));
        }
    }
    return NULL;
}
