/* The list of QEMUs as text.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/escape.h"
#include "report/list.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* With what stands between them, 80 in all. */
enum { NAME_COLUMNS = 22, STATE_COLUMNS = 14 };

/* At most `columns` of `text`, escaped, filled up with blanks. */
static void print_cut(const char *text, unsigned columns, FILE *out)
{
    unsigned used = 0;

    for (;;) {
        struct qh_rune rune = qh_rune_at(text);
        unsigned wide = qh_rune_columns(rune);
        if (!rune.bytes || used + wide > columns) {
            break;
        }
        qh_print_rune(text, rune, out);
        used += wide;
        text += rune.bytes;
    }
    fprintf(out, "%*s", (int)(columns - used), "");
}

/* Its one largest unit. */
static void print_age(int64_t age_ns, FILE *out)
{
    int64_t s = age_ns / 1000000000;

    if (s < 60) {
        fprintf(out, "%4" PRId64 " s  ", s);
    } else if (s < 3600) {
        fprintf(out, "%4" PRId64 " min", s / 60);
    } else if (s < 86400) {
        fprintf(out, "%4" PRId64 " h  ", s / 3600);
    } else {
        fprintf(out, "%4" PRId64 " d  ", s / 86400);
    }
}

static const char *state_words(const struct qh_watched *watched)
{
    switch (watched->state) {
    case 'S':
        return watched->wait ? watched->wait : "asleep";
    case 'D':
        return watched->wait ? watched->wait : "state D";
    case 'R':
        return "running";
    case 'T':
    case 't':
        return "stopped";
    default:
        return "ended";
    }
}

static void print_one(const struct qh_list_report *report,
                      const struct qh_watched *watched, FILE *out)
{
    bool marked =
        report->colour && qh_progress_is_suspicious(watched->progress);

    fprintf(out, "%7d ", (int)watched->pid);
    if (watched->inner_pid != watched->pid) {
        fprintf(out, "%7d ", (int)watched->inner_pid);
    } else {
        fprintf(out, "%7s ", "");
    }
    print_age(watched->age_ns, out);
    fputs("  ", out);
    print_cut(watched->guest && *watched->guest ? watched->guest
                                                : watched->name,
              NAME_COLUMNS, out);
    fputc(' ', out);
    print_cut(state_words(watched), STATE_COLUMNS, out);
    fprintf(out, " %s%s%s\n", marked ? "\033[1;33m" : "",
            qh_progress_words(watched->progress), marked ? "\033[0m" : "");
}

struct qh_error *qh_list_text(const struct qh_list_report *report, FILE *out)
{
    const struct qh_watch *watch = report->watch;

    if (!watch->count) {
        fputs("no QEMU runs here\n", out);
    } else {
        fprintf(out, "%7s %7s %8s  %-*s %-*s %s\n", "PID", "INSIDE", "AGE",
                NAME_COLUMNS, "NAME", STATE_COLUMNS, "MAIN THREAD", "LOOKS");
    }
    for (size_t i = 0; i < watch->count; i++) {
        print_one(report, &watch->items[i], out);
    }
    return ferror(out)
               ? qh_error_errno(QH_ERR_SYSTEM, errno, "cannot write the list")
               : NULL;
}
