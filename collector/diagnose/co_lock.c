/* A lock between coroutines that is waited for, and who may be passing it on.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose/co_lock.h"
#include "diagnose/poll.h"
#include "diagnose/wait.h"

#include <inttypes.h>
#include <string.h>

static bool is_for(const struct qh_wait *wait, const struct qh_wait *like)
{
    return wait->coroutine.value && wait->kind == like->kind &&
           qh_raddr_equal(wait->object, like->object);
}

bool qh_co_lock_view(const struct qh_snapshot *snapshot, size_t index,
                     enum qh_wait_kind kind, qh_co_lock_test *looks,
                     struct qh_co_lock *ret)
{
    const struct qh_wait *first = &snapshot->waits[index];

    if (first->kind != kind || !first->coroutine.value ||
        !first->object.value || !looks(snapshot, first)) {
        return false;
    }
    struct qh_co_lock lock = {
        .snapshot = snapshot,
        .first = first,
        .coroutine = qh_snapshot_coroutine(snapshot, first->coroutine),
    };
    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_wait *wait = &snapshot->waits[i];
        if (!is_for(wait, first)) {
            continue;
        }
        if (i < index && looks(snapshot, wait)) {
            return false;
        }
        const struct qh_operand *listed = qh_wait_operand_named(wait, "listed");
        if (listed && !listed->value && !lock.chosen) {
            lock.chosen = wait;
        }
        lock.waiters++;
        lock.late |= wait->late;
    }
    *ret = lock;
    return true;
}

static bool stands_in_one(const struct qh_backtrace *stack,
                          const char *const *passing, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (qh_backtrace_has(stack, passing[i])) {
            return true;
        }
    }
    return false;
}

/* Whether no coroutine has been woken out of a lock, of which it is not known
 * any more which one that was. */
static enum qh_quiet scheduled_quiet(const struct qh_snapshot *snapshot,
                                     const char *const *passing, size_t count)
{
    enum qh_quiet quiet = QH_QUIET;

    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_wait *wait = &snapshot->waits[i];
        const struct qh_coroutine *coroutine =
            wait->kind == QH_WAIT_BH
                ? qh_snapshot_coroutine(snapshot, wait->coroutine)
                : NULL;
        if (!coroutine || coroutine->state != QH_CO_SUSPENDED) {
            continue;
        }
        if (stands_in_one(&coroutine->stack, passing, count)) {
            return QH_DISTURBED;
        }
        if (!coroutine->stack.count || coroutine->stack.cut) {
            quiet = QH_QUIET_UNKNOWN;
        }
    }
    return quiet;
}

/* Whether no coroutine runs that may have the waiter in its wake-up queue: in
 * the waiter's own context, which a thread without one takes for the main one
 * while it has the BQL. */
static enum qh_quiet context_quiet(const struct qh_snapshot *snapshot,
                                   struct raddr address)
{
    const struct qh_context *context = qh_snapshot_context(snapshot, address);

    for (size_t i = 0; i < snapshot->thread_count; i++) {
        const struct qh_thread *thread = &snapshot->threads[i];
        bool at_home = qh_raddr_equal(thread->home, address);
        if ((at_home || !thread->home.value) &&
            (thread->coroutine.value ||
             qh_backtrace_has(&thread->stack, "qemu_aio_coroutine_enter"))) {
            return QH_DISTURBED;
        }
    }
    return qh_quiet_asleep(snapshot, context ? context->tid : 0);
}

enum qh_quiet qh_co_lock_quiet(const struct qh_co_lock *lock,
                               const char *const *passing, size_t count)
{
    const struct qh_snapshot *snapshot = lock->snapshot;
    struct raddr last = { 0 };
    enum qh_quiet quiet =
        qh_quiet_worse(qh_quiet_threads(snapshot, passing, count),
                       scheduled_quiet(snapshot, passing, count));

    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_wait *wait = &snapshot->waits[i];
        if (!is_for(wait, lock->first)) {
            continue;
        }
        const struct qh_coroutine *coroutine =
            qh_snapshot_coroutine(snapshot, wait->coroutine);
        if (!coroutine) {
            quiet = qh_quiet_worse(quiet, QH_QUIET_UNKNOWN);
        } else if (!last.value || !qh_raddr_equal(coroutine->context, last)) {
            last = coroutine->context;
            quiet = qh_quiet_worse(quiet, context_quiet(snapshot, last));
        }
    }
    return quiet;
}

/* Those that take a lock, give it back, or wake whom it is given to. */
static const char *const lock_functions[] = {
    "qemu_co_mutex_lock",    "qemu_co_mutex_lock_slowpath",
    "qemu_co_mutex_unlock",  "qemu_co_rwlock_rdlock",
    "qemu_co_rwlock_wrlock", "qemu_co_rwlock_upgrade",
    "qemu_co_rwlock_unlock", "qemu_co_rwlock_downgrade",
    "aio_co_wake",           "aio_co_enter",
    "aio_co_schedule",       "co_schedule_bh_cb",
};

enum qh_quiet qh_co_lock_passing(const struct qh_co_lock *lock)
{
    return qh_co_lock_quiet(lock, lock_functions, QH_COUNT(lock_functions));
}

/* The thread that waits for one of those that want it, or 0. */
static pid_t waiter_of(const struct qh_co_lock *lock)
{
    const struct qh_snapshot *snapshot = lock->snapshot;
    pid_t waiter = 0;

    for (size_t i = 0; !waiter && i < snapshot->wait_count; i++) {
        const struct qh_wait *wait = &snapshot->waits[i];
        if (is_for(wait, lock->first)) {
            waiter = qh_wait_waiter(snapshot, wait->coroutine);
        }
    }
    return waiter;
}

struct qh_finding qh_co_lock_finding(const struct qh_co_lock *lock,
                                     const char *rule, enum qh_quiet quiet)
{
    const struct qh_context *context =
        lock->coroutine
            ? qh_snapshot_context(lock->snapshot, lock->coroutine->context)
            : NULL;
    uint64_t print = QH_FINGERPRINT;

    print = qh_fingerprint_mix(print, lock->first->object.value);
    print = qh_fingerprint_mix(print, lock->first->coroutine.value);
    print = qh_fingerprint_mix(print, lock->waiters);
    return (struct qh_finding){
        .rule = rule,
        .certainty = quiet == QH_QUIET ? QH_PROOF : QH_STRONG,
        .coroutine = lock->first->coroutine,
        .tid = context ? context->tid : 0,
        .waiter = waiter_of(lock),
        .of_memory = true,
        .heals = QH_HEALS_NEVER,
        .heals_in_ns = QH_TIME_UNKNOWN,
        .fingerprint = print,
    };
}

struct qh_error *qh_co_lock_evidence(const struct qh_co_lock *lock,
                                     struct qh_findings *findings,
                                     struct qh_finding *finding)
{
    const struct qh_wait *chosen = lock->chosen;

    QH_TRY(qh_number_evidence(
        findings, finding,
        qh_arena_printf(&findings->arena, "%zu coroutine%s for it",
                        lock->waiters,
                        lock->waiters == 1 ? " waits" : "s wait"),
        lock->first->object, (int64_t)lock->waiters));
    if (!chosen) {
        return NULL;
    }
    return qh_evidence_add(findings, finding,
                           "one is off the list, and was not woken",
                           chosen->coroutine,
                           qh_arena_printf(&findings->arena, "0x%" PRIx64,
                                           chosen->coroutine.value));
}
