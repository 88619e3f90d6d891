/* Findings and context in the JSON report.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/json_parts.h"

static struct json_object *evidence_of(struct qh_json *json,
                                       const struct qh_finding *finding)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < finding->evidence_count; i++) {
        const struct qh_evidence *evidence = &finding->evidence[i];
        struct json_object *item = qh_json_object(json);
        qh_json_put(json, item, "what", qh_json_text(json, evidence->what));
        qh_json_put(json, item, "address",
                    qh_json_address(json, evidence->address));
        qh_json_put(json, item, "value", qh_json_text(json, evidence->value));
        qh_json_append(json, array, item);
    }
    return array;
}

static struct json_object *fixed_in_of(struct qh_json *json,
                                       const struct qh_finding *finding)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < finding->fixed_in_count; i++) {
        qh_json_append(json, array, qh_json_text(json, finding->fixed_in[i]));
    }
    return array;
}

static struct json_object *finding_of(struct qh_json *json,
                                      const struct qh_finding *finding)
{
    struct json_object *item = qh_json_object(json);

    qh_json_put(json, item, "rule", qh_json_text(json, finding->rule));
    qh_json_put(json, item, "user", qh_json_text(json, finding->user));
    qh_json_put(json, item, "certainty",
                qh_json_text(json, qh_certainty_name(finding->certainty)));
    qh_json_put(json, item, "coroutine",
                qh_json_address(json, finding->coroutine));
    qh_json_put(json, item, "tid", qh_json_id(json, finding->tid));
    qh_json_put(json, item, "waiter_tid", qh_json_id(json, finding->waiter));
    qh_json_put(json, item, "heals",
                qh_json_text(json, qh_heals_name(finding->heals)));
    qh_json_put(json, item, "heals_in_ns",
                qh_json_time(json, finding->heals_in_ns));
    qh_json_put(json, item, "kick",
                qh_json_text(json, qh_kick_name(qh_finding_kick(finding))));
    qh_json_put(json, item, "summary", qh_json_text(json, finding->summary));
    qh_json_put(json, item, "samples", qh_json_uint(json, finding->samples));
    qh_json_put(json, item, "evidence", evidence_of(json, finding));
    qh_json_put(json, item, "fixed_in", fixed_in_of(json, finding));
    return item;
}

struct json_object *qh_json_findings(struct qh_json *json,
                                     const struct qh_findings *findings)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < findings->count; i++) {
        qh_json_append(json, array, finding_of(json, &findings->items[i]));
    }
    return array;
}

struct json_object *qh_json_notes(struct qh_json *json,
                                  const struct qh_findings *findings)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < findings->note_count; i++) {
        const struct qh_note *note = &findings->notes[i];
        struct json_object *item = qh_json_object(json);
        qh_json_put(json, item, "what", qh_json_text(json, note->what));
        qh_json_put(json, item, "tid", qh_json_id(json, note->tid));
        qh_json_put(json, item, "text", qh_json_text(json, note->text));
        qh_json_append(json, array, item);
    }
    return array;
}
