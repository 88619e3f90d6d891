/* Waits, sleepers, the graph lock and gaps in the JSON report.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/json_parts.h"

static struct json_object *cleaner_of(struct qh_json *json,
                                      const struct qh_cache_cleaner *cleaner)
{
    struct json_object *item = qh_json_object(json);

    qh_json_put(json, item, "state", qh_json_address(json, cleaner->state));
    qh_json_put(json, item, "interval_s",
                qh_json_uint(json, cleaner->interval_s));
    qh_json_put(json, item, "interval_address",
                qh_json_address(json, cleaner->interval_address));
    qh_json_put(json, item, "timer_co",
                qh_json_address(json, cleaner->timer_co));
    qh_json_put(json, item, "exit_queue",
                qh_json_address(json, cleaner->exit_queue));
    qh_json_put(
        json, item, "waiters",
        qh_json_addresses(json, cleaner->waiters, cleaner->waiter_count));
    qh_json_put(json, item, "waiter_tid",
                qh_json_id(json, cleaner->waiter_tid));
    qh_json_put(json, item, "node", qh_json_text(json, cleaner->node));
    return item;
}

static void put_timer(struct qh_json *json, struct json_object *item,
                      const struct qh_sleeper *sleeper)
{
    bool linked = sleeper->timer_linked;

    qh_json_put(json, item, "timer", qh_json_address(json, sleeper->timer));
    qh_json_put(json, item, "timer_list",
                qh_json_address(json, sleeper->timer_list));
    qh_json_put(json, item, "timer_linked", qh_json_bool(json, linked));
    qh_json_put(json, item, "timer_position",
                linked ? qh_json_uint(json, sleeper->timer_position) : NULL);
    qh_json_put(json, item, "clock",
                qh_json_text(json, qh_clock_name(sleeper->clock)));
    qh_json_put(json, item, "expire_ns",
                qh_json_time(json, sleeper->expire_ns));
    qh_json_put(json, item, "timer_left_ns",
                qh_json_time(json, sleeper->left_ns));
    qh_json_put(json, item, "asked_ns", qh_json_time(json, sleeper->asked_ns));
}

static struct json_object *sleeper_of(struct qh_json *json,
                                      const struct qh_sleeper *sleeper)
{
    struct json_object *item = qh_json_object(json);
    bool cleaner = sleeper->user == QH_USER_QCOW2_CACHE_CLEANER;

    qh_json_put(json, item, "coroutine",
                qh_json_address(json, sleeper->coroutine));
    qh_json_put(json, item, "wake_address",
                qh_json_address(json, sleeper->wake));
    qh_json_put(json, item, "to_wake", qh_json_address(json, sleeper->to_wake));
    qh_json_put(json, item, "armed",
                qh_json_text(json, qh_armed_name(sleeper->armed)));
    put_timer(json, item, sleeper);
    qh_json_put(json, item, "user",
                qh_json_text(json, qh_sleep_user_name(sleeper->user)));
    qh_json_put(json, item, "cleaner",
                cleaner && sleeper->has_cleaner
                    ? cleaner_of(json, &sleeper->cleaner)
                    : NULL);
    return item;
}

struct json_object *qh_json_sleepers(struct qh_json *json,
                                     const struct qh_snapshot *snapshot)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < snapshot->sleeper_count; i++) {
        qh_json_append(json, array, sleeper_of(json, &snapshot->sleepers[i]));
    }
    return array;
}

static struct json_object *operands_of(struct qh_json *json,
                                       const struct qh_wait *wait)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < wait->operand_count; i++) {
        const struct qh_operand *operand = &wait->operands[i];
        struct json_object *item = qh_json_object(json);
        qh_json_put(json, item, "what", qh_json_text(json, operand->what));
        qh_json_put(json, item, "address",
                    qh_json_address(json, operand->address));
        qh_json_put(json, item, "value",
                    operand->known ? qh_json_int(json, operand->value) : NULL);
        qh_json_append(json, array, item);
    }
    return array;
}

struct json_object *qh_json_wait(struct qh_json *json,
                                 const struct qh_wait *wait)
{
    struct json_object *item = qh_json_object(json);

    qh_json_put(json, item, "kind",
                qh_json_text(json, qh_wait_kind_name(wait->kind)));
    qh_json_put(json, item, "tid", qh_json_id(json, wait->tid));
    qh_json_put(json, item, "coroutine",
                qh_json_address(json, wait->coroutine));
    qh_json_put(json, item, "function", qh_json_text(json, wait->function));
    qh_json_put(json, item, "object", qh_json_address(json, wait->object));
    qh_json_put(json, item, "object_name",
                qh_json_text(json, wait->object_name));
    qh_json_put(json, item, "owner_tid", qh_json_id(json, wait->owner_tid));
    qh_json_put(json, item, "owner_coroutine",
                qh_json_address(json, wait->owner_coroutine));
    qh_json_put(json, item, "operands", operands_of(json, wait));
    return item;
}

struct json_object *qh_json_waits(struct qh_json *json,
                                  const struct qh_snapshot *snapshot)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < snapshot->wait_count; i++) {
        qh_json_append(json, array, qh_json_wait(json, &snapshot->waits[i]));
    }
    return array;
}

struct json_object *qh_json_graph(struct qh_json *json,
                                  const struct qh_snapshot *snapshot)
{
    const struct qh_graph_lock *graph = &snapshot->graph;

    if (!graph->present || !graph->readable) {
        return NULL;
    }
    struct json_object *item = qh_json_object(json);
    qh_json_put(json, item, "has_writer", qh_json_int(json, graph->has_writer));
    qh_json_put(json, item, "has_writer_address",
                qh_json_address(json, graph->has_writer_address));
    qh_json_put(json, item, "readers", qh_json_int(json, graph->readers));
    qh_json_put(json, item, "orphaned", qh_json_int(json, graph->orphaned));
    qh_json_put(json, item, "orphaned_address",
                qh_json_address(json, graph->orphaned_address));
    qh_json_put(json, item, "queue",
                qh_json_addresses(json, graph->queue, graph->queue_count));
    qh_json_put(json, item, "num_waiters",
                qh_json_uint(json, graph->num_waiters));
    qh_json_put(json, item, "num_waiters_address",
                qh_json_address(json, graph->num_waiters_address));
    qh_json_put(json, item, "writer_tid", qh_json_id(json, graph->writer_tid));
    return item;
}

struct json_object *qh_json_gaps(struct qh_json *json,
                                 const struct qh_snapshot *snapshot)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < snapshot->gap_count; i++) {
        const struct qh_gap *gap = &snapshot->gaps[i];
        struct json_object *item = qh_json_object(json);
        qh_json_put(json, item, "what", qh_json_text(json, gap->what));
        qh_json_put(json, item, "address", qh_json_address(json, gap->address));
        qh_json_put(json, item, "reason", qh_json_text(json, gap->reason));
        qh_json_put(json, item, "try", qh_json_text(json, gap->advice));
        qh_json_append(json, array, item);
    }
    return array;
}
