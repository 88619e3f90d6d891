/* Coroutines in buckets, as JSON; schema "qhang-coroutines/1".
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/coroutines.h"
#include "report/json_parts.h"

static struct json_object *members_of(struct qh_json *json,
                                      const struct qh_snapshot *snapshot,
                                      const struct qh_co_bucket *bucket)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < bucket->count; i++) {
        qh_json_append(
            json, array,
            qh_json_address(json,
                            snapshot->coroutines[bucket->members[i]].address));
    }
    return array;
}

static struct json_object *bucket_of(struct qh_json *json,
                                     const struct qh_snapshot *snapshot,
                                     const struct qh_co_bucket *bucket)
{
    const struct qh_coroutine *first =
        &snapshot->coroutines[bucket->members[0]];
    const struct qh_wait *wait = bucket->wait;
    struct json_object *item = qh_json_object(json);
    bool one_object = wait && bucket->same_object;

    qh_json_put(json, item, "count", qh_json_uint(json, bucket->count));
    qh_json_put(json, item, "state",
                qh_json_text(json, qh_coroutine_state_name(first->state)));
    qh_json_put(
        json, item, "waits_on",
        qh_json_text(json, wait ? qh_wait_kind_name(wait->kind) : NULL));
    qh_json_put(json, item, "object",
                one_object ? qh_json_address(json, wait->object) : NULL);
    qh_json_put(json, item, "context",
                bucket->same_context ? qh_json_address(json, first->context)
                                     : NULL);
    qh_json_put(json, item, "same_stack",
                qh_json_bool(json, bucket->same_stack));
    qh_json_put(json, item, "frames", qh_json_frames(json, &first->stack));
    qh_json_put(json, item, "cut", qh_json_text(json, first->stack.cut));
    qh_json_put(json, item, "coroutines", members_of(json, snapshot, bucket));
    return item;
}

static struct json_object *coroutine_of(struct qh_json *json,
                                        const struct qh_co_report *report,
                                        size_t index)
{
    const struct qh_coroutine *coroutine = &report->snapshot->coroutines[index];
    const struct qh_wait *wait = report->buckets->waits[index];
    struct json_object *item = qh_json_object(json);

    qh_json_put_coroutine(json, item, coroutine);
    qh_json_put(json, item, "bucket",
                qh_json_uint(json, report->buckets->bucket_of[index]));
    qh_json_put(json, item, "wait", wait ? qh_json_wait(json, wait) : NULL);
    return item;
}

static struct json_object *states_of(struct qh_json *json,
                                     const struct qh_snapshot *snapshot)
{
    size_t counts[QH_CO_CREATED + 1] = { 0 };
    struct json_object *item = qh_json_object(json);

    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        counts[snapshot->coroutines[i].state]++;
    }
    for (size_t i = 0; i < QH_COUNT(counts); i++) {
        qh_json_put(json, item,
                    qh_coroutine_state_name((enum qh_coroutine_state)i),
                    qh_json_uint(json, counts[i]));
    }
    return item;
}

static struct json_object *contexts_of(struct qh_json *json,
                                       const struct qh_snapshot *snapshot)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < snapshot->context_count; i++) {
        const struct qh_context *context = &snapshot->contexts[i];
        struct json_object *item = qh_json_object(json);
        qh_json_put(json, item, "address",
                    qh_json_address(json, context->address));
        qh_json_put(json, item, "name", qh_json_text(json, context->name));
        qh_json_put(json, item, "tid", qh_json_id(json, context->tid));
        qh_json_append(json, array, item);
    }
    return array;
}

static struct json_object *report_of(struct qh_json *json,
                                     const struct qh_co_report *report)
{
    const struct qh_snapshot *snapshot = report->snapshot;
    const struct qh_co_buckets *buckets = report->buckets;
    struct json_object *root =
        qh_json_report(json, "qhang-coroutines/1", report->tool_version);
    struct json_object *items = qh_json_array(json);
    struct json_object *coroutines = qh_json_array(json);

    for (size_t i = 0; i < buckets->count; i++) {
        qh_json_append(json, items,
                       bucket_of(json, snapshot, &buckets->items[i]));
    }
    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        if (buckets->bucket_of[i] != SIZE_MAX) {
            qh_json_append(json, coroutines, coroutine_of(json, report, i));
        }
    }
    qh_json_put_target(json, root, snapshot);
    qh_json_put(json, root, "pause_ns", qh_json_time(json, snapshot->pause_ns));
    qh_json_put(json, root, "states", states_of(json, snapshot));
    qh_json_put(json, root, "shown", qh_json_uint(json, buckets->shown));
    qh_json_put(json, root, "grouped_by",
                qh_json_text(json, qh_grouping_name(report->grouping)));
    qh_json_put(json, root, "contexts", contexts_of(json, snapshot));
    qh_json_put(json, root, "buckets", items);
    qh_json_put(json, root, "coroutines", coroutines);
    return root;
}

struct qh_error *qh_coroutines_json(const struct qh_co_report *report,
                                    FILE *out)
{
    struct qh_json json = { .failed = false };

    return qh_json_finish(&json, report_of(&json, report), out);
}
