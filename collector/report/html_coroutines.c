/* Coroutines in the HTML report: equal stacks in one bucket, which unfolds.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/buckets.h"
#include "report/html.h"
#include "report/text.h"

#include <stdlib.h>

/* So many members of a bucket are listed; ten thousand alike teach nobody. */
enum { MAX_MEMBERS = 200 };

struct page {
    const struct qh_report *report;
    struct qh_co_buckets buckets;
    size_t *node_of; /* 1 + the graph's node, or 0; by place in the snapshot */
};

static void page_deinit(struct page *page)
{
    qh_co_buckets_deinit(&page->buckets);
    free(page->node_of);
}

static struct qh_error *find_nodes(struct page *page)
{
    const struct qh_snapshot *snapshot = page->report->snapshot;
    const struct qh_wait_graph *graph = page->report->graph;

    page->node_of = calloc(snapshot->coroutine_count, sizeof(*page->node_of));
    if (!page->node_of) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct qh_coroutine *coroutine =
            graph->nodes[i].kind == QH_NODE_COROUTINE
                ? qh_snapshot_coroutine(snapshot, graph->nodes[i].address)
                : NULL;
        if (coroutine) {
            page->node_of[coroutine - snapshot->coroutines] = i + 1;
        }
    }
    return NULL;
}

static void print_member(const struct page *page, size_t index, FILE *out)
{
    const struct qh_snapshot *snapshot = page->report->snapshot;
    const struct qh_wait_graph *graph = page->report->graph;
    const struct qh_coroutine *coroutine = &snapshot->coroutines[index];
    const struct qh_context *context =
        qh_snapshot_context(snapshot, coroutine->context);
    size_t number = page->node_of[index];

    fputs("<li>", out);
    qh_html_address(out, coroutine->address);
    if (context && context->name && *context->name) {
        fputs(" in ", out);
        qh_html_text(out, context->name);
    }
    if (coroutine->scheduled) {
        fputs(", scheduled by ", out);
        qh_html_element(out, "code", NULL, coroutine->scheduled);
    }
    for (size_t i = 0; number && i < graph->nodes[number - 1].edge_count; i++) {
        const struct qh_wait_edge *edge =
            &graph->edges[graph->nodes[number - 1].first_edge + i];
        fputs(i ? "; " : ": ", out);
        qh_html_text(out, edge->why);
        fputs(" ", out);
        qh_html_text(out, graph->nodes[edge->to].name);
    }
    fputs("</li>\n", out);
}

static void print_bucket(const struct page *page,
                         const struct qh_co_bucket *bucket, FILE *out)
{
    const struct qh_coroutine *like =
        &page->report->snapshot->coroutines[bucket->members[0]];
    size_t first = qh_text_first_frame(&like->stack);
    bool pooled = like->state == QH_CO_POOLED;

    fprintf(out,
            "<details data-find><summary><span class=\"n\">%zu "
            "&times;</span> <b>",
            bucket->count);
    if (pooled) {
        fputs("pooled</b> for re-use</summary>\n<p class=\"note\">Their "
              "coroutines have ended; the stacks wait for new ones.</p>\n"
              "</details>\n",
              out);
        return;
    }
    qh_html_text(out, like->entry ? like->entry : "(entry not known)");
    fprintf(out, "</b> %s", qh_coroutine_state_name(like->state));
    if (first < like->stack.count && like->stack.frames[first].function) {
        fputs(" <span class=\"at mono\">", out);
        qh_html_text(out, like->stack.frames[first].function);
        fputs("</span>", out);
    }
    fputs("</summary>\n", out);
    qh_html_frames(out, &like->stack);
    fputs("<ul class=\"members\">\n", out);
    for (size_t i = 0; i < bucket->count && i < MAX_MEMBERS; i++) {
        print_member(page, bucket->members[i], out);
    }
    if (bucket->count > MAX_MEMBERS) {
        fprintf(out,
                "<li class=\"note\">and %zu more; <code>--json</code> has "
                "all</li>\n",
                bucket->count - MAX_MEMBERS);
    }
    fputs("</ul>\n</details>\n", out);
}

struct qh_error *qh_html_coroutines(const struct qh_report *report, FILE *out)
{
    QH_CLEANUP(page_deinit) struct page page = { .report = report };
    const struct qh_co_filter all = { .context = NULL };

    if (!report->snapshot->coroutine_count) {
        return NULL;
    }
    QH_TRY(qh_co_buckets_make(report->snapshot, &all, QH_GROUP_STACK,
                              &page.buckets));
    QH_TRY(find_nodes(&page));
    qh_html_section(out, "Coroutines", report->snapshot->coroutine_count);
    for (size_t i = 0; i < page.buckets.count; i++) {
        print_bucket(&page, &page.buckets.items[i], out);
    }
    fputs("</section>\n", out);
    return NULL;
}
