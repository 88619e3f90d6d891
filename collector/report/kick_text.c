/* What a kick did, for people.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/kick.h"

#include "base/units.h"
#include "report/text.h"

#include <inttypes.h>

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

    snprintf(address, sizeof(address), "0x%" PRIx64,
             write->word.address.value);
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
                           const struct qh_rescue_plan *plan, FILE *out)
{
    const struct qh_context *context =
        qh_snapshot_context(report->snapshot, plan->notifier.context);
    struct qh_wrap wrap;
    char address[32];

    snprintf(address, sizeof(address), "0x%" PRIx64,
             plan->notifier.context.value);
    qh_wrap_begin(&wrap, out, "notify");
    if (context && context->name && *context->name) {
        qh_wrap_printf(&wrap, "%s,", context->name);
    }
    qh_wrap_printf(&wrap, "eventfd %d", plan->notifier.write_fd);
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
    print_notified(report, plan, out);
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
}

void qh_kick_text_outcome(const struct qh_report *report,
                          const struct qh_rescue_outcome *outcome, FILE *out)
{
    char text[128];

    if (!outcome->unstuck) {
        print_headline(report, "1;31", "STILL STUCK",
                       "the waiter has not left its wait", out);
        return;
    }
    snprintf(text, sizeof(text), "after %s%s",
             qh_duration(outcome->took_ns).text,
             outcome->exited ? "; the process has ended" : "");
    print_headline(report, "1;32", "UNSTUCK", text, out);
}

void qh_kick_text_left(const struct qh_report *report, size_t left, bool unseen,
                       FILE *out)
{
    struct qh_wrap wrap;

    qh_wrap_begin(&wrap, out, "now");
    if (!left && unseen) {
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

void qh_kick_text_notified(const struct qh_process *process, size_t count,
                           bool dry, FILE *out)
{
    struct qh_wrap wrap;

    qh_wrap_begin_flush(&wrap, out, HEADLINE_INDENT);
    qh_wrap_printf(&wrap, "%d", (int)process->pid);
    qh_wrap_printf(&wrap, "%s:", process->name);
    qh_wrap_printf(&wrap, "%zu event loop%s", count, count == 1 ? "" : "s");
    qh_wrap_words(&wrap, dry ? "would be notified, no memory written"
                             : "notified, no memory written");
    qh_wrap_end(&wrap);
}
