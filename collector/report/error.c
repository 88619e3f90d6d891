/* An error as people read it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/escape.h"
#include "report/report.h"
#include "report/wrap.h"

#include <inttypes.h>
#include <string.h>

enum { TEXT_COLUMN = 8 };

/* The text behind a label; in lines of 80 columns only where somebody reads
 * them, so that who searches a log finds a message in one piece. */
static void print_behind(const char *label, const char *text, bool wrapped,
                         FILE *out)
{
    struct qh_wrap wrap;
    struct qh_rune rune;

    if (wrapped) {
        qh_wrap_begin_flush(&wrap, out, TEXT_COLUMN);
        qh_wrap_piece(&wrap, label);
        qh_wrap_words(&wrap, text);
        qh_wrap_end(&wrap);
        return;
    }
    fprintf(out, "%s ", label);
    while ((rune = qh_rune_at(text)).bytes) {
        qh_print_rune(text, rune, out);
        text += rune.bytes;
    }
    fputc('\n', out);
}

static void print_where(const struct qh_error *error, bool wrapped, FILE *out)
{
    char *text = NULL, tid[32] = "", address[32] = "";
    QH_CLEANUP(qh_free_guard) char *guard = NULL;

    if (error->tid) {
        snprintf(tid, sizeof(tid), "pid or tid %d, ", (int)error->tid);
    }
    if (error->has_address) {
        snprintf(address, sizeof(address), "address 0x%" PRIx64 ", ",
                 error->address.value);
    }
    if (asprintf(&text, "%s%s%s", tid, address,
                 error->path ? error->path : "") < 0) {
        return;
    }
    guard = text;
    if (!error->path) {
        text[strlen(text) - 2] = '\0'; /* the last comma */
    }
    print_behind("  where", text, wrapped, out);
}

void qh_report_error(const struct qh_error *error, bool wrapped, FILE *out)
{
    print_behind("qhang:", error->message, wrapped, out);
    if (error->tid || error->has_address || error->path) {
        print_where(error, wrapped, out);
    }
    print_behind("  try  ", qh_error_advice(error), wrapped, out);
}
