/* Values of the JSON report; private to report/.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * json-c hands out NULL both for JSON's null and for lack of memory. Here the
 * second is remembered in the writer, so that a report is built without a
 * check at every value and refused at the end if one failed.
 */
#ifndef QH_JSON_VALUE_H
#define QH_JSON_VALUE_H

#include "snapshot/snapshot.h"

#include <json-c/json.h>
#include <stdio.h>

struct qh_json {
    struct qh_arena arena; /* for strings on their way in */
    bool failed;           /* some value could not be made */
};

struct json_object *qh_json_object(struct qh_json *json);
struct json_object *qh_json_array(struct qh_json *json);
/* NULL becomes null; what is no UTF-8 becomes U+FFFD. */
struct json_object *qh_json_text(struct qh_json *json, const char *text);
struct json_object *qh_json_int(struct qh_json *json, int64_t value);
struct json_object *qh_json_uint(struct qh_json *json, uint64_t value);
struct json_object *qh_json_bool(struct qh_json *json, bool value);
/* With up to 6 digits behind the point. */
struct json_object *qh_json_real(struct qh_json *json, double value);
/* A time in ns; QH_TIME_UNKNOWN becomes null. */
struct json_object *qh_json_time(struct qh_json *json, int64_t ns);
/* A tid or the like; 0 becomes null. */
struct json_object *qh_json_id(struct qh_json *json, int64_t id);
/* "0x7f8e280039c0"; address 0 becomes null. */
struct json_object *qh_json_hex(struct qh_json *json, uint64_t value);
struct json_object *qh_json_address(struct qh_json *json, struct raddr address);
struct json_object *qh_json_addresses(struct qh_json *json,
                                      const struct raddr *items, size_t count);

/* Puts a value in; `value` now belongs to the object or array. NULL is null.
 * `key` must be static. */
void qh_json_put(struct qh_json *json, struct json_object *object,
                 const char *key, struct json_object *value);
void qh_json_append(struct qh_json *json, struct json_object *array,
                    struct json_object *value);

/* The root of a report, with what every schema begins with. */
struct json_object *qh_json_report(struct qh_json *json, const char *schema,
                                   const char *tool_version);
/* Writes the whole report, unless some value of it failed; takes `root` and
 * what `json` holds. */
struct qh_error *qh_json_finish(struct qh_json *json, struct json_object *root,
                                FILE *out) QH_MUST_CHECK;

#endif
