/* comutex.handoff-lost: a CoMutex that is waited for and that nobody has.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A CoMutex is passed on, never set free, while `locked` counts a waiter: the
 * one who unlocks takes a waiter off the list and wakes it, or leaves a number
 * in `handoff` for a locker that has counted itself but is not on the list yet.
 * So a mutex with waiters and no holder is one that somebody is just passing
 * on; when nobody is, that step was lost, and all that come will wait behind
 * it. A holder whose coroutine has ended will not unlock either.
 * Source: util/qemu-coroutine-lock.c (qemu_co_mutex_unlock,
 * qemu_co_mutex_lock_slowpath).
 */
#include "diagnose/co_lock.h"
#include "diagnose/poll.h"
#include "diagnose/wait.h"

#include <inttypes.h>

/* Whether the holder's coroutine has ended and its stack lies in the pool. */
static bool has_ended(const struct qh_snapshot *snapshot, int64_t holder)
{
    const struct qh_coroutine *coroutine =
        qh_snapshot_coroutine(snapshot, qh_raddr((uint64_t)holder));

    return holder && coroutine && coroutine->state == QH_CO_POOLED;
}

static bool looks_lost(const struct qh_snapshot *snapshot,
                       const struct qh_wait *wait)
{
    const struct qh_operand *holder = qh_wait_operand_named(wait, "holder");
    const struct qh_operand *locked = qh_wait_operand_named(wait, "locked");

    return holder && locked && locked->value > 0 &&
           (!holder->value || has_ended(snapshot, holder->value));
}

static struct qh_error *add_evidence(const struct qh_co_lock *lock,
                                     const struct qh_operand *holder,
                                     const struct qh_operand *locked,
                                     struct qh_findings *findings,
                                     struct qh_finding *finding)
{
    const struct qh_operand *handoff =
        qh_wait_operand_named(lock->first, "handoff");

    QH_TRY(qh_evidence_add(findings, finding,
                           holder->value ? "holder: that coroutine has ended"
                                         : "holder = NULL: nobody has it",
                           holder->address,
                           qh_arena_printf(&findings->arena, "0x%" PRIx64,
                                           (uint64_t)holder->value)));
    QH_TRY(qh_number_evidence(
        findings, finding,
        qh_arena_printf(&findings->arena,
                        "locked = %" PRId64 ": not free either", locked->value),
        locked->address, locked->value));
    QH_TRY(qh_co_lock_evidence(lock, findings, finding));
    if (!handoff || !handoff->value) {
        return NULL;
    }
    return qh_number_evidence(findings, finding,
                              qh_arena_printf(&findings->arena,
                                              "handoff = %" PRId64
                                              ": offered, and not taken",
                                              handoff->value),
                              handoff->address, handoff->value);
}

static struct qh_error *judge(const struct qh_co_lock *lock,
                              struct qh_findings *findings)
{
    const struct qh_operand *holder =
        qh_wait_operand_named(lock->first, "holder");
    const struct qh_operand *locked =
        qh_wait_operand_named(lock->first, "locked");

    enum qh_quiet quiet = qh_co_lock_passing(lock);
    if (quiet == QH_DISTURBED || lock->late) {
        findings->unsettled = true;
        return NULL;
    }
    struct qh_finding finding =
        qh_co_lock_finding(lock, "comutex.handoff-lost", quiet);
    finding.summary = holder->value ? "a CoMutex was left locked by a coroutine"
                                    : "a CoMutex was not passed on";
    finding.fingerprint =
        qh_fingerprint_mix(finding.fingerprint, (uint64_t)locked->value);
    QH_TRY(add_evidence(lock, holder, locked, findings, &finding));
    return qh_findings_add(findings, &finding);
}

struct qh_error *
qh_rule_comutex_handoff_lost(const struct qh_snapshot *snapshot,
                             struct qh_findings *findings)
{
    struct qh_co_lock lock;

    for (size_t i = 0; i < snapshot->wait_count; i++) {
        if (qh_co_lock_view(snapshot, i, QH_WAIT_CO_MUTEX, looks_lost, &lock)) {
            QH_TRY(judge(&lock, findings));
        }
    }
    return NULL;
}
