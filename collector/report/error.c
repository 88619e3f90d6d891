/* An error as people read it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/escape.h"
#include "report/report.h"

#include <inttypes.h>

/* Prints `text` escaped; a newline goes on below the text behind the label. */
static void print_escaped(const char *text, FILE *out)
{
    struct qh_rune rune;

    while ((rune = qh_rune_at(text)).bytes) {
        if (rune.code == '\n' && !rune.broken) {
            fputs("\n        ", out);
        } else {
            qh_print_rune(text, rune, out);
        }
        text += rune.bytes;
    }
}

static void print_where(const struct qh_error *error, FILE *out)
{
    const char *comma = "";

    fputs("  where ", out);
    if (error->tid) {
        fprintf(out, "pid or tid %d", (int)error->tid);
        comma = ", ";
    }
    if (error->has_address) {
        fprintf(out, "%saddress 0x%" PRIx64, comma, error->address.value);
        comma = ", ";
    }
    if (error->path) {
        fputs(comma, out);
        print_escaped(error->path, out);
    }
    fputc('\n', out);
}

void qh_report_error(const struct qh_error *error, FILE *out)
{
    fputs("qhang: ", out);
    print_escaped(error->message, out);
    fputc('\n', out);
    if (error->tid || error->has_address || error->path) {
        print_where(error, out);
    }
    fputs("  try   ", out);
    print_escaped(qh_error_advice(error), out);
    fputc('\n', out);
}
