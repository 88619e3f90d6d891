/* What a kick did, for people.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/kick.h"

#include "base/units.h"
#include "report/text.h"

#include <inttypes.h>
#include <string.h>

enum { HEADLINE_INDENT = 6 };

void qh_kick_text_finding(const struct qh_report *report,
                          const struct qh_finding *finding, FILE *out)
{
    qh_text_head(report, out);
    fputc('\n', out);
    qh_text_finding(report, finding, out);
}

static void print_write(const struct qh_rescue_write *write, bool first,
                        FILE *out)
{
    struct qh_wrap wrap;
    char address[32];

    snprintf(address, sizeof(address), "0x%" PRIx64, write->word.address.value);
    qh_wrap_begin(&wrap, out, first ? "write" : "");
    qh_wrap_piece(&wrap, write->name);
    qh_wrap_right(&wrap, address);
    qh_wrap_break(&wrap);
    qh_wrap_printf(&wrap, "  0x%" PRIx64 " -> 0x%" PRIx64, write->word.before,
                   write->word.after);
    qh_wrap_break(&wrap);
    qh_wrap_printf(&wrap, "  %s", write->why);
    qh_wrap_end(&wrap);
}

static void print_notified(const struct qh_report *report,
                           const struct qh_rescue_notifier *notifier,
                           bool first, FILE *out)
{
    const struct qh_context *context =
        qh_snapshot_context(report->snapshot, notifier->context);
    struct qh_wrap wrap;
    char address[32];

    snprintf(address, sizeof(address), "0x%" PRIx64, notifier->context.value);
    qh_wrap_begin(&wrap, out, first ? "notify" : "");
    if (context && context->name && *context->name) {
        qh_wrap_printf(&wrap, "%s,", context->name);
    }
    qh_wrap_printf(&wrap, "eventfd %d", notifier->write_fd);
    qh_wrap_right(&wrap, address);
    qh_wrap_end(&wrap);
}

static void print_headline(const struct qh_report *report, const char *sgr,
                           const char *word, const char *text, FILE *out)
{
    struct qh_wrap wrap;

    fputc('\n', out);
    qh_wrap_begin_flush(&wrap, out, HEADLINE_INDENT);
    qh_text_coloured(report, &wrap, sgr, word);
    qh_wrap_piece(&wrap, "");
    qh_wrap_words(&wrap, text);
    qh_wrap_end(&wrap);
}

void qh_kick_text_plan(const struct qh_report *report,
                       const struct qh_rescue_plan *plan, FILE *out)
{
    print_headline(report, "1", "KICK", plan->what, out);
    for (size_t i = 0; i < plan->write_count; i++) {
        print_write(&plan->writes[i], i == 0, out);
    }
    print_notified(report, &plan->notifier, true, out);
}

void qh_kick_text_refusal(const struct qh_report *report,
                          const struct qh_error *refusal, FILE *out)
{
    struct qh_wrap wrap;
    char address[32], text[512];

    snprintf(text, sizeof(text), "%s; nothing was written", refusal->message);
    fputc('\n', out);
    qh_wrap_begin_flush(&wrap, out, HEADLINE_INDENT);
    qh_text_coloured(report, &wrap, "1;33", "REFUSED");
    qh_wrap_piece(&wrap, "");
    qh_wrap_words(&wrap, text);
    if (refusal->has_address) {
        snprintf(address, sizeof(address), "0x%" PRIx64,
                 refusal->address.value);
        qh_wrap_right(&wrap, address);
    }
    qh_wrap_end(&wrap);
    if (refusal->advice) {
        qh_wrap_begin(&wrap, out, "try");
        qh_wrap_words(&wrap, refusal->advice);
        qh_wrap_end(&wrap);
    }
}

struct qh_ending_text qh_ending_text(const struct qh_ending *ending)
{
    struct qh_ending_text ret;
    const char *name;

    switch (ending->how) {
    case QH_ENDING_EXITED:
        snprintf(ret.text, sizeof(ret.text), "with status %d", ending->number);
        return ret;
    case QH_ENDING_KILLED:
        name = sigabbrev_np(ending->number);
        if (name) {
            snprintf(ret.text, sizeof(ret.text), "by SIG%s", name);
        } else {
            snprintf(ret.text, sizeof(ret.text), "by signal %d",
                     ending->number);
        }
        return ret;
    case QH_ENDING_UNKNOWN:
        break;
    }
    snprintf(ret.text, sizeof(ret.text), "how, the kernel does not tell");
    return ret;
}

static void print_ended(const struct qh_report *report,
                        const struct qh_rescue_outcome *outcome, FILE *out)
{
    static const char *const colours[] = {
        [QH_ENDING_UNKNOWN] = "1;33",
        [QH_ENDING_EXITED] = "1;32",
        [QH_ENDING_KILLED] = "1;31",
    };
    char text[128];

    snprintf(text, sizeof(text), "after %s, %s",
             qh_duration(outcome->took_ns).text,
             qh_ending_text(&outcome->ending).text);
    print_headline(report, colours[outcome->ending.how],
                   outcome->ending.how == QH_ENDING_KILLED ? "KILLED" : "ENDED",
                   text, out);
}

void qh_kick_text_outcome(const struct qh_report *report,
                          const struct qh_rescue_outcome *outcome, FILE *out)
{
    char text[128];

    switch (outcome->result) {
    case QH_RESCUE_UNSTUCK:
        snprintf(text, sizeof(text), "after %s",
                 qh_duration(outcome->took_ns).text);
        print_headline(report, "1;32", "UNSTUCK", text, out);
        break;
    case QH_RESCUE_WAITS:
        print_headline(report, "1;33", "STILL WAITING",
                       "the fault is over, and the waiter has not left its "
                       "wait",
                       out);
        break;
    case QH_RESCUE_STUCK:
        print_headline(report, "1;31", "STILL STUCK",
                       "what was to be ended is as it was", out);
        break;
    case QH_RESCUE_UNCLEAR:
        print_headline(report, "1;33", "UNCLEAR",
                       "something moved at every look, or was kept stopped: "
                       "whether it is over cannot be told",
                       out);
        break;
    case QH_RESCUE_ENDED:
        print_ended(report, outcome, out);
        break;
    }
}

void qh_kick_text_ended(const struct qh_report *report,
                        const struct qh_ending *ending, FILE *out)
{
    struct qh_wrap wrap;

    qh_wrap_begin(&wrap, out, "now");
    if (ending->how == QH_ENDING_KILLED) {
        qh_text_coloured(report, &wrap, "1;31", "the process was killed");
    } else {
        qh_wrap_words(&wrap, "the process has ended,");
    }
    qh_wrap_words(&wrap, qh_ending_text(ending).text);
    qh_wrap_end(&wrap);
}

void qh_kick_text_left(const struct qh_report *report, size_t left, bool unseen,
                       bool stuck, FILE *out)
{
    struct qh_wrap wrap;

    qh_wrap_begin(&wrap, out, "now");
    if (!left && stuck) {
        qh_wrap_words(&wrap, "no other hang found; for what is still "
                             "waited for, see qhang coroutines");
    } else if (!left && unseen) {
        qh_wrap_words(&wrap, "no hang seen, but not all could be looked at: "
                             "see qhang diagnose");
    } else if (!left) {
        qh_wrap_words(&wrap, "nothing hangs any more");
    } else {
        qh_wrap_printf(&wrap, "%zu hang%s left:", left, left == 1 ? "" : "s");
        qh_wrap_words(&wrap, "see qhang diagnose");
    }
    qh_wrap_end(&wrap);
}

void qh_kick_text_unwatched(FILE *out)
{
    struct qh_wrap wrap;

    qh_wrap_begin(&wrap, out, "watch");
    qh_wrap_words(&wrap, "done, but whether it goes on cannot be told");
    qh_wrap_end(&wrap);
}

void qh_kick_text_loops(const struct qh_report *report,
                        const struct qh_rescue_loops *loops, FILE *out)
{
    qh_text_head(report, out);
    print_headline(report, "1", "KICK", "notify every event loop", out);
    for (size_t i = 0; i < loops->count; i++) {
        print_notified(report, &loops->items[i], i == 0, out);
    }
}

void qh_kick_text_notified(const struct qh_report *report, size_t count,
                           FILE *out)
{
    char text[128];

    snprintf(text, sizeof(text), "%zu event loop%s, no memory written", count,
             count == 1 ? "" : "s");
    print_headline(report, "1;32", "NOTIFIED", text, out);
}
