/* The HTML report: the page around its sections.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * One file that needs no other: style, script and picture are in it. Its
 * Content-Security-Policy names the hashes of that style and that script and
 * allows nothing else, so that a name from the target, even one that came
 * through unescaped, could neither run nor fetch anything.
 */
#include "report/html.h"
#include "base/units.h"
#include "report/page.h"

#include <errno.h>

static const char *kind_words(const struct qh_snapshot *snapshot)
{
    switch (snapshot->kind) {
    case QH_TARGET_LIVE:
        return "live process";
    case QH_TARGET_HELD:
        return "held process";
    case QH_TARGET_CORE:
        break;
    }
    return "core";
}

static void print_title(const struct qh_snapshot *snapshot, FILE *out)
{
    const char *name =
        snapshot->name && *snapshot->name ? snapshot->name : "(no name)";

    qh_html_text(out, name);
    if (snapshot->pid) {
        fprintf(out, " %d", (int)snapshot->pid);
    }
}

static void print_head(const struct qh_report *report, FILE *out)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
          "<meta charset=\"utf-8\">\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\""
          "default-src 'none'; style-src '" QH_PAGE_STYLE_HASH
          "'; script-src '" QH_PAGE_SCRIPT_HASH
          "'; base-uri 'none'; form-action 'none'\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, "
          "initial-scale=1\">\n<title>",
          out);
    print_title(report->snapshot, out);
    fputs(": qhang</title>\n<style>", out);
    fputs(page_style, out);
    fputs("</style>\n</head>\n<body>\n", out);
}

static void print_part(FILE *out, const char *before, const char *text)
{
    if (text && *text) {
        fprintf(out, "<span>%s", before);
        qh_html_text(out, text);
        fputs("</span>\n", out);
    }
}

static void print_header(const struct qh_report *report, FILE *out)
{
    const struct qh_snapshot *snapshot = report->snapshot;

    fputs("<header>\n<p class=\"brow\">qhang report</p>\n<h1>", out);
    print_title(snapshot, out);
    fputs("</h1>\n<p class=\"sub\">\n", out);
    print_part(out, "QEMU ", snapshot->version);
    print_part(out, "build ", snapshot->build_id);
    print_part(out, "", kind_words(snapshot));
    print_part(out, "", snapshot->core);
    if (snapshot->held_by) {
        print_part(out, "held by ", snapshot->holder);
    }
    print_part(out, "", snapshot->exe);
    fputs("</p>\n</header>\n<main>\n", out);
}

static void print_search(FILE *out)
{
    fputs("<div class=\"search\" hidden><input type=\"search\" "
          "aria-label=\"Search this report\" placeholder=\"Search threads, "
          "functions, addresses\"><output>"
          "All of it is shown.</output></div>\n",
          out);
}

static void print_footer(const struct qh_report *report, FILE *out)
{
    const struct qh_snapshot *snapshot = report->snapshot;

    fputs("</main>\n<footer>\n<p>Made by qhang ", out);
    qh_html_text(out, report->tool_version);
    fprintf(out, " from %u sample%s", report->samples,
            report->samples == 1 ? "" : "s");
    if (report->pause_ns != QH_TIME_UNKNOWN) {
        fprintf(out, ", each a stop of %s at most",
                qh_duration(report->pause_ns).text);
    }
    fprintf(out, "; %.1f MiB read. Nothing was changed.</p>\n",
            (double)snapshot->bytes_read / (1 << 20));
    fputs("</footer>\n<script>", out);
    fputs(page_script, out);
    fputs("</script>\n</body>\n</html>\n", out);
}

struct qh_error *qh_report_html(const struct qh_report *report, const char *svg,
                                FILE *out)
{
    print_head(report, out);
    print_header(report, out);
    qh_html_verdict(report, out);
    qh_html_notes(report, out);
    print_search(out);
    QH_TRY(qh_html_graph(report, svg, out));
    qh_html_threads(report, out);
    qh_html_contexts(report, out);
    QH_TRY(qh_html_coroutines(report, out));
    print_footer(report, out);
    return ferror(out)
               ? qh_error_errno(QH_ERR_SYSTEM, errno, "cannot write the page")
               : NULL;
}
