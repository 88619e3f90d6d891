/* Sections of the JSON report; private to report/.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each gives back a new value that the caller puts somewhere. The meaning of
 * every member is told in docs/qhang-report-1.json, and only there.
 */
#ifndef QH_JSON_PARTS_H
#define QH_JSON_PARTS_H

#include "diagnose/graph.h"
#include "report/json_value.h"

/* Puts in what was looked at, and whether all of it could be read. */
void qh_json_put_target(struct qh_json *json, struct json_object *root,
                        const struct qh_snapshot *snapshot);
struct json_object *qh_json_frames(struct qh_json *json,
                                   const struct qh_backtrace *stack);
struct json_object *qh_json_threads(struct qh_json *json,
                                    const struct qh_snapshot *snapshot);
struct json_object *qh_json_contexts(struct qh_json *json,
                                     const struct qh_snapshot *snapshot);
struct json_object *qh_json_timers(struct qh_json *json,
                                   const struct qh_snapshot *snapshot);
struct json_object *qh_json_coroutines(struct qh_json *json,
                                       const struct qh_snapshot *snapshot);
/* Puts in what every report tells of a coroutine. */
void qh_json_put_coroutine(struct qh_json *json, struct json_object *item,
                           const struct qh_coroutine *coroutine);
struct json_object *qh_json_sleepers(struct qh_json *json,
                                     const struct qh_snapshot *snapshot);
struct json_object *qh_json_wait(struct qh_json *json,
                                 const struct qh_wait *wait);
struct json_object *qh_json_waits(struct qh_json *json,
                                  const struct qh_snapshot *snapshot);
/* null when this QEMU has no graph lock, or it could not be read. */
struct json_object *qh_json_graph(struct qh_json *json,
                                  const struct qh_snapshot *snapshot);
struct json_object *qh_json_wait_graph(struct qh_json *json,
                                       const struct qh_wait_graph *graph);
struct json_object *qh_json_gaps(struct qh_json *json,
                                 const struct qh_snapshot *snapshot);
struct json_object *qh_json_findings(struct qh_json *json,
                                     const struct qh_findings *findings);
struct json_object *qh_json_notes(struct qh_json *json,
                                  const struct qh_findings *findings);

#endif
