/* The chain from the main thread to the culprit, in the text report.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/text.h"

/* In lines; the rest is left to the other forms of the report. */
enum { MAX_LINKS = 10 };

static bool acts(const struct qh_wait_node *node)
{
    return node->kind == QH_NODE_THREAD || node->kind == QH_NODE_COROUTINE;
}

/* Whether a finding says of the chain's first thread that it waits. */
static bool is_told(const struct qh_report *report)
{
    pid_t tid = report->graph->nodes[report->graph->chain[0]].tid;

    for (size_t i = 0; i < report->findings->count; i++) {
        if (report->findings->items[i].waiter == tid) {
            return true;
        }
    }
    return false;
}

/* Of one that a finding tells at both ends, a coroutine more in between is not
 * worth a chain. */
static bool is_news(const struct qh_report *report)
{
    const struct qh_wait_graph *graph = report->graph;
    size_t actors = 0;

    for (size_t i = 0; i < graph->chain_count; i++) {
        actors += acts(&graph->nodes[graph->chain[i]]);
    }
    return graph->chain_count > 1 && (actors > 3 || !is_told(report));
}

static void print_link(const struct qh_wait_graph *graph, size_t place,
                       FILE *out)
{
    const struct qh_wait_node *node = &graph->nodes[graph->chain[place]];
    struct qh_wrap wrap;

    qh_wrap_begin(&wrap, out, place ? "" : "chain");
    if (place) {
        const struct qh_wait_edge *edge = qh_wait_graph_edge(
            graph, graph->chain[place - 1], graph->chain[place]);
        qh_wrap_words(&wrap, edge->why);
    }
    qh_wrap_words(&wrap, node->name);
    if (node->cycle && place + 1 == graph->chain_count) {
        qh_wrap_words(&wrap, "(in the circle)");
    }
    qh_wrap_end(&wrap);
}

void qh_text_chain(const struct qh_report *report, FILE *out)
{
    const struct qh_wait_graph *graph = report->graph;
    struct qh_wrap wrap;

    if (!is_news(report)) {
        return;
    }
    if (report->findings->count) {
        fputc('\n', out);
    }
    for (size_t i = 0; i < graph->chain_count && i < MAX_LINKS; i++) {
        print_link(graph, i, out);
    }
    if (graph->chain_count > MAX_LINKS) {
        qh_wrap_begin(&wrap, out, "");
        qh_wrap_printf(&wrap, "... and %zu more",
                       graph->chain_count - MAX_LINKS);
        qh_wrap_end(&wrap);
    }
}
