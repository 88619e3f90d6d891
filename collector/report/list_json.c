/* The list of QEMUs as JSON, schema "qhang-list/1".
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/json_value.h"
#include "report/list.h"

static struct json_object *process_of(struct qh_json *json,
                                      const struct qh_watched *watched)
{
    struct json_object *item = qh_json_object(json);
    char state[2] = { watched->state, '\0' };

    qh_json_put(json, item, "pid", qh_json_id(json, watched->pid));
    qh_json_put(json, item, "inner_pid", qh_json_id(json, watched->inner_pid));
    qh_json_put(json, item, "name", qh_json_text(json, watched->name));
    qh_json_put(json, item, "guest", qh_json_text(json, watched->guest));
    qh_json_put(json, item, "uid",
                watched->uid < 0 ? NULL : qh_json_int(json, watched->uid));
    qh_json_put(json, item, "age_ns", qh_json_int(json, watched->age_ns));
    qh_json_put(json, item, "threads", qh_json_uint(json, watched->threads));
    qh_json_put(json, item, "in_kernel",
                qh_json_uint(json, watched->in_kernel));
    qh_json_put(json, item, "state", qh_json_text(json, state));
    qh_json_put(json, item, "wait", qh_json_text(json, watched->wait));
    qh_json_put(json, item, "switches", qh_json_uint(json, watched->switches));
    qh_json_put(json, item, "progress",
                qh_json_text(json, qh_progress_name(watched->progress)));
    qh_json_put(
        json, item, "suspicious",
        qh_json_bool(json, qh_progress_is_suspicious(watched->progress)));
    qh_json_put(json, item, "why", qh_json_text(json, watched->why));
    return item;
}

static struct json_object *list_of(struct qh_json *json,
                                   const struct qh_list_report *report)
{
    const struct qh_watch *watch = report->watch;
    struct json_object *root =
        qh_json_report(json, "qhang-list/1", report->tool_version);
    struct json_object *array = qh_json_array(json);

    qh_json_put(json, root, "interval_ns",
                qh_json_int(json, watch->interval_ns));
    for (size_t i = 0; i < watch->count; i++) {
        qh_json_append(json, array, process_of(json, &watch->items[i]));
    }
    qh_json_put(json, root, "processes", array);
    return root;
}

struct qh_error *qh_list_json(const struct qh_list_report *report, FILE *out)
{
    struct qh_json json = { .failed = false };

    return qh_json_finish(&json, list_of(&json, report), out);
}
