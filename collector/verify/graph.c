/* Does the last reader of the block graph always kick the writer?
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * bdrv_graph_co_rdunlock (block/graph-lock.c) counts its context's readers down
 * and then kicks: always, or, the fault, only if has_writer is set. The kick
 * may be a call or a jump to aio_wait_kick (util/aio-wait.c), or that function
 * inlined, which asks a word of its own, num_waiters, and then schedules a
 * bottom half by the name "dummy_bh_cb".
 */
#include "verify/judge.h"

#include <string.h>

enum { MAX_STRINGS = 8, MAX_KICKS = 8 };

struct judge {
    struct qh_arena *arena;
    uint64_t names[MAX_STRINGS]; /* where "dummy_bh_cb" stands */
    size_t name_count;
    uint64_t kicks[MAX_KICKS]; /* functions that kick */
    size_t kick_count;
    /* Of the function that is looked at. */
    const struct qh_function *function;
    unsigned counted;   /* paths that count down and return */
    unsigned raised;    /* paths on which it counts up */
    unsigned called;    /* that call a function that kicks */
    unsigned inlined;   /* that do it themselves */
    unsigned questions; /* most static words that one of these asked */
    unsigned silent;    /* that do not kick */
    const char *count_text;
    const char *question_text; /* on a path that does not kick */
    const char *kick_text;
    uint64_t address;
};

/* Whether the event changes AioContext.bdrv_graph->reader_count of the current
 * context by `by`: a word at what was loaded from what a call returned. */
static bool changes_by(struct qh_flow *flow, const struct qh_event *event,
                       int32_t by)
{
    const struct qh_origin *value = qh_flow_origin(flow, event->value);
    const struct qh_origin *graph = qh_flow_origin(flow, event->address);

    return event->kind == QH_EVENT_STORE && value->kind == QH_FROM_LOAD &&
           qh_value_equal(value->address, event->address) &&
           (int32_t)event->value.offset == by && graph->kind == QH_FROM_LOAD &&
           qh_flow_origin(flow, graph->address)->kind == QH_FROM_CALL;
}

static bool is_kick(const struct judge *judge, const struct qh_event *event,
                    bool *ret_inlined)
{
    if (event->kind != QH_EVENT_CALL) {
        return false;
    }
    for (size_t i = 0; i < judge->kick_count; i++) {
        if (qh_value_is(event->address, judge->kicks[i]) &&
            judge->kicks[i] != judge->function->start) {
            *ret_inlined = false;
            return true;
        }
    }
    for (int a = 0; a < QH_CALL_ARGUMENTS; a++) {
        for (size_t i = 0; i < judge->name_count; i++) {
            if (qh_value_is(event->arguments[a], judge->names[i])) {
                *ret_inlined = true;
                return true;
            }
        }
    }
    return false;
}

/* From behind the count to the end of the path. */
static void judge_rest(struct judge *judge, struct qh_flow *flow,
                       const struct qh_event *events, size_t count)
{
    const struct qh_event *question = NULL;
    unsigned questions = 0;
    bool inlined;

    for (size_t i = 0; i < count; i++) {
        if (events[i].kind == QH_EVENT_LOAD && !events[i].address.origin) {
            question = &events[i];
            questions++;
        } else if (is_kick(judge, &events[i], &inlined)) {
            judge->called += !inlined;
            judge->inlined += inlined;
            if (questions > judge->questions) {
                judge->questions = questions;
            }
            judge->kick_text = qh_flow_text(flow, &events[i], judge->arena);
            return;
        }
    }
    judge->silent++;
    if (question) {
        judge->question_text = qh_flow_text(flow, question, judge->arena);
    }
}

static void judge_path(struct qh_flow *flow, const struct qh_event *events,
                       size_t count, bool returned, void *opaque)
{
    struct judge *judge = opaque;

    for (size_t i = 0; i < count; i++) {
        if (changes_by(flow, &events[i], 1)) {
            judge->raised++;
        }
        if (returned && changes_by(flow, &events[i], -1)) {
            judge->counted++;
            judge->count_text = qh_flow_text(flow, &events[i], judge->arena);
            judge->address = qh_flow_address(flow, &events[i]);
            judge_rest(judge, flow, events + i + 1, count - i - 1);
            return;
        }
    }
}

static struct qh_error *look_at(const struct qh_image *image,
                                struct judge *judge,
                                const struct qh_function *function,
                                bool *ret_whole)
{
    judge->function = function;
    judge->counted = judge->raised = judge->called = 0;
    judge->inlined = judge->questions = judge->silent = 0;
    judge->count_text = judge->question_text = judge->kick_text = NULL;
    return qh_flow_run(image, function, 0, judge_path, judge, ret_whole);
}

/* --- finding it --- */

static void add_kick(struct judge *judge, const struct qh_function *function)
{
    if (judge->kick_count < MAX_KICKS) {
        judge->kicks[judge->kick_count++] = function->start;
    }
}

static struct qh_error *find_kicks(const struct qh_image *image,
                                   struct judge *judge)
{
    const struct qh_function *named = qh_image_named(image, "aio_wait_kick", 0);
    struct qh_reference *references;
    size_t count;

    judge->name_count =
        qh_image_strings(image, "dummy_bh_cb", judge->names, MAX_STRINGS);
    if (named) {
        add_kick(judge, named);
        return NULL;
    }
    QH_TRY(qh_image_references(image, judge->arena, judge->names,
                               judge->name_count, &references, &count));
    for (size_t i = 0; i < count; i++) {
        if (references[i].function) {
            add_kick(judge, references[i].function);
        }
    }
    return NULL;
}

/* Without a name: the one function that counts a word down, not up, and then
 * kicks. */
static struct qh_error *find_nameless(const struct qh_image *image,
                                      struct judge *judge,
                                      const struct qh_function **ret)
{
    struct qh_reference *references;
    size_t count;
    const struct qh_function *found = NULL;
    const struct qh_function *last = NULL;

    QH_TRY(qh_image_references(image, judge->arena, judge->kicks,
                               judge->kick_count, &references, &count));
    for (size_t i = 0; i < count; i++) {
        bool whole;

        if (!references[i].function || references[i].function == last) {
            continue;
        }
        last = references[i].function;
        QH_TRY(look_at(image, judge, last, &whole));
        if (judge->counted && !judge->raised && judge->called) {
            if (found) {
                return NULL; /* two: neither is sure */
            }
            found = last;
        }
    }
    *ret = found;
    return NULL;
}

/* The file's name stands in its assertions, which QEMU always has. */
static bool has_graph_lock(const struct qh_image *image)
{
    return qh_image_text(image, "graph-lock.c") ||
           qh_image_text(image, "bdrv_graph_wrlock");
}

static bool has_block_layer(const struct qh_image *image)
{
    return qh_image_text(image, "block/io.c") ||
           qh_image_text(image, "bdrv_drain_all_begin");
}

/* --- the verdict --- */

static void decide(const struct judge *judge, bool whole,
                   struct qh_verify_check *check)
{
    bool asks = judge->silent &&
                (judge->called || (judge->inlined && judge->questions > 1));

    check->copies = 1;
    check->where = qh_where(
        judge->function,
        judge->address ? judge->address : judge->function->start, judge->arena);
    check->code[0] = judge->count_text;
    if (!judge->counted || !(judge->called || judge->inlined)) {
        check->verdict = QH_UNDETERMINED;
        check->why = "the function is there, and not seen to kick";
    } else if (asks) {
        check->verdict = QH_VULNERABLE;
        check->why = "the last reader kicks only if has_writer is set";
        check->code[1] = judge->question_text;
        check->code[2] = judge->kick_text;
    } else if (!whole) {
        check->verdict = QH_UNDETERMINED;
        check->why = "not all of the code could be followed";
    } else {
        check->verdict = QH_SAFE;
        check->why = "the last reader kicks on every path";
        check->code[1] = judge->kick_text;
    }
}

struct qh_error *qh_judge_graph(const struct qh_image *image,
                                struct qh_arena *arena,
                                struct qh_verify_check *check)
{
    struct judge judge = { .arena = arena };
    const struct qh_function *function =
        qh_image_named(image, "bdrv_graph_co_rdunlock", 0);
    bool whole = true;

    QH_TRY(find_kicks(image, &judge));
    if (!function && has_graph_lock(image)) {
        QH_TRY(find_nameless(image, &judge, &function));
    }
    if (function) {
        QH_TRY(look_at(image, &judge, function, &whole));
        decide(&judge, whole, check);
    } else if (has_graph_lock(image) || !has_block_layer(image)) {
        check->verdict = QH_UNDETERMINED;
        check->why = has_graph_lock(image)
                         ? "bdrv_graph_co_rdunlock is not found in it"
                         : "no block layer is found in this program";
    } else {
        check->verdict = QH_NOT_THERE;
        check->why = "this build has a block layer without a graph lock";
    }
    return NULL;
}
