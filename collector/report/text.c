/* The text report.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/units.h"
#include "report/escape.h"
#include "report/text.h"

#include <errno.h>
#include <inttypes.h>

enum { HEADLINE_INDENT = 6, SHORT_STACK_LINES = 2 };

static void print_identity(struct qh_wrap *wrap,
                           const struct qh_snapshot *snapshot)
{
    if (snapshot->pid) {
        qh_wrap_printf(wrap, "%d", (int)snapshot->pid);
    }
    if (snapshot->inner_pid && snapshot->inner_pid != snapshot->pid) {
        qh_wrap_printf(wrap, "(%d inside)", (int)snapshot->inner_pid);
    }
    qh_wrap_piece(wrap, snapshot->name && *snapshot->name ? snapshot->name
                                                          : "(no name)");
    if (snapshot->build_id && *snapshot->build_id) {
        qh_wrap_printf(wrap, "(build %.8s)", snapshot->build_id);
    }
}

/* That it would not run if qhang were not there either; `comma` before what
 * follows. */
static void print_halt(const struct qh_snapshot *snapshot, const char *comma,
                       struct qh_wrap *wrap)
{
    const char *part =
        snapshot->halted_count < snapshot->thread_count ? " in part" : "";

    if (snapshot->halted == QH_HALT_SIGNAL) {
        qh_wrap_printf(wrap, "stopped by a signal%s%s", part, comma);
    } else if (snapshot->halted == QH_HALT_TRACER && snapshot->held_by) {
        qh_wrap_printf(wrap, "held by %s (%d)%s%s", snapshot->holder,
                       (int)snapshot->held_by, part, comma);
    } else if (snapshot->halted == QH_HALT_TRACER) {
        qh_wrap_printf(wrap, "held by a tracer%s%s", part, comma);
    }
}

/* Behind "blocked": how it was come by. */
static void print_source(const struct qh_report *report, struct qh_wrap *wrap)
{
    const struct qh_snapshot *snapshot = report->snapshot;
    bool paused = report->pause_ns != QH_TIME_UNKNOWN;

    switch (snapshot->kind) {
    case QH_TARGET_LIVE:
        print_halt(snapshot, snapshot->unstopped || paused ? "," : "", wrap);
        if (snapshot->unstopped) {
            qh_wrap_printf(wrap, "%s",
                           snapshot->halted ? "looked at only" : "not stopped");
        } else if (paused) {
            qh_wrap_printf(wrap, "paused %s",
                           qh_duration(report->pause_ns).text);
        }
        break;
    case QH_TARGET_HELD:
        if (snapshot->held_by) {
            qh_wrap_printf(wrap, "held by %s (%d)", snapshot->holder,
                           (int)snapshot->held_by);
        } else {
            qh_wrap_printf(wrap, "held");
        }
        break;
    case QH_TARGET_CORE:
        qh_wrap_printf(wrap, "core %s", snapshot->core ? snapshot->core : "");
        break;
    }
}

/* "blocked 20 s, paused 0.6 ms"; a core says which file instead. */
void qh_text_head(const struct qh_report *report, FILE *out)
{
    const struct qh_snapshot *snapshot = report->snapshot;
    bool has_source = snapshot->kind != QH_TARGET_LIVE || snapshot->unstopped ||
                      report->pause_ns != QH_TIME_UNKNOWN;
    struct qh_wrap wrap;

    qh_wrap_begin_flush(&wrap, out, HEADLINE_INDENT);
    print_identity(&wrap, snapshot);
    qh_wrap_gap(&wrap);
    /* How long an idle main loop has slept is no news. */
    if (report->findings->count && snapshot->blocked_ns != QH_TIME_UNKNOWN) {
        qh_wrap_printf(&wrap, "blocked %s%s%s",
                       snapshot->blocked_at_least ? "at least " : "",
                       qh_duration(snapshot->blocked_ns).text,
                       has_source ? "," : "");
    }
    print_source(report, &wrap);
    qh_wrap_end(&wrap);
}

static void count_piece(struct qh_wrap *wrap, size_t count, const char *noun,
                        const char *behind)
{
    qh_wrap_printf(wrap, "%zu %s%s%s", count, noun, count == 1 ? "" : "s",
                   behind);
}

static void print_examined(const struct qh_snapshot *snapshot, FILE *out)
{
    struct qh_wrap wrap;
    size_t pooled = 0;

    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        pooled += snapshot->coroutines[i].state == QH_CO_POOLED;
    }

    qh_wrap_begin(&wrap, out, "examined");
    count_piece(&wrap, snapshot->thread_count, "thread", ",");
    count_piece(&wrap, snapshot->context_count, "context", ",");
    count_piece(&wrap, snapshot->coroutine_count - pooled, "coroutine", "");
    qh_wrap_printf(&wrap, "(and %zu pooled),", pooled);
    count_piece(&wrap, snapshot->sleeper_count, "sleeper", ",");
    count_piece(&wrap, snapshot->timer_count, "timer", "");
    qh_wrap_end(&wrap);
}

static const char *state_words(const struct qh_snapshot *snapshot,
                               const struct qh_thread *thread)
{
    if (snapshot->halted_count == snapshot->thread_count) {
        return thread->state == QH_THREAD_RUNNABLE ? "stopped" : "stopped in";
    }
    switch (thread->state) {
    case QH_THREAD_RUNNABLE:
        return "runs";
    case QH_THREAD_BLOCKED:
        return "asleep in";
    case QH_THREAD_IN_KERNEL:
        break;
    }
    return snapshot->unstopped ? "in state D, in" : "did not stop, in";
}

/* Where the main thread is: with no finding, the next thing one asks. */
static void print_main_thread(const struct qh_snapshot *snapshot, FILE *out)
{
    struct qh_wrap wrap;

    for (size_t i = 0; i < snapshot->thread_count; i++) {
        const struct qh_thread *thread = &snapshot->threads[i];
        if (thread->role != QH_ROLE_MAIN) {
            continue;
        }
        bool burden = qh_text_has_burden(snapshot, thread);
        qh_wrap_begin(&wrap, out, "main");
        qh_wrap_printf(&wrap, "thread %d", (int)thread->tid);
        qh_wrap_words(&wrap, state_words(snapshot, thread));
        if (thread->state != QH_THREAD_RUNNABLE) {
            qh_wrap_piece(&wrap, thread->blocked_in ? thread->blocked_in
                                                    : "the kernel");
        }
        if (burden) {
            qh_wrap_piece(&wrap, "with");
            qh_text_burden(&wrap, snapshot, thread);
        }
        qh_text_frames(&wrap, &thread->stack, SHORT_STACK_LINES);
        qh_wrap_end(&wrap);
        return;
    }
}

static void print_clean(const struct qh_report *report, FILE *out)
{
    const struct qh_snapshot *snapshot = report->snapshot;
    struct qh_wrap wrap;

    fputc('\n', out);
    qh_wrap_begin_flush(&wrap, out, HEADLINE_INDENT);
    if (snapshot->halted != QH_HALT_NONE) {
        qh_text_coloured(report, &wrap, "1;33", "STOPPED");
        qh_wrap_words(&wrap, snapshot->halted == QH_HALT_SIGNAL
                                 ? "by a signal:"
                                 : "by a tracer:");
    }
    if (snapshot->gap_count) {
        qh_text_coloured(report, &wrap, "1;33",
                         "no hang found in what could be read");
    } else {
        qh_text_coloured(report, &wrap, "1;32", "no hang found");
    }
    qh_wrap_end(&wrap);
    if (snapshot->halted == QH_HALT_SIGNAL) {
        qh_wrap_begin(&wrap, out, "next");
        qh_wrap_printf(&wrap, "kill -CONT %d", (int)snapshot->pid);
        qh_wrap_words(&wrap, "lets it go on");
        qh_wrap_end(&wrap);
    }
    print_examined(snapshot, out);
    print_main_thread(snapshot, out);
}

static void print_notes(const struct qh_findings *findings, FILE *out)
{
    struct qh_wrap wrap;

    if (findings->note_count) {
        fputc('\n', out);
    }
    for (size_t i = 0; i < findings->note_count; i++) {
        qh_wrap_begin(&wrap, out, i ? "" : "context");
        qh_wrap_words(&wrap, findings->notes[i].text);
        qh_wrap_end(&wrap);
    }
}

static void print_gap(const struct qh_gap *gap, FILE *out)
{
    struct qh_wrap wrap;
    char address[32];

    qh_wrap_begin(&wrap, out, "unread");
    qh_wrap_words(&wrap, gap->what);
    if (gap->address.value) {
        snprintf(address, sizeof(address), "0x%" PRIx64, gap->address.value);
        qh_wrap_right(&wrap, address);
    }
    qh_wrap_break(&wrap);
    qh_wrap_words(&wrap, gap->reason);
    if (gap->advice) {
        qh_wrap_break(&wrap);
        qh_wrap_piece(&wrap, "try:");
        qh_wrap_words(&wrap, gap->advice);
    }
    qh_wrap_end(&wrap);
}

void qh_text_gaps(const struct qh_report *report, FILE *out)
{
    const struct qh_snapshot *snapshot = report->snapshot;
    struct qh_wrap wrap;

    if (!snapshot->gap_count) {
        return;
    }
    fputc('\n', out);
    qh_wrap_begin_flush(&wrap, out, HEADLINE_INDENT);
    qh_text_coloured(report, &wrap, "1;33", "INCOMPLETE");
    count_piece(&wrap, snapshot->gap_count, "part", " could not be read");
    qh_wrap_end(&wrap);
    for (size_t i = 0; i < snapshot->gap_count; i++) {
        print_gap(&snapshot->gaps[i], out);
    }
}

struct qh_error *qh_report_text(const struct qh_report *report, FILE *out)
{
    const struct qh_findings *findings = report->findings;

    qh_text_head(report, out);
    for (size_t i = 0; i < findings->count; i++) {
        fputc('\n', out);
        qh_text_finding(report, &findings->items[i], out);
    }
    if (!findings->count) {
        print_clean(report, out);
    }
    qh_text_chain(report, out);
    print_notes(findings, out);
    qh_text_gaps(report, out);
    return ferror(out)
               ? qh_error_errno(QH_ERR_SYSTEM, errno, "cannot write the report")
               : NULL;
}
