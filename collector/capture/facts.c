/* The note of facts: what a core has no place for, as JSON.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/private.h"
#include "target/note.h"

#include <json-c/json.h>
#define QH_REASON_TEXT(constant, text) [constant] = text,

static void object_guard(struct json_object **object)
{
    json_object_put(*object);
}

/* Takes `value` over, whatever comes of it. */
static struct qh_error *put(struct json_object *object, const char *key,
                            struct json_object *value)
{
    if (!value || json_object_object_add(object, key, value) < 0) {
        json_object_put(value);
        return qh_error_no_memory();
    }
    return NULL;
}

static struct qh_error *put_text(struct json_object *object, const char *key,
                                 const char *text)
{
    return put(object, key, json_object_new_string(text));
}

static struct qh_error *put_number(struct json_object *object, const char *key,
                                   int64_t number)
{
    return put(object, key, json_object_new_int64(number));
}

static struct qh_error *put_address(struct json_object *object, const char *key,
                                    uint64_t address)
{
    char text[32];

    snprintf(text, sizeof(text), "0x%llx", (unsigned long long)address);
    return put_text(object, key, text);
}

/* A new object as the last item of `array`, owned by that. */
static struct qh_error *append(struct json_object *array,
                               struct json_object **ret)
{
    struct json_object *item = json_object_new_object();

    if (!item || json_object_array_add(array, item) < 0) {
        json_object_put(item);
        return qh_error_no_memory();
    }
    *ret = item;
    return NULL;
}

/* A new array as a member of `object`, owned by that. */
static struct qh_error *put_array(struct json_object *object, const char *key,
                                  struct json_object **ret)
{
    *ret = json_object_new_array();
    return put(object, key, *ret);
}

static struct qh_error *describe_thread(struct json_object *threads,
                                        const struct qh_task *task)
{
    char state[2] = { task->state, '\0' };
    struct json_object *item = NULL;

    QH_TRY(append(threads, &item));
    QH_TRY(put_number(item, "tid", task->tid));
    QH_TRY(put_text(item, "name", task->name));
    QH_TRY(put_text(item, "state", state));
    QH_TRY(put_text(item, "wchan", task->wchan));
    QH_TRY(put(item, "stopped",
               json_object_new_boolean(task->stop == QH_TASK_STOPPED)));
    QH_TRY(put_number(item, "registers", task->regs.known));
    return put_number(item, "last_ran_ns", task->last_ran_ns);
}

static struct qh_error *describe_threads(const struct qh_capture *capture,
                                         struct json_object *facts)
{
    struct json_object *threads;
    size_t count;
    const struct qh_task *tasks = qh_target_tasks(capture->target, &count);

    QH_TRY(put_array(facts, "threads", &threads));
    for (size_t i = 0; i < count; i++) {
        if (tasks[i].stop != QH_TASK_GONE) {
            QH_TRY(describe_thread(threads, &tasks[i]));
        }
    }
    return NULL;
}

static struct qh_error *describe_eventfds(const struct qh_capture *capture,
                                          struct json_object *facts)
{
    struct json_object *eventfds, *item = NULL;

    QH_TRY(put_array(facts, "eventfds", &eventfds));
    for (size_t i = 0; i < capture->eventfd_count; i++) {
        const struct qh_eventfd *eventfd = &capture->eventfds[i];
        if (eventfd->counted) {
            QH_TRY(append(eventfds, &item));
            QH_TRY(put_number(item, "fd", eventfd->fd));
            QH_TRY(put(item, "count", json_object_new_uint64(eventfd->count)));
        }
    }
    return NULL;
}

/* Neighbours that are left out for the same reason are told as one. */
static struct qh_error *describe_left_out(const struct qh_capture *capture,
                                          struct json_object *facts)
{
    static const char *const reasons[] = { QH_REASONS(QH_REASON_TEXT) };
    const struct qh_left_out *all = capture->left_out;
    struct json_object *left_out, *item = NULL;

    QH_TRY(put_array(facts, "left_out", &left_out));
    for (size_t i = 0; i < capture->left_out_count; i++) {
        uint64_t start = all[i].start;
        while (i + 1 < capture->left_out_count &&
               all[i + 1].start == all[i].end && all[i + 1].why == all[i].why) {
            i++;
        }
        QH_TRY(append(left_out, &item));
        QH_TRY(put_address(item, "start", start));
        QH_TRY(put_address(item, "end", all[i].end));
        QH_TRY(put_text(item, "why", reasons[all[i].why]));
    }
    return NULL;
}

static struct qh_error *describe(const struct qh_capture *capture,
                                 struct json_object *facts)
{
    const char *version = capture->options->tool_version;

    QH_TRY(put_text(facts, "format", QH_NOTE_FORMAT));
    QH_TRY(put_text(facts, "tool_version", version ? version : ""));
    QH_TRY(put_text(facts, "exe", qh_target_process(capture->target)->exe));
    QH_TRY(put_number(facts, "monotonic_ns", capture->monotonic_ns));
    QH_TRY(put_number(facts, "realtime_ns", capture->realtime_ns));
    QH_TRY(put_number(facts, "pause_ns", capture->pause_ns));
    QH_TRY(describe_threads(capture, facts));
    QH_TRY(describe_eventfds(capture, facts));
    return describe_left_out(capture, facts);
}

struct qh_error *qh_facts_make(struct qh_capture *capture, const char **ret)
{
    QH_CLEANUP(object_guard)
    struct json_object *facts = json_object_new_object();

    if (!facts) {
        return qh_error_no_memory();
    }
    QH_TRY(describe(capture, facts));
    *ret = qh_arena_strdup(
        &capture->arena,
        json_object_to_json_string_ext(
            facts, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    return *ret ? NULL : qh_error_no_memory();
}
