/* What a core of `qhang capture` tells beyond other cores.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A file is not to be trusted more for saying that qhang wrote it: each value
 * is checked for its type and its range, and what does not fit is as if it were
 * not there. The format is told in note.h and docs/capture.md. */
#include "target/core.h"
#include "target/note.h"

#include <json-c/json.h>
#include <string.h>

enum { MAX_BYTES = 64 << 20, MAX_DEPTH = 8 };
/* Far more than any diagnosis reads of what was never touched. */
#define MOST_ZEROS (UINT64_C(1) << 30)

static void object_guard(struct json_object **object)
{
    json_object_put(*object);
}

static void tokener_guard(struct json_tokener **tokener)
{
    if (*tokener) {
        json_tokener_free(*tokener);
    }
}

/* NULL when the note is none, or of another version. */
static struct json_object *parse(const char *text, size_t bytes)
{
    QH_CLEANUP(tokener_guard)
    struct json_tokener *tokener = json_tokener_new_ex(MAX_DEPTH);
    struct json_object *format, *facts;

    if (!tokener || !text || bytes > MAX_BYTES || !bytes || text[bytes - 1]) {
        return NULL;
    }
    facts = json_tokener_parse_ex(tokener, text, (int)bytes);
    if (!json_object_is_type(facts, json_type_object) ||
        !json_object_object_get_ex(facts, "format", &format) ||
        !json_object_is_type(format, json_type_string) ||
        strcmp(json_object_get_string(format), QH_NOTE_FORMAT) != 0) {
        json_object_put(facts);
        return NULL;
    }
    return facts;
}

static struct json_object *member(struct json_object *object, const char *key,
                                  json_type type)
{
    struct json_object *value = NULL;

    return json_object_is_type(object, json_type_object) &&
                   json_object_object_get_ex(object, key, &value) &&
                   json_object_is_type(value, type)
               ? value
               : NULL;
}

static bool get_number(struct json_object *object, const char *key,
                       int64_t *ret)
{
    struct json_object *value = member(object, key, json_type_int);

    if (value) {
        *ret = json_object_get_int64(value);
    }
    return value != NULL;
}

static bool get_address(struct json_object *object, const char *key,
                        uint64_t *ret)
{
    struct json_object *value = member(object, key, json_type_string);
    const char *text = value ? json_object_get_string(value) : "";
    char *end;

    if (strncmp(text, "0x", 2) != 0) {
        return false;
    }
    *ret = strtoull(text, &end, 16);
    return !*end;
}

/* Copies what fits, NUL-terminated; leaves `ret` alone when there is none. */
static void get_text(struct json_object *object, const char *key, char *ret,
                     size_t size)
{
    struct json_object *value = member(object, key, json_type_string);

    if (value) {
        size_t bytes = (size_t)json_object_get_string_len(value);
        bytes = bytes < size ? bytes : size - 1;
        memcpy(ret, json_object_get_string(value), bytes);
        ret[bytes] = '\0';
    }
}

static int by_tid(const void *key, const void *item)
{
    int64_t tid = *(const int64_t *)key;
    const struct qh_task *task = item;

    return (tid > task->tid) - (tid < task->tid);
}

static void read_thread(struct qh_target *target, struct json_object *item)
{
    int64_t tid = 0, known = 0;
    char state[2] = "";

    get_number(item, "tid", &tid);
    struct qh_task *task = bsearch(&tid, target->tasks, target->task_count,
                                   sizeof(*target->tasks), by_tid);
    if (!task) {
        return;
    }
    get_text(item, "name", task->name, sizeof(task->name));
    get_text(item, "wchan", task->wchan, sizeof(task->wchan));
    get_text(item, "state", state, sizeof(state));
    task->state = state[0];
    get_number(item, "last_ran_ns", &task->last_ran_ns);
    struct json_object *stopped = member(item, "stopped", json_type_boolean);
    if (stopped && !json_object_get_boolean(stopped)) {
        task->stop = QH_TASK_IN_KERNEL;
    }
    if (get_number(item, "registers", &known)) {
        task->regs.known &= (uint32_t)known;
    }
}

static size_t length_of(struct json_object *array)
{
    return array ? json_object_array_length(array) : 0;
}

static void read_threads(struct qh_target *target, struct json_object *facts)
{
    struct json_object *threads = member(facts, "threads", json_type_array);

    for (size_t i = 0; i < length_of(threads); i++) {
        read_thread(target, json_object_array_get_idx(threads, i));
    }
}

static struct qh_error *read_eventfds(struct qh_target *target,
                                      struct json_object *facts)
{
    struct qh_core_capture *capture = &target->core->capture;
    struct json_object *array = member(facts, "eventfds", json_type_array);
    size_t capacity = 0;

    for (size_t i = 0; i < length_of(array); i++) {
        struct json_object *item = json_object_array_get_idx(array, i);
        struct json_object *count = member(item, "count", json_type_int);
        int64_t fd;
        if (!count || !get_number(item, "fd", &fd)) {
            continue;
        }
        struct qh_core_eventfd *added =
            qh_list_add(&target->arena, &capture->eventfds,
                        &capture->eventfd_count, &capacity, sizeof(*added));
        if (!added) {
            return qh_error_no_memory();
        }
        *added = (struct qh_core_eventfd){ fd, json_object_get_uint64(count) };
    }
    return NULL;
}

static int by_start(const void *a, const void *b)
{
    const struct qh_range *left = a, *right = b;

    return (left->start > right->start) - (left->start < right->start);
}

/* `*ret_good` is false when they cannot be understood: then nothing is known to
 * be zero. */
static struct qh_error *read_left_out(struct qh_target *target,
                                      struct json_object *facts, bool *ret_good)
{
    struct qh_core_capture *capture = &target->core->capture;
    struct json_object *array = member(facts, "left_out", json_type_array);
    size_t capacity = 0;

    *ret_good = array != NULL;
    for (size_t i = 0; i < length_of(array); i++) {
        struct json_object *item = json_object_array_get_idx(array, i);
        struct qh_range range = { 0, 0 };
        if (!get_address(item, "start", &range.start) ||
            !get_address(item, "end", &range.end) || range.start >= range.end) {
            *ret_good = false;
            return NULL;
        }
        struct qh_range *added =
            qh_list_add(&target->arena, &capture->left_out,
                        &capture->left_out_count, &capacity, sizeof(*added));
        if (!added) {
            return qh_error_no_memory();
        }
        *added = range;
    }
    if (capture->left_out_count) {
        qsort(capture->left_out, capture->left_out_count,
              sizeof(*capture->left_out), by_start);
    }
    for (size_t i = 1; i < capture->left_out_count; i++) {
        *ret_good &= capture->left_out[i - 1].end <= capture->left_out[i].start;
    }
    return NULL;
}

struct qh_error *qh_core_read_facts(struct qh_target *target)
{
    struct qh_core_capture *capture = &target->core->capture;
    QH_CLEANUP(object_guard)
    struct json_object *facts = parse(capture->facts, capture->facts_bytes);
    bool good = false;

    if (!facts || !capture->maps || !capture->maps_bytes ||
        capture->maps[capture->maps_bytes - 1] ||
        !get_number(facts, "monotonic_ns", &capture->monotonic_ns) ||
        !get_number(facts, "realtime_ns", &capture->realtime_ns)) {
        return NULL;
    }
    QH_TRY(read_left_out(target, facts, &good));
    if (!good) {
        return NULL;
    }
    QH_TRY(read_eventfds(target, facts));
    read_threads(target, facts);
    capture->zeros_left = MOST_ZEROS;
    capture->present = true;
    return NULL;
}

bool qh_core_is_untouched(const struct qh_target *target,
                          const struct qh_mapping *mapping, uint64_t address,
                          uint64_t *ret_end)
{
    const struct qh_core_capture *capture = &target->core->capture;

    if (!capture->present || mapping->shared || !mapping->readable ||
        qh_maps_is_special(mapping->path)) {
        return false;
    }
    size_t low = 0, high = capture->left_out_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (capture->left_out[middle].end <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == capture->left_out_count) {
        return true;
    }
    if (capture->left_out[low].start <= address) {
        return false;
    }
    if (capture->left_out[low].start < *ret_end) {
        *ret_end = capture->left_out[low].start;
    }
    return true;
}
