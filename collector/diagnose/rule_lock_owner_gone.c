/* lock.owner-gone: a mutex whose owner will never unlock it.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * glibc notes the owner's thread id in the mutex, and takes it out before the
 * unlock. So an id that no thread has is that of one that ended with the mutex
 * locked; and a waiter that finds its own has locked it before.
 * Source: nptl/pthread_mutex_lock.c, util/qemu-thread-posix.c.
 */
#include "diagnose/poll.h"
#include "diagnose/wait.h"

#include <inttypes.h>
#include <string.h>

/* Whether an earlier wait is for the same mutex: one finding for each. */
static bool is_told(const struct qh_snapshot *snapshot, size_t index)
{
    const struct qh_wait *wait = &snapshot->waits[index];

    for (size_t i = 0; i < index; i++) {
        const struct qh_wait *other = &snapshot->waits[i];
        if (other->tid && other->kind == wait->kind &&
            qh_raddr_equal(other->object, wait->object) &&
            other->owner_tid == 0 && wait->owner_tid == 0) {
            return true;
        }
    }
    return false;
}

static bool is_stuck(const struct qh_wait *wait)
{
    const struct qh_operand *owner = qh_wait_operand_named(wait, "__owner");
    const struct qh_operand *lock = qh_wait_operand_named(wait, "__lock");

    return wait->tid &&
           (wait->kind == QH_WAIT_MUTEX || wait->kind == QH_WAIT_BQL) &&
           owner && owner->value > 0 && lock && lock->value &&
           (!wait->owner_tid || wait->owner_tid == wait->tid);
}

/* The instance that QEMU's history knows: issue 3144. */
static const char *user_of(const struct qh_thread *thread)
{
    for (size_t i = 0; i < thread->stack.count; i++) {
        const char *function = thread->stack.frames[i].function;
        if (function &&
            !strncmp(function, "throttle_group_", strlen("throttle_group_"))) {
            return "throttle-group.lock";
        }
    }
    return NULL;
}

static struct qh_error *judge(const struct qh_snapshot *snapshot,
                              const struct qh_wait *wait,
                              struct qh_findings *findings)
{
    const struct qh_thread *thread = qh_snapshot_thread(snapshot, wait->tid);
    const struct qh_operand *owner = qh_wait_operand_named(wait, "__owner");
    enum qh_quiet quiet = qh_quiet_asleep(snapshot, wait->tid);
    bool own = wait->owner_tid == wait->tid;
    struct qh_finding finding = {
        .rule = "lock.owner-gone",
        .tid = wait->tid,
        .waiter = wait->tid,
        .heals = QH_HEALS_NEVER,
        .heals_in_ns = QH_TIME_UNKNOWN,
        .summary = own ? "a thread waits for a mutex that it holds"
                       : "a mutex was left locked by a thread",
    };

    if (quiet == QH_DISTURBED || !thread || wait->late) {
        findings->unsettled = true;
        return NULL;
    }
    finding.user = own ? user_of(thread) : NULL;
    finding.certainty = quiet == QH_QUIET ? QH_PROOF : QH_STRONG;
    finding.fingerprint =
        qh_fingerprint_mix(QH_FINGERPRINT, wait->object.value);
    finding.fingerprint =
        qh_fingerprint_mix(finding.fingerprint, (uint64_t)owner->value);
    finding.fingerprint =
        qh_fingerprint_stack(finding.fingerprint, &thread->stack);
    QH_TRY(qh_number_evidence(
        findings, &finding,
        qh_arena_printf(&findings->arena,
                        own ? "__owner = %" PRId64 ": the waiter itself"
                            : "__owner = %" PRId64 ": there is no such thread",
                        owner->value),
        owner->address, owner->value));
    QH_TRY(qh_evidence_add(findings, &finding,
                           wait->kind == QH_WAIT_BQL ? "the mutex is the BQL"
                                                     : "the mutex",
                           wait->object, "locked"));
    return qh_findings_add(findings, &finding);
}

struct qh_error *qh_rule_lock_owner_gone(const struct qh_snapshot *snapshot,
                                         struct qh_findings *findings)
{
    for (size_t i = 0; i < snapshot->wait_count; i++) {
        if (is_stuck(&snapshot->waits[i]) && !is_told(snapshot, i)) {
            QH_TRY(judge(snapshot, &snapshot->waits[i], findings));
        }
    }
    return NULL;
}
