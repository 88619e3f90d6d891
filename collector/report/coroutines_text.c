/* Coroutines in buckets, as text.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/units.h"
#include "report/coroutines.h"
#include "report/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* Lines of a bucket's addresses and of its stack at most. */
enum { HEADLINE_INDENT = 6, WHO_LINES = 2, STACK_LINES = 4 };

static const char *context_name(const struct qh_snapshot *snapshot,
                                struct raddr address)
{
    const struct qh_context *context = qh_snapshot_context(snapshot, address);

    return context && context->name ? context->name : "a context";
}

/* "62 suspended, 286 pooled". */
static void print_states(struct qh_wrap *wrap,
                         const struct qh_snapshot *snapshot)
{
    size_t counts[QH_CO_CREATED + 1] = { 0 };
    size_t left = 0;

    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        left += !counts[snapshot->coroutines[i].state]++;
    }
    for (size_t i = 0; i < QH_COUNT(counts); i++) {
        if (counts[i]) {
            left--;
            qh_wrap_printf(wrap, "%zu %s%s", counts[i],
                           qh_coroutine_state_name((enum qh_coroutine_state)i),
                           left ? "," : "");
        }
    }
}

static void print_counts(const struct qh_co_report *report, FILE *out)
{
    const struct qh_snapshot *snapshot = report->snapshot;
    size_t count = snapshot->coroutine_count;
    struct qh_wrap wrap;

    fputc('\n', out);
    qh_wrap_begin_flush(&wrap, out, HEADLINE_INDENT);
    qh_wrap_printf(&wrap, "%zu coroutine%s%s", count, count == 1 ? "" : "s",
                   count ? ":" : "");
    print_states(&wrap, snapshot);
    if (report->filtered) {
        qh_wrap_printf(&wrap, "(%zu shown)", report->buckets->shown);
    }
    qh_wrap_end(&wrap);
}

static const struct qh_coroutine *first_of(const struct qh_co_report *report,
                                           const struct qh_co_bucket *bucket)
{
    return &report->snapshot->coroutines[bucket->members[0]];
}

/* "60 x suspended, throttle". */
static void print_headline(const struct qh_report *colours,
                           const struct qh_co_report *report,
                           const struct qh_co_bucket *bucket, FILE *out)
{
    const struct qh_coroutine *first = first_of(report, bucket);
    struct qh_wrap wrap;
    char text[128];

    fputc('\n', out);
    qh_wrap_begin_flush(&wrap, out, HEADLINE_INDENT);
    snprintf(text, sizeof(text), "%zu x", bucket->count);
    qh_text_coloured(colours, &wrap, "1", text);
    snprintf(text, sizeof(text), "%s%s", qh_coroutine_state_name(first->state),
             bucket->wait ? ":" : "");
    qh_wrap_piece(&wrap, text);
    if (bucket->wait) {
        qh_text_coloured(colours, &wrap, "1;36",
                         qh_wait_kind_name(bucket->wait->kind));
    }
    qh_wrap_end(&wrap);
}

static void print_owner(struct qh_wrap *wrap,
                        const struct qh_snapshot *snapshot,
                        const struct qh_wait *wait)
{
    const struct qh_thread *thread =
        qh_snapshot_thread(snapshot, wait->owner_tid);

    if (wait->owner_coroutine.value) {
        qh_wrap_printf(wrap, "until coroutine 0x%" PRIx64 " is done,",
                       wait->owner_coroutine.value);
    } else if (thread) {
        qh_wrap_piece(wrap, "until");
        qh_text_thread(wrap, thread, "");
        qh_wrap_piece(wrap, "gets to it,");
    }
}

/* Of a sleep, until its timer. */
static void print_left(struct qh_wrap *wrap, const struct qh_snapshot *snapshot,
                       const struct qh_wait *wait)
{
    for (size_t i = 0;
         wait->kind == QH_WAIT_SLEEP && i < snapshot->sleeper_count; i++) {
        const struct qh_sleeper *sleeper = &snapshot->sleepers[i];
        if (qh_raddr_equal(sleeper->coroutine, wait->coroutine) &&
            sleeper->left_ns != QH_TIME_UNKNOWN) {
            qh_wrap_printf(wrap, "%s left,",
                           qh_duration(sleeper->left_ns).text);
        }
    }
}

static void print_wait(const struct qh_co_report *report,
                       const struct qh_co_bucket *bucket, FILE *out)
{
    const struct qh_wait *wait = bucket->wait;
    struct qh_wrap wrap;

    if (!wait || (!wait->function && !wait->object.value)) {
        return;
    }
    qh_wrap_begin(&wrap, out, "waits");
    if (!bucket->same_object) {
        qh_wrap_piece(&wrap, "on several objects,");
    } else {
        if (wait->object_name) {
            qh_wrap_printf(&wrap, "on %s", wait->object_name);
        }
        if (wait->object.value) {
            qh_wrap_printf(&wrap, "%s0x%" PRIx64 ",",
                           wait->object_name ? "" : "on ", wait->object.value);
        }
        print_owner(&wrap, report->snapshot, wait);
        print_left(&wrap, report->snapshot, wait);
    }
    qh_wrap_printf(&wrap, "in %s", wait->function ? wait->function : "?");
    qh_wrap_end(&wrap);
}

/* The addresses of the members, as many as there is room for. */
static void print_who(const struct qh_co_report *report,
                      const struct qh_co_bucket *bucket, FILE *out)
{
    const struct qh_snapshot *snapshot = report->snapshot;
    const struct qh_coroutine *first = first_of(report, bucket);
    struct qh_wrap wrap;

    qh_wrap_begin(&wrap, out, "who");
    if (first->tid) {
        qh_wrap_printf(&wrap, "thread %d:", (int)first->tid);
    } else if (!first->context.value) {
        /* not entered yet, or pooled */
    } else if (bucket->same_context) {
        qh_wrap_printf(&wrap, "%s:", context_name(snapshot, first->context));
    } else {
        qh_wrap_piece(&wrap, "in several contexts:");
    }
    for (size_t i = 0; i < bucket->count; i++) {
        char text[32];
        size_t rest = bucket->count - i;
        snprintf(text, sizeof(text), "0x%" PRIx64,
                 snapshot->coroutines[bucket->members[i]].address.value);
        if (rest > 1 && wrap.lines >= WHO_LINES &&
            qh_wrap_would_break(&wrap, sizeof(text) + 12)) {
            qh_wrap_printf(&wrap, "and %zu more", rest);
            break;
        }
        qh_wrap_piece(&wrap, text);
    }
    qh_wrap_end(&wrap);
}

static void print_stack(const struct qh_co_report *report,
                        const struct qh_co_bucket *bucket, FILE *out)
{
    const struct qh_coroutine *first = first_of(report, bucket);
    struct qh_wrap wrap;

    if (!first->stack.count) {
        return;
    }
    qh_wrap_begin(&wrap, out, "stack");
    if (!bucket->same_stack) {
        qh_wrap_piece(&wrap, "of the first:");
    }
    qh_text_frames(&wrap, &first->stack, STACK_LINES);
    qh_wrap_end(&wrap);
}

struct qh_error *qh_coroutines_text(const struct qh_co_report *report,
                                    FILE *out)
{
    static const struct qh_findings none;
    const struct qh_report frame = { .snapshot = report->snapshot,
                                     .findings = &none,
                                     .pause_ns = report->snapshot->pause_ns,
                                     .colour = report->colour };

    qh_text_head(&frame, out);
    print_counts(report, out);
    for (size_t i = 0; i < report->buckets->count; i++) {
        const struct qh_co_bucket *bucket = &report->buckets->items[i];
        print_headline(&frame, report, bucket, out);
        print_wait(report, bucket, out);
        print_who(report, bucket, out);
        print_stack(report, bucket, out);
    }
    qh_text_gaps(&frame, out);
    return ferror(out)
               ? qh_error_errno(QH_ERR_SYSTEM, errno, "cannot write the report")
               : NULL;
}
