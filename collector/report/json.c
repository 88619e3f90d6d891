/* The JSON report, schema "qhang-report/1".
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/json_parts.h"
#include "report/report.h"

static const char *kind_name(enum qh_target_kind kind)
{
    switch (kind) {
    case QH_TARGET_LIVE:
        return "live";
    case QH_TARGET_HELD:
        return "held";
    case QH_TARGET_CORE:
        break;
    }
    return "core";
}

static struct json_object *holder_of(struct qh_json *json,
                                     const struct qh_snapshot *snapshot)
{
    if (!snapshot->held_by) {
        return NULL;
    }
    struct json_object *item = qh_json_object(json);
    qh_json_put(json, item, "pid", qh_json_id(json, snapshot->held_by));
    qh_json_put(json, item, "name", qh_json_text(json, snapshot->holder));
    return item;
}

static struct json_object *target_of(struct qh_json *json,
                                     const struct qh_snapshot *snapshot)
{
    struct json_object *item = qh_json_object(json);

    qh_json_put(json, item, "kind",
                qh_json_text(json, kind_name(snapshot->kind)));
    qh_json_put(json, item, "pid", qh_json_id(json, snapshot->pid));
    qh_json_put(json, item, "inner_pid", qh_json_id(json, snapshot->inner_pid));
    qh_json_put(json, item, "name", qh_json_text(json, snapshot->name));
    qh_json_put(json, item, "exe", qh_json_text(json, snapshot->exe));
    qh_json_put(json, item, "stopped",
                qh_json_bool(json, !snapshot->unstopped));
    qh_json_put(json, item, "halted",
                qh_json_text(json, qh_halt_name(snapshot->halted)));
    qh_json_put(json, item, "held_by", holder_of(json, snapshot));
    qh_json_put(json, item, "core", qh_json_text(json, snapshot->core));
    qh_json_put(json, item, "build_id", qh_json_text(json, snapshot->build_id));
    qh_json_put(json, item, "version", qh_json_text(json, snapshot->version));
    return item;
}

void qh_json_put_target(struct qh_json *json, struct json_object *root,
                        const struct qh_snapshot *snapshot)
{
    qh_json_put(json, root, "target", target_of(json, snapshot));
    qh_json_put(json, root, "complete",
                qh_json_bool(json, !snapshot->gap_count));
    qh_json_put(json, root, "incomplete", qh_json_gaps(json, snapshot));
    qh_json_put(json, root, "bytes_read",
                qh_json_uint(json, snapshot->bytes_read));
}

static void put_times(struct qh_json *json, struct json_object *root,
                      const struct qh_report *report)
{
    const struct qh_snapshot *snapshot = report->snapshot;
    bool known = snapshot->blocked_ns != QH_TIME_UNKNOWN;

    qh_json_put(json, root, "samples", qh_json_uint(json, report->samples));
    qh_json_put(json, root, "pause_ns", qh_json_time(json, report->pause_ns));
    qh_json_put(json, root, "blocked_ns",
                qh_json_time(json, snapshot->blocked_ns));
    qh_json_put(json, root, "blocked_at_least",
                qh_json_bool(json, known && snapshot->blocked_at_least));
    qh_json_put(json, root, "blocked_source",
                qh_json_text(json, known ? snapshot->blocked_source : NULL));
}

static struct json_object *report_of(struct qh_json *json,
                                     const struct qh_report *report)
{
    const struct qh_snapshot *snapshot = report->snapshot;
    struct json_object *root =
        qh_json_report(json, "qhang-report/1", report->tool_version);

    qh_json_put_target(json, root, snapshot);
    qh_json_put(json, root, "findings",
                qh_json_findings(json, report->findings));
    qh_json_put(json, root, "context", qh_json_notes(json, report->findings));
    put_times(json, root, report);
    qh_json_put(json, root, "qmp_command",
                qh_json_text(json, snapshot->qmp_command));
    qh_json_put(json, root, "qmp_coroutine",
                qh_json_address(json, snapshot->qmp_coroutine));
    qh_json_put(json, root, "main_context",
                qh_json_address(json, snapshot->main_context));
    qh_json_put(json, root, "bql_owner", qh_json_id(json, snapshot->bql_owner));
    qh_json_put(json, root, "graph_lock", qh_json_graph(json, snapshot));
    qh_json_put(json, root, "graph", qh_json_wait_graph(json, report->graph));
    qh_json_put(json, root, "threads", qh_json_threads(json, snapshot));
    qh_json_put(json, root, "contexts", qh_json_contexts(json, snapshot));
    qh_json_put(json, root, "timers", qh_json_timers(json, snapshot));
    qh_json_put(json, root, "coroutines", qh_json_coroutines(json, snapshot));
    qh_json_put(json, root, "sleepers", qh_json_sleepers(json, snapshot));
    qh_json_put(json, root, "waits", qh_json_waits(json, snapshot));
    return root;
}

struct qh_error *qh_report_json(const struct qh_report *report, FILE *out)
{
    struct qh_json json = { .failed = false };

    return qh_json_finish(&json, report_of(&json, report), out);
}
