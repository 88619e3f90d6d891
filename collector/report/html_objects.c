/* Threads and contexts in the HTML report.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/html.h"
#include "base/units.h"
#include "report/text.h"

static const char *state_words(const struct qh_thread *thread)
{
    switch (thread->state) {
    case QH_THREAD_RUNNABLE:
        return "runs";
    case QH_THREAD_BLOCKED:
        return "asleep";
    case QH_THREAD_IN_KERNEL:
        break;
    }
    return "did not stop";
}

/* Up to what it waits for; idle is all there is to say of the others. */
static void print_wait(const struct qh_wait_graph *graph, pid_t tid, FILE *out)
{
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct qh_wait_node *node = &graph->nodes[i];
        if (node->kind != QH_NODE_THREAD || node->tid != tid) {
            continue;
        }
        for (size_t e = 0; e < node->edge_count; e++) {
            const struct qh_wait_edge *edge =
                &graph->edges[node->first_edge + e];
            if (e) {
                fputs("; ", out);
            } else {
                qh_html_begin_fact(out, "Waits");
            }
            qh_html_text(out, edge->why);
            fputs(" ", out);
            qh_html_text(out, graph->nodes[edge->to].name);
        }
        fputs(node->edge_count ? "</li>\n" : "", out);
        if (node->idle) {
            qh_html_fact(out, NULL, "Waits", "for events: nothing to do");
        }
        return;
    }
}

static void print_timeout(const struct qh_thread *thread, FILE *out)
{
    if (thread->timeout_ns == -1) {
        qh_html_fact(out, NULL, "Timeout", "none");
    } else if (thread->timeout_ns != QH_TIME_UNKNOWN) {
        qh_html_fact(out, NULL, "Timeout",
                     qh_duration(thread->timeout_ns).text);
    }
}

static void print_home(const struct qh_snapshot *snapshot,
                       const struct qh_thread *thread, FILE *out)
{
    const struct qh_context *home = qh_snapshot_context(snapshot, thread->home);
    const struct qh_context *polls =
        qh_snapshot_context(snapshot, thread->polls);

    if (home) {
        qh_html_fact(out, NULL, "Home of AioContext", home->name);
    }
    if (polls) {
        qh_html_fact(out, NULL, "Polls AioContext", polls->name);
    }
}

static void print_thread(const struct qh_report *report,
                         const struct qh_thread *thread, FILE *out)
{
    size_t first = qh_text_first_frame(&thread->stack);

    fputs("<details data-find><summary><b>", out);
    qh_html_thread_name(out, thread);
    fprintf(out, "</b> %s", state_words(thread));
    if (thread->holds_bql) {
        fputs(" <span class=\"chip warn\">holds the BQL</span>", out);
    }
    if (first < thread->stack.count && thread->stack.frames[first].function) {
        fputs(" <span class=\"at mono\">", out);
        qh_html_text(out, thread->stack.frames[first].function);
        fputs("</span>", out);
    }
    fputs("</summary>\n<ul class=\"facts\">\n", out);
    qh_html_fact(out, "mono", "In", thread->blocked_in);
    print_timeout(thread, out);
    print_wait(report->graph, thread->tid, out);
    print_home(report->snapshot, thread, out);
    qh_html_fact(out, "mono", "Name", thread->name ? thread->name : "?");
    fputs("</ul>\n", out);
    qh_html_frames(out, &thread->stack);
    fputs("</details>\n", out);
}

void qh_html_threads(const struct qh_report *report, FILE *out)
{
    const struct qh_snapshot *snapshot = report->snapshot;

    qh_html_section(out, "Threads", snapshot->thread_count);
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        print_thread(report, &snapshot->threads[i], out);
    }
    fputs("</section>\n", out);
}

static void print_cell(FILE *out, const char *name, const char *text)
{
    fprintf(out, "<td data-name=\"%s\">", name);
    qh_html_text(out, text);
    fputs("</td>", out);
}

static void print_number(FILE *out, const char *name, int64_t value)
{
    char text[32] = "-";

    if (value >= 0) {
        snprintf(text, sizeof(text), "%lld", (long long)value);
    }
    print_cell(out, name, text);
}

static void print_pending(FILE *out, const struct qh_context *context)
{
    fputs("<td data-name=\"bottom halves\">", out);
    for (size_t i = 0; i < context->pending_count; i++) {
        const struct qh_bh *bh = &context->pending[i];
        fputs(i ? ", <code>" : "<code>", out);
        qh_html_text(out, bh->callback ? bh->callback : "?");
        fputs("</code>", out);
    }
    fputs(context->pending_count ? "</td>" : "none</td>", out);
}

static void print_context(const struct qh_snapshot *snapshot,
                          const struct qh_context *context, FILE *out)
{
    const struct qh_thread *home = qh_snapshot_thread(snapshot, context->tid);

    fputs("<tr data-find><td><b>", out);
    qh_html_text(out, context->name && *context->name ? context->name : "?");
    fputs("</b> ", out);
    qh_html_address(out, context->address);
    fputs("</td><td data-name=\"thread\">", out);
    if (home && context->tid) {
        qh_html_thread_name(out, home);
    } else {
        fputs("-", out);
    }
    fputs("</td>", out);
    print_cell(out, "polled", context->poller ? "yes" : "no");
    print_number(out, "eventfd count", context->event_count);
    print_pending(out, context);
    print_number(out, "scheduled", (int64_t)context->scheduled_count);
    fputs("</tr>\n", out);
}

void qh_html_contexts(const struct qh_report *report, FILE *out)
{
    const struct qh_snapshot *snapshot = report->snapshot;

    if (!snapshot->context_count) {
        return;
    }
    qh_html_section(out, "AioContexts", snapshot->context_count);
    fputs("<div class=\"card\"><table>\n<thead><tr><th>Context</th>"
          "<th>Home thread</th><th>Polled</th><th>Eventfd count</th>"
          "<th>Bottom halves due</th><th>Coroutines scheduled</th></tr>"
          "</thead>\n<tbody>\n",
          out);
    for (size_t i = 0; i < snapshot->context_count; i++) {
        print_context(snapshot, &snapshot->contexts[i], out);
    }
    fputs("</tbody>\n</table></div>\n</section>\n", out);
}
