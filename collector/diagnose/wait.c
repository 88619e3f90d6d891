/* Whether what a thread waits for has come, and which loop serves a context.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose/wait.h"
#include "diagnose/poll.h"

#include <errno.h>
#include <string.h>

enum test { IS_ZERO, NOT_ZERO, AT_MOST_ONE, DONE, COMPLETED };

/* What ends the wait, by the operand's name. */
static const struct {
    const char *what;
    enum test test;
} conditions[] = {
    { "in_progress", IS_ZERO },
    { "done", NOT_ZERO },
    { "in_flight", IS_ZERO },
    { "nb_requests", IS_ZERO },
    { "busy", IS_ZERO },
    { "reader_count", IS_ZERO },
    { "restart_pending", IS_ZERO },
    { "connections", IS_ZERO },
    { "exports", IS_ZERO },
    { "co_trip", IS_ZERO },
    { "qmp_dispatcher_co", IS_ZERO },
    { "refcnt", AT_MOST_ONE },
    { "ret", DONE },
    { "status", COMPLETED },
};

/* JOB_STATUS_WAITING and all behind it are of a job that has completed
 * (qapi/job.json, job_is_completed_locked() in job.c). */
enum { FIRST_COMPLETED = 6 };

static bool passes(enum test test, int64_t value)
{
    switch (test) {
    case IS_ZERO:
        return value == 0;
    case NOT_ZERO:
        return value != 0;
    case AT_MOST_ONE:
        return value <= 1;
    case DONE:
        return value != -EINPROGRESS;
    case COMPLETED:
        break;
    }
    return value >= FIRST_COMPLETED;
}

static enum qh_condition operand_condition(const struct qh_operand *operand)
{
    for (size_t i = 0; operand->known && i < QH_COUNT(conditions); i++) {
        if (!strcmp(operand->what, conditions[i].what)) {
            return passes(conditions[i].test, operand->value)
                       ? QH_CONDITION_MET
                       : QH_CONDITION_OPEN;
        }
    }
    return QH_CONDITION_UNKNOWN;
}

const struct qh_operand *qh_wait_open_operand(const struct qh_wait *wait)
{
    for (size_t i = 0; i < wait->operand_count; i++) {
        if (operand_condition(&wait->operands[i]) == QH_CONDITION_OPEN) {
            return &wait->operands[i];
        }
    }
    return NULL;
}

enum qh_condition qh_wait_condition(const struct qh_wait *wait)
{
    if (qh_wait_open_operand(wait)) {
        return QH_CONDITION_OPEN;
    }
    for (size_t i = 0; i < wait->operand_count; i++) {
        if (operand_condition(&wait->operands[i]) == QH_CONDITION_UNKNOWN) {
            return QH_CONDITION_UNKNOWN;
        }
    }
    return wait->operand_count ? QH_CONDITION_MET : QH_CONDITION_UNKNOWN;
}

const struct qh_operand *qh_wait_operand_named(const struct qh_wait *wait,
                                               const char *what)
{
    for (size_t i = 0; i < wait->operand_count; i++) {
        if (wait->operands[i].known && !strcmp(wait->operands[i].what, what)) {
            return &wait->operands[i];
        }
    }
    return NULL;
}

const struct qh_wait *qh_wait_of(const struct qh_snapshot *snapshot, pid_t tid)
{
    for (size_t i = 0; tid && i < snapshot->wait_count; i++) {
        if (snapshot->waits[i].tid == tid) {
            return &snapshot->waits[i];
        }
    }
    return NULL;
}

pid_t qh_wait_waiter(const struct qh_snapshot *snapshot, struct raddr coroutine)
{
    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_wait *wait = &snapshot->waits[i];
        if (wait->tid && coroutine.value &&
            qh_raddr_equal(wait->owner_coroutine, coroutine)) {
            return wait->tid;
        }
    }
    return 0;
}

bool qh_wait_is_for_work(const struct qh_wait *wait, const struct qh_pool *pool)
{
    return wait->tid && wait->kind == QH_WAIT_COND && !wait->late &&
           wait->object.value - pool->condition.value < pool->condition_bytes;
}

static bool is_called(const struct qh_wait *wait, const char *function)
{
    return wait->function && !strcmp(wait->function, function);
}

/* Whether `thread`, which rests in a loop of GLib's, serves the context: of
 * the main loop those of both of its sources are, and its own timers. */
static bool serves(const struct qh_thread *thread, const struct qh_wait *wait,
                   const struct qh_context *context)
{
    if (is_called(wait, "main_loop_wait")) {
        return !context || context->tid == thread->tid ||
               !strcmp(context->name, "iohandler");
    }
    return context && context->tid == thread->tid;
}

const struct qh_thread *qh_loop_asleep(const struct qh_snapshot *snapshot,
                                       struct raddr address)
{
    const struct qh_context *context = qh_snapshot_context(snapshot, address);

    if (address.value && !context) {
        return NULL;
    }
    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_wait *wait = &snapshot->waits[i];
        const struct qh_thread *thread =
            qh_snapshot_thread(snapshot, wait->tid);
        if (!wait->tid || !thread || thread->state != QH_THREAD_BLOCKED) {
            continue;
        }
        if (qh_backtrace_has(&thread->stack, "aio_poll")) {
            if (context && qh_raddr_equal(thread->polls, address) &&
                qh_poll_is_of(&thread->stack, NULL)) {
                return thread;
            }
        } else if (wait->kind == QH_WAIT_EVENTS &&
                   serves(thread, wait, context)) {
            return thread;
        }
    }
    return NULL;
}

const char *qh_thread_words(struct qh_findings *findings,
                            const struct qh_thread *thread)
{
    if (thread->role == QH_ROLE_MAIN) {
        return qh_arena_printf(&findings->arena, "main thread %d",
                               (int)thread->tid);
    }
    const char *name = thread->iothread ? thread->iothread : thread->name;
    return qh_arena_printf(&findings->arena, "thread %d (%s)", (int)thread->tid,
                           name ? name : "?");
}
