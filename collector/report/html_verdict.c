/* What it comes to, on top of the HTML report.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/html.h"
#include "base/units.h"

#include <inttypes.h>

static void print_heals(const struct qh_report *report,
                        const struct qh_finding *finding, FILE *out)
{
    char text[96];

    if (finding->heals == QH_HEALS_NEVER) {
        qh_html_fact(out, "big", "Heals by itself", "never");
    } else if (finding->heals == QH_HEALS_UNKNOWN) {
        qh_html_fact(out, "big", "Heals by itself", "not known");
    } else if (finding->heals_in_ns == QH_TIME_UNKNOWN) {
        qh_html_fact(out, "big", "Heals by itself",
                     "when its timer fires, not known when");
    } else {
        snprintf(text, sizeof(text), "in %s%s",
                 qh_duration(finding->heals_in_ns).text,
                 report->snapshot->kind == QH_TARGET_CORE
                     ? " from when the core was taken"
                     : "");
        qh_html_fact(out, "big", "Heals by itself", text);
    }
}

static void print_kick(const struct qh_report *report,
                       const struct qh_finding *finding, FILE *out)
{
    char text[64];

    if (report->snapshot->kind != QH_TARGET_LIVE) {
        return;
    }
    int pid = (int)report->snapshot->pid;
    if (report->snapshot->halted == QH_HALT_SIGNAL) {
        snprintf(text, sizeof(text), "kill -CONT %d; qhang kick %d", pid, pid);
    } else {
        snprintf(text, sizeof(text), "qhang kick %d", pid);
    }
    qh_html_fact(out, NULL, "Can be ended by",
                 qh_finding_kick(finding) == QH_KICK_NONE ? "no rescue is known"
                                                          : text);
}

static void print_blocked(const struct qh_snapshot *snapshot, FILE *out)
{
    char text[96];

    if (snapshot->blocked_ns != QH_TIME_UNKNOWN) {
        snprintf(text, sizeof(text), "%s%s",
                 snapshot->blocked_at_least ? "at least " : "",
                 qh_duration(snapshot->blocked_ns).text);
        qh_html_fact(out, "big", "Stands still for", text);
    }
}

static void print_who(const struct qh_report *report,
                      const struct qh_finding *finding, FILE *out)
{
    const struct qh_snapshot *snapshot = report->snapshot;
    const struct qh_thread *waiter =
        qh_snapshot_thread(snapshot, finding->waiter);
    const struct qh_coroutine *stuck =
        qh_snapshot_coroutine(snapshot, finding->coroutine);

    if (finding->waiter && waiter) {
        qh_html_begin_fact(out, "Waits");
        qh_html_thread_name(out, waiter);
        if (waiter->role == QH_ROLE_MAIN && snapshot->qmp_command) {
            fputs(", QMP command ", out);
            qh_html_text(out, snapshot->qmp_command);
        }
        fputs("</li>\n", out);
    }
    if (finding->coroutine.value) {
        qh_html_begin_fact(out, "Stuck");
        fputs("coroutine ", out);
        qh_html_address(out, finding->coroutine);
        fputs(" ", out);
        qh_html_text(out, stuck ? stuck->entry : NULL);
        fputs("</li>\n", out);
    }
}

static void print_fixed_in(const struct qh_finding *finding, FILE *out)
{
    if (!finding->fixed_in_count) {
        return;
    }
    qh_html_begin_fact(out, "Fixed in");
    fputs("QEMU ", out);
    for (size_t i = 0; i < finding->fixed_in_count; i++) {
        fputs(i ? ", " : "", out);
        qh_html_text(out, finding->fixed_in[i]);
    }
    fputs("</li>\n", out);
}

static void print_evidence(const struct qh_finding *finding, FILE *out)
{
    if (!finding->evidence_count) {
        return;
    }
    fputs("<table>\n<thead><tr><th>Evidence</th><th>Value</th>"
          "<th>Address</th></tr></thead>\n<tbody>\n",
          out);
    for (size_t i = 0; i < finding->evidence_count; i++) {
        const struct qh_evidence *evidence = &finding->evidence[i];
        fputs("<tr><td>", out);
        qh_html_text(out, evidence->what);
        fputs("</td><td data-name=\"value\">", out);
        if (*evidence->value) {
            qh_html_element(out, "code", NULL, evidence->value);
        }
        fputs("</td><td data-name=\"at\">", out);
        qh_html_address(out, evidence->address);
        fputs("</td></tr>\n", out);
    }
    fputs("</tbody>\n</table>\n", out);
}

static void print_finding(const struct qh_report *report,
                          const struct qh_finding *finding, FILE *out)
{
    fputs("<article class=\"verdict\">\n<p class=\"chips\">"
          "<span class=\"chip bad\">HANG</span> ",
          out);
    qh_html_element(out, "span", "chip mono", finding->rule);
    qh_html_element(out, "span", "chip", qh_certainty_name(finding->certainty));
    fputs("</p>\n", out);
    qh_html_element(out, "h3", NULL, finding->summary);
    fputs("<ul class=\"facts\">\n", out);
    print_heals(report, finding, out);
    print_kick(report, finding, out);
    print_blocked(report->snapshot, out);
    print_who(report, finding, out);
    print_fixed_in(finding, out);
    qh_html_begin_fact(out, "More about it");
    fputs("<code>qhang explain ", out);
    qh_html_text(out, finding->rule);
    fputs("</code></li>\n</ul>\n", out);
    print_evidence(finding, out);
    fputs("</article>\n", out);
}

static void print_clean(const struct qh_snapshot *snapshot, FILE *out)
{
    bool whole = !snapshot->gap_count;
    bool halted = snapshot->halted != QH_HALT_NONE;

    fprintf(out,
            "<article class=\"verdict %s\">\n<p class=\"chips\">"
            "<span class=\"chip %s\">%s</span></p>\n<h3>%s</h3>\n"
            "<p>%zu threads, %zu contexts, %zu coroutines, %zu sleepers "
            "and %zu timers were examined.</p>\n</article>\n",
            whole && !halted ? "good" : "warn",
            whole && !halted ? "good" : "warn",
            halted  ? "STOPPED"
            : whole ? "EXAMINED"
                    : "INCOMPLETE",
            whole ? "No hang found" : "No hang found in what could be read",
            snapshot->thread_count, snapshot->context_count,
            snapshot->coroutine_count, snapshot->sleeper_count,
            snapshot->timer_count);
}

void qh_html_verdict(const struct qh_report *report, FILE *out)
{
    for (size_t i = 0; i < report->findings->count; i++) {
        print_finding(report, &report->findings->items[i], out);
    }
    if (!report->findings->count) {
        print_clean(report->snapshot, out);
    }
}

static void print_gaps(const struct qh_snapshot *snapshot, FILE *out)
{
    qh_html_section(out, "Could not be read", snapshot->gap_count);
    fputs("<div class=\"card\"><table>\n<thead><tr><th>What</th><th>Why</th>"
          "<th>Try</th></tr></thead>\n<tbody>\n",
          out);
    for (size_t i = 0; i < snapshot->gap_count; i++) {
        const struct qh_gap *gap = &snapshot->gaps[i];
        fputs("<tr><td>", out);
        qh_html_text(out, gap->what);
        if (gap->address.value) {
            fputs(" ", out);
            qh_html_address(out, gap->address);
        }
        fputs("</td><td data-name=\"why\">", out);
        qh_html_text(out, gap->reason);
        fputs("</td><td data-name=\"try\">", out);
        qh_html_text(out, gap->advice ? gap->advice : "-");
        fputs("</td></tr>\n", out);
    }
    fputs("</tbody>\n</table></div>\n</section>\n", out);
}

void qh_html_notes(const struct qh_report *report, FILE *out)
{
    const struct qh_findings *findings = report->findings;

    if (findings->note_count) {
        qh_html_section(out, "Good to know", 0);
        fputs("<div class=\"card\">\n", out);
        for (size_t i = 0; i < findings->note_count; i++) {
            qh_html_element(out, "p", NULL, findings->notes[i].text);
        }
        fputs("</div>\n</section>\n", out);
    }
    if (report->snapshot->gap_count) {
        print_gaps(report->snapshot, out);
    }
}
