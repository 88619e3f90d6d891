/* Is to_wake changed by single atomic steps, in every copy of wake and sleep?
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A wake gives up the sleeper's claim, a sleep makes it: compare-and-swaps of
 * Coroutine.scheduled between NULL and the address of "qemu_co_sleep_ns". Both
 * are kept by every version and repair, and by the compiler, wherever it puts
 * the code. The coroutine whose claim it is is followed: backwards, out of
 * which word a wake took it and how; forwards, into which word a sleep put it.
 */
#include "verify/judge.h"

#include <string.h>

enum { MAX_STRINGS = 8, MAX_MARKERS = 16 };

enum part { WAKE, ARM, PARTS };

/* A function that makes or gives up the claim of its argument: its callers
 * decide. */
struct marker {
    const struct qh_function *function;
    unsigned argument; /* index into qh_event.arguments */
    enum part part;
    bool has_callers;
};

/* One place where a claim is made or given up. */
struct copy {
    enum part part;
    const struct qh_function *function;
    uint64_t address;
    enum qh_safety verdict;
    const char *why;
    const char *code[QH_VERIFY_LINES];
};

struct judge {
    const struct qh_image *image;
    struct qh_arena *arena;
    uint64_t strings[MAX_STRINGS];
    size_t string_count;
    struct marker markers[MAX_MARKERS];
    size_t marker_count;
    struct copy *copies;
    size_t copy_count;
    size_t copy_capacity;
    bool too_much;
    bool no_memory;
};

/* --- what was found --- */

/* The worse of two: a fault seen on one path is a fault. */
static int severity(enum qh_safety verdict)
{
    return verdict == QH_VULNERABLE ? 2 : verdict == QH_UNDETERMINED;
}

/* NULL when what is known already is as bad. */
static struct copy *worsen(struct judge *judge, struct qh_flow *flow,
                           const struct qh_event *at, enum part part,
                           enum qh_safety verdict)
{
    uint64_t address = qh_flow_address(flow, at);
    struct copy *copy;

    for (size_t i = 0; i < judge->copy_count; i++) {
        copy = &judge->copies[i];
        if (copy->address == address && copy->part == part) {
            return severity(verdict) > severity(copy->verdict) ? copy : NULL;
        }
    }
    copy = qh_list_add(judge->arena, &judge->copies, &judge->copy_count,
                       &judge->copy_capacity, sizeof(*copy));
    if (!copy) {
        judge->no_memory = true;
    }
    return copy;
}

static void tell(struct judge *judge, struct qh_flow *flow,
                 const struct qh_event *at, enum part part,
                 enum qh_safety verdict, const char *why,
                 const struct qh_event *first, const struct qh_event *second)
{
    struct copy *copy = worsen(judge, flow, at, part, verdict);

    if (!copy) {
        return;
    }
    *copy = (struct copy){
        .part = part,
        .function = qh_flow_function(flow),
        .address = qh_flow_address(flow, at),
        .verdict = verdict,
        .why = why,
    };
    copy->code[0] = first ? qh_flow_text(flow, first, judge->arena) : NULL;
    copy->code[1] = second ? qh_flow_text(flow, second, judge->arena) : NULL;
}

static void add_marker(struct judge *judge, struct qh_flow *flow,
                       const struct qh_origin *origin, enum part part)
{
    static const enum qh_gpr order[QH_CALL_ARGUMENTS] = { QH_RDI, QH_RSI,
                                                          QH_RDX, QH_RCX };
    const struct qh_function *function = qh_flow_function(flow);

    for (size_t i = 0; i < judge->marker_count; i++) {
        if (judge->markers[i].function == function &&
            judge->markers[i].part == part) {
            return;
        }
    }
    for (unsigned i = 0; i < QH_CALL_ARGUMENTS; i++) {
        if (order[i] != origin->argument) {
            continue;
        }
        if (judge->marker_count == MAX_MARKERS) {
            judge->too_much = true;
            return;
        }
        judge->markers[judge->marker_count++] =
            (struct marker){ function, i, part, false };
        return;
    }
    judge->too_much = true;
}

/* --- whose claim --- */

/* Coroutine.scheduled lies so far behind the coroutine's beginning at most. */
enum { MAX_FIELD_OFFSET = 255 };

/* Whether `value` points to the coroutine that `field` lies in. */
static bool is_owner(struct qh_value value, struct qh_value field)
{
    return value.origin && value.origin == field.origin &&
           field.offset > value.offset &&
           (uint64_t)field.offset - (uint64_t)value.offset <= MAX_FIELD_OFFSET;
}

/* --- the wake --- */

static const struct qh_event *find(const struct qh_event *events, size_t from,
                                   size_t to, enum qh_event_kind kind,
                                   struct qh_value address)
{
    for (size_t i = from; i < to; i++) {
        if (events[i].kind == kind &&
            qh_value_equal(events[i].address, address)) {
            return &events[i];
        }
    }
    return NULL;
}

/* It came out of the word by a load; what else was done to the word? */
static void judge_loaded(struct judge *judge, struct qh_flow *flow,
                         const struct qh_event *events, size_t count, size_t at,
                         struct qh_value field)
{
    struct qh_value word = qh_flow_origin(flow, field)->address;
    const struct qh_event *loaded = NULL;
    const struct qh_event *stored;

    for (size_t i = 0; i < at; i++) {
        if (events[i].kind == QH_EVENT_LOAD &&
            is_owner(events[i].value, field)) {
            loaded = &events[i];
        }
        if (events[i].kind == QH_EVENT_CMPXCHG &&
            qh_value_equal(events[i].address, word) &&
            is_owner(events[i].expected, field)) {
            tell(judge, flow, &events[at], WAKE, QH_SAFE,
                 "the sleeper is taken by one compare-and-swap", &events[i],
                 NULL);
            return;
        }
    }
    stored = find(events, 0, count, QH_EVENT_STORE, word);
    if (stored) {
        tell(judge, flow, &events[at], WAKE, QH_VULNERABLE,
             "the sleeper is read and cleared in two steps", loaded, stored);
    } else {
        tell(judge, flow, &events[at], WAKE, QH_UNDETERMINED,
             "the sleeper is read, and not seen to be cleared", loaded, NULL);
    }
}

static void judge_wake(struct judge *judge, struct qh_flow *flow,
                       const struct qh_event *events, size_t count, size_t at,
                       struct qh_value field)
{
    const struct qh_origin *origin = qh_flow_origin(flow, field);

    switch (origin->kind) {
    case QH_FROM_LOAD:
        judge_loaded(judge, flow, events, count, at, field);
        break;
    case QH_FROM_XCHG:
        tell(judge, flow, &events[at], WAKE, QH_SAFE,
             "the sleeper is taken by one exchange",
             find(events, 0, at, QH_EVENT_XCHG, origin->address), NULL);
        break;
    case QH_FROM_CMPXCHG:
        tell(judge, flow, &events[at], WAKE, QH_SAFE,
             "the sleeper is taken by one compare-and-swap",
             find(events, 0, at, QH_EVENT_CMPXCHG, origin->address), NULL);
        break;
    case QH_FROM_ARGUMENT:
        add_marker(judge, flow, origin, WAKE);
        break;
    default:
        tell(judge, flow, &events[at], WAKE, QH_UNDETERMINED,
             "it is not seen where the sleeper comes from", NULL, NULL);
        break;
    }
}

/* --- the sleep --- */

static void judge_arm(struct judge *judge, struct qh_flow *flow,
                      const struct qh_event *events, size_t count, size_t at,
                      struct qh_value field, bool returned)
{
    for (size_t i = at + 1; i < count; i++) {
        const struct qh_event *event = &events[i];

        if (event->kind == QH_EVENT_CALL || event->kind == QH_EVENT_RETURN ||
            !is_owner(event->value, field)) {
            continue;
        }
        if (event->kind == QH_EVENT_STORE) {
            tell(judge, flow, &events[at], ARM, QH_VULNERABLE,
                 "the sleeper is stored over whatever stands there", event,
                 NULL);
            return;
        }
        if (event->kind == QH_EVENT_CMPXCHG) {
            bool from_null = qh_value_is(event->expected, 0);

            tell(judge, flow, &events[at], ARM,
                 from_null ? QH_SAFE : QH_UNDETERMINED,
                 from_null ? "the sleeper goes in by one compare-and-swap "
                             "with NULL"
                           : "the sleeper goes in by a compare-and-swap with "
                             "something",
                 event, NULL);
            return;
        }
    }
    if (qh_flow_origin(flow, field)->kind == QH_FROM_ARGUMENT) {
        add_marker(judge, flow, qh_flow_origin(flow, field), ARM);
    } else if (returned) {
        tell(judge, flow, &events[at], ARM, QH_UNDETERMINED,
             "it is not seen where the sleeper goes", NULL, NULL);
    }
}

/* --- the claims --- */

static bool is_claim(const struct judge *judge, struct qh_value value)
{
    for (size_t i = 0; i < judge->string_count; i++) {
        if (qh_value_is(value, judge->strings[i])) {
            return true;
        }
    }
    return false;
}

/* Whether the event makes or gives up a claim, and where it lies. */
static bool is_mark(struct judge *judge, const struct qh_event *event,
                    enum part *ret_part, struct qh_value *ret_field)
{
    if (event->kind == QH_EVENT_CMPXCHG) {
        *ret_field = event->address;
        *ret_part = is_claim(judge, event->value) ? ARM : WAKE;
        return (*ret_part == ARM && qh_value_is(event->expected, 0)) ||
               (is_claim(judge, event->expected) &&
                qh_value_is(event->value, 0));
    }
    if (event->kind != QH_EVENT_CALL || event->address.origin) {
        return false;
    }
    for (size_t i = 0; i < judge->marker_count; i++) {
        struct marker *marker = &judge->markers[i];

        if ((uint64_t)event->address.offset == marker->function->start) {
            *ret_part = marker->part;
            *ret_field = event->arguments[marker->argument];
            /* Somewhere in it. */
            ret_field->offset = (int64_t)((uint64_t)ret_field->offset + 1);
            marker->has_callers = true;
            return true;
        }
    }
    return false;
}

static void judge_path(struct qh_flow *flow, const struct qh_event *events,
                       size_t count, bool returned, void *opaque)
{
    struct judge *judge = opaque;
    struct qh_value field;
    enum part part;

    for (size_t i = 0; i < count; i++) {
        if (!is_mark(judge, &events[i], &part, &field)) {
            continue;
        }
        if (part == WAKE) {
            judge_wake(judge, flow, events, count, i, field);
        } else {
            judge_arm(judge, flow, events, count, i, field, returned);
        }
    }
}

static struct qh_error *
judge_references(struct judge *judge, const uint64_t *addresses, size_t count)
{
    struct qh_reference *references;
    size_t reference_count;

    QH_TRY(qh_image_references(judge->image, judge->arena, addresses, count,
                               &references, &reference_count));
    for (size_t i = 0; i < reference_count; i++) {
        bool whole = false;

        if (references[i].function) {
            QH_TRY(qh_flow_run(judge->image, references[i].function, 0,
                               judge_path, judge, &whole));
        }
        if (!whole && references[i].function) {
            /* A large function: what matters is close to the reference. */
            QH_TRY(qh_flow_run(judge->image, references[i].function,
                               references[i].address, judge_path, judge,
                               &whole));
        }
        judge->too_much |= !whole;
        if (judge->no_memory) {
            return qh_error_no_memory();
        }
    }
    return NULL;
}

static void sum_up(const struct judge *judge, enum part part,
                   struct qh_verify_check *check)
{
    const struct copy *worst = NULL;

    for (size_t i = 0; i < judge->copy_count; i++) {
        const struct copy *copy = &judge->copies[i];

        if (copy->part == part) {
            check->copies++;
            if (!worst || severity(copy->verdict) > severity(worst->verdict)) {
                worst = copy;
            }
        }
    }
    if (!worst) {
        check->verdict = QH_UNDETERMINED;
        check->why = judge->string_count
                         ? "no code is found that uses the sleepers' claim"
                         : "no coroutine sleep is found in this program";
        return;
    }
    check->verdict = worst->verdict;
    check->why = worst->why;
    check->where = qh_where(worst->function, worst->address, judge->arena);
    memcpy(check->code, worst->code, sizeof(check->code));
    for (size_t i = 0; i < judge->marker_count; i++) {
        if (judge->markers[i].part == part && !judge->markers[i].has_callers) {
            judge = NULL;
            break;
        }
    }
    if ((!judge || judge->too_much) && check->verdict == QH_SAFE) {
        check->verdict = QH_UNDETERMINED;
        check->why = "not all of the code could be followed";
    }
}

struct qh_error *qh_judge_sleep(const struct qh_image *image,
                                struct qh_arena *arena,
                                struct qh_verify_check *wake,
                                struct qh_verify_check *arm)
{
    struct judge judge = { .image = image, .arena = arena };

    judge.string_count =
        qh_image_strings(image, "qemu_co_sleep_ns", judge.strings, MAX_STRINGS);
    QH_TRY(judge_references(&judge, judge.strings, judge.string_count));
    /* Markers may bring further markers. */
    for (size_t i = 0; i < judge.marker_count; i++) {
        uint64_t start = judge.markers[i].function->start;

        QH_TRY(judge_references(&judge, &start, 1));
    }
    sum_up(&judge, WAKE, wake);
    sum_up(&judge, ARM, arm);
    return NULL;
}
