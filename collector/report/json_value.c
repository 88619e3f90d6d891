/* Values of the JSON report.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/json_value.h"
#include "report/escape.h"

#include <errno.h>
#include <inttypes.h>

static struct json_object *checked(struct qh_json *json,
                                   struct json_object *value)
{
    json->failed |= !value;
    return value;
}

struct json_object *qh_json_object(struct qh_json *json)
{
    return checked(json, json_object_new_object());
}

struct json_object *qh_json_array(struct qh_json *json)
{
    return checked(json, json_object_new_array());
}

struct json_object *qh_json_text(struct qh_json *json, const char *text)
{
    if (!text) {
        return NULL;
    }
    const char *valid = qh_valid_utf8(&json->arena, text);
    return checked(json, valid ? json_object_new_string(valid) : NULL);
}

struct json_object *qh_json_int(struct qh_json *json, int64_t value)
{
    return checked(json, json_object_new_int64(value));
}

struct json_object *qh_json_uint(struct qh_json *json, uint64_t value)
{
    return checked(json, json_object_new_uint64(value));
}

struct json_object *qh_json_bool(struct qh_json *json, bool value)
{
    return checked(json, json_object_new_boolean(value));
}

struct json_object *qh_json_real(struct qh_json *json, double value)
{
    char text[64];

    snprintf(text, sizeof(text), "%.6f", value);
    return checked(json, json_object_new_double_s(value, text));
}

struct json_object *qh_json_time(struct qh_json *json, int64_t ns)
{
    return ns == QH_TIME_UNKNOWN ? NULL : qh_json_int(json, ns);
}

struct json_object *qh_json_id(struct qh_json *json, int64_t id)
{
    return id ? qh_json_int(json, id) : NULL;
}

struct json_object *qh_json_hex(struct qh_json *json, uint64_t value)
{
    char text[32];

    snprintf(text, sizeof(text), "0x%" PRIx64, value);
    return checked(json, json_object_new_string(text));
}

struct json_object *qh_json_address(struct qh_json *json, struct raddr address)
{
    return address.value ? qh_json_hex(json, address.value) : NULL;
}

struct json_object *qh_json_addresses(struct qh_json *json,
                                      const struct raddr *items, size_t count)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < count; i++) {
        qh_json_append(json, array, qh_json_address(json, items[i]));
    }
    return array;
}

void qh_json_put(struct qh_json *json, struct json_object *object,
                 const char *key, struct json_object *value)
{
    const unsigned flags =
        JSON_C_OBJECT_ADD_KEY_IS_NEW | JSON_C_OBJECT_ADD_CONSTANT_KEY;

    if (!object || json_object_object_add_ex(object, key, value, flags)) {
        json_object_put(value);
        json->failed = true;
    }
}

void qh_json_append(struct qh_json *json, struct json_object *array,
                    struct json_object *value)
{
    if (!array || json_object_array_add(array, value)) {
        json_object_put(value);
        json->failed = true;
    }
}

struct json_object *qh_json_report(struct qh_json *json, const char *schema,
                                   const char *tool_version)
{
    struct json_object *root = qh_json_object(json);

    qh_json_put(json, root, "schema", qh_json_text(json, schema));
    qh_json_put(json, root, "tool_version", qh_json_text(json, tool_version));
    return root;
}

static struct qh_error *print(struct json_object *root, FILE *out)
{
    const char *text = json_object_to_json_string_ext(
        root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);

    if (!text) {
        return qh_error_no_memory();
    }
    if (fputs(text, out) == EOF || fputc('\n', out) == EOF) {
        return qh_error_errno(QH_ERR_SYSTEM, errno, "cannot write the report");
    }
    return NULL;
}

struct qh_error *qh_json_finish(struct qh_json *json, struct json_object *root,
                                FILE *out)
{
    struct qh_error *error =
        json->failed ? qh_error_no_memory() : print(root, out);

    json_object_put(root);
    qh_arena_deinit(&json->arena);
    return error;
}
