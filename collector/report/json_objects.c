/* The objects of the snapshot in the JSON report.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/json_parts.h"
#include "report/text.h"

struct json_object *qh_json_frames(struct qh_json *json,
                                   const struct qh_backtrace *stack)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < stack->count; i++) {
        const struct qh_frame *frame = &stack->frames[i];
        struct json_object *item = qh_json_object(json);
        qh_json_put(json, item, "pc", qh_json_address(json, frame->pc));
        qh_json_put(json, item, "sp", qh_json_address(json, frame->sp));
        qh_json_put(json, item, "function",
                    qh_json_text(json, frame->function));
        qh_json_put(json, item, "file", qh_json_text(json, frame->file));
        qh_json_put(json, item, "line", qh_json_id(json, frame->line));
        qh_json_put(json, item, "inline", qh_json_bool(json, frame->is_inline));
        qh_json_append(json, array, item);
    }
    return array;
}

/* Where it is, as the text report has it. */
static struct json_object *place_of(struct qh_json *json,
                                    const struct qh_backtrace *stack)
{
    size_t first = qh_text_first_frame(stack);

    return qh_json_text(
        json, first < stack->count ? stack->frames[first].function : NULL);
}

static const char *state_name(enum qh_thread_state state)
{
    switch (state) {
    case QH_THREAD_RUNNABLE:
        return "runnable";
    case QH_THREAD_BLOCKED:
        return "blocked";
    case QH_THREAD_IN_KERNEL:
        break;
    }
    return "in-kernel";
}

static struct json_object *thread_of(struct qh_json *json,
                                     const struct qh_thread *thread)
{
    struct json_object *item = qh_json_object(json);

    qh_json_put(json, item, "tid", qh_json_int(json, thread->tid));
    qh_json_put(json, item, "name", qh_json_text(json, thread->name));
    qh_json_put(json, item, "role",
                qh_json_text(json, qh_role_name(thread->role)));
    qh_json_put(json, item, "iothread", qh_json_text(json, thread->iothread));
    qh_json_put(json, item, "state",
                qh_json_text(json, state_name(thread->state)));
    qh_json_put(json, item, "blocked_in",
                qh_json_text(json, thread->blocked_in));
    qh_json_put(json, item, "timeout_ns",
                qh_json_time(json, thread->timeout_ns));
    qh_json_put(json, item, "home", qh_json_address(json, thread->home));
    qh_json_put(json, item, "polls", qh_json_address(json, thread->polls));
    qh_json_put(json, item, "coroutine",
                qh_json_address(json, thread->coroutine));
    qh_json_put(json, item, "holds_bql", qh_json_bool(json, thread->holds_bql));
    qh_json_put(json, item, "at", place_of(json, &thread->stack));
    qh_json_put(json, item, "frames", qh_json_frames(json, &thread->stack));
    qh_json_put(json, item, "cut", qh_json_text(json, thread->stack.cut));
    return item;
}

struct json_object *qh_json_threads(struct qh_json *json,
                                    const struct qh_snapshot *snapshot)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < snapshot->thread_count; i++) {
        qh_json_append(json, array, thread_of(json, &snapshot->threads[i]));
    }
    return array;
}

static struct json_object *pending_of(struct qh_json *json,
                                      const struct qh_context *context)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < context->pending_count; i++) {
        const struct qh_bh *bh = &context->pending[i];
        struct json_object *item = qh_json_object(json);
        qh_json_put(json, item, "address", qh_json_address(json, bh->address));
        qh_json_put(json, item, "callback", qh_json_text(json, bh->callback));
        qh_json_put(json, item, "name", qh_json_text(json, bh->name));
        qh_json_append(json, array, item);
    }
    return array;
}

static struct json_object *context_of(struct qh_json *json,
                                      const struct qh_context *context)
{
    struct json_object *item = qh_json_object(json);

    qh_json_put(json, item, "address", qh_json_address(json, context->address));
    qh_json_put(json, item, "name", qh_json_text(json, context->name));
    qh_json_put(json, item, "tid", qh_json_id(json, context->tid));
    qh_json_put(json, item, "poller", qh_json_id(json, context->poller));
    qh_json_put(json, item, "notify_me", qh_json_int(json, context->notify_me));
    qh_json_put(json, item, "notified", qh_json_bool(json, context->notified));
    qh_json_put(json, item, "notifier",
                qh_json_address(json, context->notifier));
    qh_json_put(json, item, "event_fd",
                context->event_fd < 0 ? NULL
                                      : qh_json_int(json, context->event_fd));
    qh_json_put(json, item, "event_count",
                context->event_count < 0
                    ? NULL
                    : qh_json_int(json, context->event_count));
    qh_json_put(json, item, "pending", pending_of(json, context));
    qh_json_put(
        json, item, "scheduled",
        qh_json_addresses(json, context->scheduled, context->scheduled_count));
    qh_json_put(json, item, "graph_readers",
                context->graph_known ? qh_json_int(json, context->graph_readers)
                                     : NULL);
    return item;
}

struct json_object *qh_json_contexts(struct qh_json *json,
                                     const struct qh_snapshot *snapshot)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < snapshot->context_count; i++) {
        qh_json_append(json, array, context_of(json, &snapshot->contexts[i]));
    }
    return array;
}

struct json_object *qh_json_timers(struct qh_json *json,
                                   const struct qh_snapshot *snapshot)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < snapshot->timer_count; i++) {
        const struct qh_timer *timer = &snapshot->timers[i];
        struct json_object *item = qh_json_object(json);
        qh_json_put(json, item, "address",
                    qh_json_address(json, timer->address));
        qh_json_put(json, item, "context",
                    qh_json_address(json, timer->context));
        qh_json_put(json, item, "list", qh_json_address(json, timer->list));
        qh_json_put(json, item, "clock",
                    qh_json_text(json, qh_clock_name(timer->clock)));
        qh_json_put(json, item, "clock_enabled",
                    qh_json_bool(json, timer->clock_enabled));
        qh_json_put(json, item, "expire_ns",
                    qh_json_time(json, timer->expire_ns));
        qh_json_put(
            json, item, "left_ns",
            qh_json_time(json, qh_snapshot_left_ns(snapshot, timer->clock,
                                                   timer->expire_ns)));
        qh_json_put(json, item, "position",
                    qh_json_uint(json, timer->position));
        qh_json_put(json, item, "callback",
                    qh_json_text(json, timer->callback));
        qh_json_put(json, item, "opaque", qh_json_address(json, timer->opaque));
        qh_json_append(json, array, item);
    }
    return array;
}

static struct json_object *registers_of(struct qh_json *json,
                                        const struct qh_coroutine *coroutine)
{
    static const struct {
        unsigned number;
        const char *name;
    } saved[] = {
        { QH_REG_RBX, "rbx" },     { QH_REG_RBP, "rbp" },
        { QH_REG_R12, "r12" },     { QH_REG_R12 + 1, "r13" },
        { QH_REG_R12 + 2, "r14" }, { QH_REG_R12 + 3, "r15" },
        { QH_REG_RSP, "rsp" },     { QH_REG_RIP, "rip" },
    };

    if (coroutine->state == QH_CO_RUNNING || !coroutine->regs.known) {
        return NULL;
    }
    struct json_object *item = qh_json_object(json);
    for (size_t i = 0; i < QH_COUNT(saved); i++) {
        qh_json_put(json, item, saved[i].name,
                    qh_json_hex(json, coroutine->regs.dwarf[saved[i].number]));
    }
    return item;
}

void qh_json_put_coroutine(struct qh_json *json, struct json_object *item,
                           const struct qh_coroutine *coroutine)
{
    qh_json_put(json, item, "address",
                qh_json_address(json, coroutine->address));
    qh_json_put(json, item, "entry", qh_json_text(json, coroutine->entry));
    qh_json_put(json, item, "entry_arg",
                qh_json_address(json, coroutine->entry_arg));
    qh_json_put(json, item, "context",
                qh_json_address(json, coroutine->context));
    qh_json_put(json, item, "caller", qh_json_address(json, coroutine->caller));
    qh_json_put(json, item, "scheduled",
                qh_json_text(json, coroutine->scheduled));
    qh_json_put(json, item, "locks_held",
                qh_json_uint(json, coroutine->locks_held));
    qh_json_put(json, item, "stack_start",
                qh_json_address(json, coroutine->stack_start));
    qh_json_put(json, item, "stack_bytes",
                qh_json_uint(json, coroutine->stack_bytes));
    qh_json_put(json, item, "tid", qh_json_id(json, coroutine->tid));
}

static struct json_object *coroutine_of(struct qh_json *json,
                                        const struct qh_coroutine *coroutine)
{
    struct json_object *item = qh_json_object(json);

    qh_json_put_coroutine(json, item, coroutine);
    qh_json_put(json, item, "state",
                qh_json_text(json, qh_coroutine_state_name(coroutine->state)));
    qh_json_put(json, item, "queue_next",
                qh_json_address(json, coroutine->queue_next));
    qh_json_put(json, item, "registers", registers_of(json, coroutine));
    qh_json_put(json, item, "at", place_of(json, &coroutine->stack));
    qh_json_put(json, item, "frames", qh_json_frames(json, &coroutine->stack));
    qh_json_put(json, item, "cut", qh_json_text(json, coroutine->stack.cut));
    return item;
}

struct json_object *qh_json_coroutines(struct qh_json *json,
                                       const struct qh_snapshot *snapshot)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        qh_json_append(json, array,
                       coroutine_of(json, &snapshot->coroutines[i]));
    }
    return array;
}
