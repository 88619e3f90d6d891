/* throttle.timer-unarmed: throttled requests, and no timer to let them go.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * While a member of a throttle group has requests in its queue, some member of
 * that group has its timer armed for that direction, or a coroutine or thread
 * is just letting the next one go, which then arms it. Where neither is so, the
 * queue stands: newcomers stand in line, and only a drain or a change of the
 * limits starts it again. A timer on a clock that is stopped counts as armed.
 * Source: block/throttle-groups.c (schedule_next_request, timer_cb,
 * throttle_group_restart_queue_entry).
 */
#include "diagnose/co_lock.h"
#include "diagnose/poll.h"
#include "diagnose/wait.h"

#include <inttypes.h>
#include <string.h>

/* Of each direction, its operand and the callback of its timer. */
static const struct direction {
    const char *operand, *callback, *summary;
} directions[] = {
    { "pending reads", "read_timer_cb",
      "throttled reads, and no timer is armed" },
    { "pending writes", "write_timer_cb",
      "throttled writes, and no timer is armed" },
};

static int64_t operand_value(const struct qh_wait *wait, const char *what)
{
    const struct qh_operand *operand = qh_wait_operand_named(wait, what);

    return operand ? operand->value : 0;
}

/* Whether `member` is known to be of another group than the waiter's. */
static bool of_another_group(const struct qh_snapshot *snapshot,
                             const struct qh_wait *waiter, struct raddr member)
{
    int64_t group = operand_value(waiter, "throttle_state");

    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_wait *wait = &snapshot->waits[i];
        if (wait->kind == QH_WAIT_THROTTLE &&
            qh_raddr_equal(wait->object, member)) {
            int64_t other = operand_value(wait, "throttle_state");
            return group && other && group != other;
        }
    }
    return false;
}

static bool has_timer(const struct qh_snapshot *snapshot,
                      const struct qh_wait *waiter,
                      const struct direction *direction)
{
    for (size_t i = 0; i < snapshot->timer_count; i++) {
        const struct qh_timer *timer = &snapshot->timers[i];
        if (!timer->callback ||
            (!strcmp(timer->callback, direction->callback) &&
             !of_another_group(snapshot, waiter, timer->opaque))) {
            return true;
        }
    }
    return false;
}

/* The direction in which nothing will let the waiter go, or NULL. */
static const struct direction *stuck_in(const struct qh_snapshot *snapshot,
                                        const struct qh_wait *wait)
{
    for (size_t i = 0; i < QH_COUNT(directions); i++) {
        if (operand_value(wait, directions[i].operand) > 0 &&
            !has_timer(snapshot, wait, &directions[i])) {
            return &directions[i];
        }
    }
    return NULL;
}

static bool looks_stuck(const struct qh_snapshot *snapshot,
                        const struct qh_wait *wait)
{
    return operand_value(wait, "listed") && stuck_in(snapshot, wait);
}

/* A timer of a list that was not read whole may be the one. */
static bool timers_known(const struct qh_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->gap_count; i++) {
        if (strstr(snapshot->gaps[i].what, "timer") ||
            strstr(snapshot->gaps[i].what, "AioContext")) {
            return false;
        }
    }
    return true;
}

/* Coroutines that let requests go exist only while they do. */
static bool is_restarting(const struct qh_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        const struct qh_coroutine *coroutine = &snapshot->coroutines[i];
        if (coroutine->state != QH_CO_POOLED && coroutine->entry &&
            !strcmp(coroutine->entry, "throttle_group_restart_queue_entry")) {
            return true;
        }
    }
    return false;
}

static enum qh_quiet quiet_around(const struct qh_co_lock *lock)
{
    static const char *const passing[] = {
        "throttle_group_co_io_limits_intercept",
        "throttle_group_co_restart_queue",
        "throttle_group_restart_queue",
        "throttle_group_restart_queue_entry",
        "throttle_group_restart_tgm",
        "throttle_group_config",
        "throttle_group_detach_aio_context",
        "throttle_group_unregister_tgm",
        "schedule_next_request",
        "read_timer_cb",
        "write_timer_cb",
        "timer_cb",
        "qemu_co_queue_next",
        "qemu_co_enter_next_impl",
        "aio_co_wake",
        "aio_co_enter",
        "aio_co_schedule",
        "co_schedule_bh_cb",
    };

    return is_restarting(lock->snapshot)
               ? QH_DISTURBED
               : qh_co_lock_quiet(lock, passing, QH_COUNT(passing));
}

static struct qh_error *judge(const struct qh_co_lock *lock,
                              struct qh_findings *findings)
{
    const struct direction *direction = stuck_in(lock->snapshot, lock->first);
    const struct qh_operand *pending =
        qh_wait_operand_named(lock->first, direction->operand);
    enum qh_quiet quiet = quiet_around(lock);

    if (quiet == QH_DISTURBED || lock->late ||
        operand_value(lock->first, "restart_pending")) {
        findings->unsettled = true;
        return NULL;
    }
    struct qh_finding finding =
        qh_co_lock_finding(lock, "throttle.timer-unarmed", quiet);
    finding.summary = direction->summary;
    finding.fingerprint =
        qh_fingerprint_mix(finding.fingerprint, (uint64_t)pending->value);
    QH_TRY(qh_number_evidence(findings, &finding,
                              qh_arena_printf(&findings->arena,
                                              "pending_reqs = %" PRId64
                                              ": let go by a timer only",
                                              pending->value),
                              pending->address, pending->value));
    QH_TRY(qh_evidence_add(
        findings, &finding,
        qh_arena_printf(&findings->arena, "no timer of its group with %s()",
                        direction->callback),
        qh_raddr((uint64_t)operand_value(lock->first, "throttle_state")),
        "none"));
    QH_TRY(qh_co_lock_evidence(lock, findings, &finding));
    return qh_findings_add(findings, &finding);
}

struct qh_error *
qh_rule_throttle_timer_unarmed(const struct qh_snapshot *snapshot,
                               struct qh_findings *findings)
{
    struct qh_co_lock lock;

    for (size_t i = 0; i < snapshot->wait_count; i++) {
        if (qh_co_lock_view(snapshot, i, QH_WAIT_THROTTLE, looks_stuck,
                            &lock) &&
            timers_known(snapshot)) {
            QH_TRY(judge(&lock, findings));
        }
    }
    return NULL;
}
