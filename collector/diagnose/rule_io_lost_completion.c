/* io.lost-completion: requests are counted that nobody has.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A drain waits until in_flight of its nodes and of their parents is 0. Each
 * request that is counted there is somewhere: in a coroutine, with a bottom
 * half that is to end it, at a worker thread. When all threads sleep, nothing
 * is queued, no worker works, and each coroutine is one that is known to do no
 * I/O where it stands, nobody is left to count the request down.
 * Source: block/io.c (bdrv_inc_in_flight, bdrv_dec_in_flight, bdrv_drain_poll),
 * block/block-backend.c (blk_inc_in_flight), util/thread-pool.c.
 */
#include "diagnose/poll.h"
#include "diagnose/wait.h"

#include <inttypes.h>
#include <string.h>

/* The first of its requests in flight; NULL when another of the conditions is
 * open, or not known, so that it may be that one which holds it up. */
static const struct qh_operand *only_in_flight(const struct qh_wait *wait)
{
    const struct qh_operand *first = NULL;

    for (size_t i = 0; i < wait->operand_count; i++) {
        const struct qh_operand *operand = &wait->operands[i];
        if (!operand->known) {
            return NULL;
        }
        if (!operand->value) {
            continue;
        }
        if (strcmp(operand->what, "in_flight") || operand->value < 0) {
            return NULL;
        }
        first = first ? first : operand;
    }
    return first;
}

static bool is_block_layer(const char *function)
{
    static const char *const prefixes[] = { "bdrv_", "blk_", "qcow2_co_" };

    for (size_t i = 0; function && i < QH_COUNT(prefixes); i++) {
        if (!strncmp(function, prefixes[i], strlen(prefixes[i]))) {
            return true;
        }
    }
    return false;
}

/* Whether it may have a request: it does unless it is known not to. An NBD
 * server's waits between two requests of its client, in a read. */
static bool may_have_request(const struct qh_coroutine *coroutine)
{
    static const char *const idle[] = { "monitor_qmp_dispatcher_co",
                                        "cache_clean_timer", "nbd_trip" };
    bool known = false;

    if (coroutine->state == QH_CO_POOLED) {
        return false;
    }
    if (coroutine->state != QH_CO_SUSPENDED || !coroutine->entry ||
        !coroutine->stack.count || coroutine->stack.cut) {
        return true;
    }
    for (size_t i = 0; i < QH_COUNT(idle); i++) {
        known |= !strcmp(coroutine->entry, idle[i]);
    }
    for (size_t i = 0; i < coroutine->stack.count; i++) {
        const char *function = coroutine->stack.frames[i].function;
        if (!function || is_block_layer(function)) {
            return true;
        }
    }
    return !known;
}

/* Whether a worker waits for the next request of its pool. */
static bool is_idle_worker(const struct qh_snapshot *snapshot, pid_t tid)
{
    const struct qh_wait *wait = qh_wait_of(snapshot, tid);

    for (size_t i = 0; wait && i < snapshot->context_count; i++) {
        if (qh_wait_is_for_work(wait, &snapshot->contexts[i].pool)) {
            return true;
        }
    }
    return false;
}

/* Whether it may be at a request: a worker that does anything but wait for
 * one, and whoever else is not asleep. A vCPU is always at its guest. */
static bool may_work(const struct qh_snapshot *snapshot,
                     const struct qh_thread *thread)
{
    if (thread->role == QH_ROLE_WORKER) {
        return !is_idle_worker(snapshot, thread->tid);
    }
    return thread->role != QH_ROLE_VCPU &&
           (thread->state != QH_THREAD_BLOCKED || thread->perhaps_awake ||
            thread->perhaps_asleep);
}

static bool has_work(const struct qh_context *context)
{
    return context->work_unknown || context->pending_count ||
           context->scheduled_count || context->event_count > 0 ||
           context->pool.request.value || context->pool.starting;
}

/* Whether anybody can be seen, or may be there unseen, who has a request. */
static bool accounted(const struct qh_snapshot *snapshot)
{
    bool found = snapshot->gap_count;

    for (size_t i = 0; !found && i < snapshot->context_count; i++) {
        found = has_work(&snapshot->contexts[i]);
    }
    for (size_t i = 0; !found && i < snapshot->thread_count; i++) {
        found = may_work(snapshot, &snapshot->threads[i]);
    }
    for (size_t i = 0; !found && i < snapshot->coroutine_count; i++) {
        found = may_have_request(&snapshot->coroutines[i]);
    }
    return found;
}

static struct qh_error *add_evidence(const struct qh_snapshot *snapshot,
                                     const struct qh_wait *wait,
                                     const struct qh_operand *operand,
                                     struct qh_findings *findings,
                                     struct qh_finding *finding)
{
    QH_TRY(qh_number_evidence(findings, finding,
                              qh_arena_printf(&findings->arena,
                                              "in_flight = %" PRId64
                                              ": so many requests are counted",
                                              operand->value),
                              operand->address, operand->value));
    return qh_evidence_add(
        findings, finding,
        qh_arena_printf(&findings->arena,
                        "none of %zu coroutines, no queue and no worker has "
                        "one",
                        snapshot->coroutine_count),
        wait->object, "looked through");
}

static struct qh_error *judge(const struct qh_poll_view *view,
                              const struct qh_wait *wait,
                              const struct qh_operand *operand,
                              struct qh_findings *findings)
{
    uint64_t print = qh_fingerprint_mix(QH_FINGERPRINT, operand->address.value);
    enum qh_quiet quiet = qh_poll_quiet(view);

    if (wait->late || quiet == QH_DISTURBED) {
        findings->unsettled = true;
        return NULL;
    }
    if (quiet == QH_QUIET_UNKNOWN) {
        return NULL; /* another look would see no more */
    }
    print = qh_fingerprint_mix(print, (uint64_t)operand->value);
    struct qh_finding finding = {
        .rule = "io.lost-completion",
        .certainty = QH_STRONG,
        .tid = wait->tid,
        .waiter = wait->tid,
        .heals = QH_HEALS_NEVER,
        .heals_in_ns = QH_TIME_UNKNOWN,
        .summary = "requests in flight that nobody has",
        .fingerprint = qh_fingerprint_stack(print, &view->thread->stack),
    };
    QH_TRY(add_evidence(view->snapshot, wait, operand, findings, &finding));
    return qh_findings_add(findings, &finding);
}

struct qh_error *qh_rule_io_lost_completion(const struct qh_snapshot *snapshot,
                                            struct qh_findings *findings)
{
    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_wait *wait = &snapshot->waits[i];
        const struct qh_thread *thread =
            qh_snapshot_thread(snapshot, wait->tid);
        if (!wait->tid || !thread || wait->kind != QH_WAIT_DRAIN ||
            wait->owner_coroutine.value ||
            !qh_poll_is_of(&thread->stack, NULL)) {
            continue;
        }
        const struct qh_operand *operand = only_in_flight(wait);
        if (operand && !accounted(snapshot)) {
            const struct qh_poll_view view = qh_poll_view(snapshot, thread);
            QH_TRY(judge(&view, wait, operand, findings));
        }
    }
    return NULL;
}
