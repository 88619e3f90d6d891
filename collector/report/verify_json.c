/* Verifications as JSON, schema "qhang-verify/1".
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/json_value.h"
#include "report/verify.h"

/* What running the program came to, null where it was not run. */
static struct json_object *trial_of(struct qh_json *json,
                                    const struct qh_verify_trial *trial)
{
    struct json_object *item = trial ? qh_json_object(json) : NULL;

    if (item) {
        qh_json_put(json, item, "rounds", qh_json_uint(json, trial->rounds));
        qh_json_put(json, item, "hung", qh_json_uint(json, trial->hung));
        qh_json_put(json, item, "agreed", qh_json_uint(json, trial->agreed));
        qh_json_put(json, item, "late", qh_json_uint(json, trial->late));
        qh_json_put(json, item, "seconds", qh_json_real(json, trial->seconds));
        qh_json_put(json, item, "at_most",
                    trial->at_most < 0 ? NULL
                                       : qh_json_real(json, trial->at_most));
    }
    return item;
}

static struct json_object *check_of(struct qh_json *json,
                                    const struct qh_verify_check *check)
{
    struct json_object *item = qh_json_object(json);
    struct json_object *code = qh_json_array(json);

    qh_json_put(json, item, "name", qh_json_text(json, check->name));
    qh_json_put(json, item, "verdict",
                qh_json_text(json, qh_safety_name(check->verdict)));
    qh_json_put(json, item, "where", qh_json_text(json, check->where));
    qh_json_put(json, item, "why", qh_json_text(json, check->why));
    qh_json_put(json, item, "copies", qh_json_uint(json, check->copies));
    for (int i = 0; i < QH_VERIFY_LINES; i++) {
        if (check->code[i]) {
            qh_json_append(json, code, qh_json_text(json, check->code[i]));
        }
    }
    qh_json_put(json, item, "code", code);
    qh_json_put(json, item, "trial", trial_of(json, check->trial));
    return item;
}

static struct json_object *user_of(struct qh_json *json,
                                   const struct qh_verify_user *user)
{
    struct json_object *item = qh_json_object(json);

    qh_json_put(json, item, "function", qh_json_text(json, user->function));
    qh_json_put(json, item, "address",
                qh_json_address(json, qh_raddr(user->address)));
    qh_json_put(json, item, "what", qh_json_text(json, user->what));
    return item;
}

/* Puts in what is told of one program. */
static void put_program(struct qh_json *json, struct json_object *item,
                        const struct qh_verification *program)
{
    struct json_object *checks = qh_json_array(json);
    struct json_object *users = qh_json_array(json);
    struct json_object *fixed = qh_json_array(json);

    qh_json_put(json, item, "path", qh_json_text(json, program->path));
    qh_json_put(json, item, "build_id", qh_json_text(json, program->build_id));
    qh_json_put(json, item, "verdict",
                qh_json_text(json, qh_safety_name(program->verdict)));
    for (unsigned i = 0; i < program->check_count; i++) {
        qh_json_append(json, checks, check_of(json, &program->checks[i]));
    }
    qh_json_put(json, item, "checks", checks);
    for (size_t i = 0; i < program->user_count; i++) {
        qh_json_append(json, users, user_of(json, &program->users[i]));
    }
    qh_json_put(json, item, "users", users);
    if (program->verdict == QH_VULNERABLE) {
        qh_json_append(json, fixed, qh_json_text(json, "10.0.13"));
        qh_json_append(json, fixed, qh_json_text(json, "11.1"));
    }
    qh_json_put(json, item, "fixed_in", fixed);
}

static struct json_object *report_of(struct qh_json *json,
                                     const struct qh_verify_report *report)
{
    struct json_object *root =
        qh_json_report(json, "qhang-verify/1", report->tool_version);
    struct json_object *programs = qh_json_array(json);

    put_program(json, root, qh_verify_worst(report));
    for (size_t i = 0; i < report->count; i++) {
        struct json_object *item = qh_json_object(json);

        put_program(json, item, report->programs[i]);
        qh_json_append(json, programs, item);
    }
    qh_json_put(json, root, "programs", programs);
    return root;
}

struct qh_error *qh_verify_json(const struct qh_verify_report *report,
                                FILE *out)
{
    struct qh_json json = { .failed = false };

    return qh_json_finish(&json, report_of(&json, report), out);
}
