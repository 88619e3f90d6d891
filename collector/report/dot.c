/* The wait-for graph in Graphviz's language.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Pictures of more than some sixty nodes are read by nobody, so only so many
 * are drawn, those that matter first, and the picture says how many there are.
 * Classes go into the SVG, where the HTML report's style sheet colours them;
 * the colours here are for those who draw it themselves.
 */
#include "report/escape.h"
#include "report/report.h"

#include <errno.h>
#include <string.h>

/* Where the lines of a label are broken: at a blank, or in a long name. */
enum { LABEL_COLUMNS = 25, NAME_COLUMNS = 26 };

/* One piece of a quoted string: Graphviz reads backslashes and entities. */
static void print_rune(const char *text, struct qh_rune rune, FILE *out)
{
    if (!qh_rune_is_plain(rune)) {
        for (unsigned i = 0; i < rune.bytes; i++) {
            fprintf(out, "\\\\x%02x", (unsigned char)text[i]);
        }
    } else if (*text == '"' || *text == '\\') {
        fprintf(out, "\\%c", *text);
    } else if (*text == '&') {
        fputs("&amp;", out);
    } else {
        fwrite(text, 1, rune.bytes, out);
    }
}

static void print_label(const char *text, FILE *out)
{
    struct qh_rune rune;
    size_t columns = 0;

    for (; (rune = qh_rune_at(text)).bytes; text += rune.bytes) {
        size_t word = strcspn(text + rune.bytes, " ");
        if (*text == ' ' && columns && columns + 1 + word > LABEL_COLUMNS) {
            fputs("\\n", out);
            columns = 0;
            continue;
        }
        print_rune(text, rune, out);
        columns += qh_rune_columns(rune);
        if ((*text == '_' && columns >= LABEL_COLUMNS && word > 4) ||
            columns >= 2 * NAME_COLUMNS) {
            fputs("\\n", out);
            columns = 0;
        }
    }
}

struct look {
    const char *class; /* in the SVG */
    const char *fill, *line;
};

static struct look look_of(enum qh_node_kind kind)
{
    static const struct look thread = { "thread", "#dbe7f6", "#3b6ea5" };
    static const struct look coroutine = { "coroutine", "#dcefe4", "#3c7a5a" };
    static const struct look object = { "object", "#f1f1ee", "#8a8a82" };

    return kind == QH_NODE_THREAD      ? thread
           : kind == QH_NODE_COROUTINE ? coroutine
                                       : object;
}

static bool on_chain(const struct qh_wait_graph *graph, size_t node)
{
    for (size_t i = 0; i < graph->chain_count; i++) {
        if (graph->chain[i] == node) {
            return true;
        }
    }
    return false;
}

static bool along_chain(const struct qh_wait_graph *graph,
                        const struct qh_wait_edge *edge)
{
    for (size_t i = 0; i + 1 < graph->chain_count; i++) {
        if (graph->chain[i] == edge->from && graph->chain[i + 1] == edge->to) {
            return true;
        }
    }
    return false;
}

static bool along_cycle(const struct qh_wait_graph *graph,
                        const struct qh_wait_edge *edge)
{
    size_t number = graph->nodes[edge->from].cycle;

    if (!number || graph->nodes[edge->to].cycle != number) {
        return false;
    }
    const struct qh_wait_cycle *cycle = &graph->cycles[number - 1];
    for (size_t i = 0; i < cycle->count; i++) {
        if (cycle->nodes[i] == edge->from) {
            return cycle->nodes[(i + 1) % cycle->count] == edge->to;
        }
    }
    return false;
}

/* How many wait for the node and are not drawn. */
static size_t hidden_waiters(const struct qh_wait_graph *graph,
                             const bool *chosen, size_t index)
{
    size_t hidden = 0;

    for (size_t i = 0; i < graph->edge_count; i++) {
        hidden += graph->edges[i].to == index && !chosen[graph->edges[i].from];
    }
    return hidden;
}

static void print_node(const struct qh_wait_graph *graph, const bool *chosen,
                       size_t index, FILE *out)
{
    size_t hidden = hidden_waiters(graph, chosen, index);
    const struct qh_wait_node *node = &graph->nodes[index];
    struct look look = look_of(node->kind);
    bool fault = node->cycle || node->finding;

    fprintf(out, "  n%zu [label=\"", index);
    print_label(node->name, out);
    if (hidden) {
        fprintf(out, "\\n%zu more wait%s", hidden, hidden == 1 ? "s" : "");
    }
    fprintf(out, "\" class=\"%s%s%s\"", look.class, fault ? " fault" : "",
            on_chain(graph, index) ? " chain" : "");
    fprintf(out, " shape=box style=\"%s\" fillcolor=\"%s\" color=\"%s\"%s];\n",
            look.class[0] == 'o' ? "filled" : "rounded,filled",
            fault ? "#f9dcd7" : look.fill, fault ? "#b3261e" : look.line,
            fault ? " penwidth=2" : "");
}

static void print_edge(const struct qh_wait_graph *graph,
                       const struct qh_wait_edge *edge, FILE *out)
{
    bool chain = along_chain(graph, edge), cycle = along_cycle(graph, edge);

    fprintf(out, "  n%zu -> n%zu [label=\"  ", edge->from, edge->to);
    print_label(edge->why, out);
    fprintf(out, "\" class=\"%s%s\"", cycle ? "fault" : "",
            chain ? " chain" : "");
    if (edge->certainty == QH_SUSPECT) {
        fputs(" style=dashed", out);
    }
    if (cycle || chain) {
        fprintf(out, " penwidth=2 color=\"%s\"", cycle ? "#b3261e" : "#303030");
    }
    fputs("];\n", out);
}

static void print_graph(const struct qh_wait_graph *graph, const bool *chosen,
                        size_t drawn, FILE *out)
{
    size_t all = qh_wait_graph_size(graph);

    fputs("digraph waits {\n"
          "  rankdir=TB; nodesep=0.3; ranksep=0.35; bgcolor=transparent;\n"
          "  node [fontname=\"Helvetica,Arial,sans-serif\" fontsize=11 "
          "margin=\"0.14,0.08\"];\n"
          "  edge [fontname=\"Helvetica,Arial,sans-serif\" fontsize=9 "
          "color=\"#77776f\" fontcolor=\"#55554f\" arrowsize=0.7];\n",
          out);
    if (!drawn) {
        fputs("  label=\"nobody waits for anybody\";\n", out);
    } else if (drawn < all) {
        fprintf(out, "  label=\"%zu of %zu nodes\";\n", drawn, all);
    }
    for (size_t i = 0; i < graph->node_count; i++) {
        if (chosen[i]) {
            print_node(graph, chosen, i, out);
        }
    }
    for (size_t i = 0; i < graph->edge_count; i++) {
        if (chosen[graph->edges[i].from] && chosen[graph->edges[i].to]) {
            print_edge(graph, &graph->edges[i], out);
        }
    }
    fputs("}\n", out);
}

struct qh_error *qh_report_dot(const struct qh_report *report, FILE *out)
{
    const struct qh_wait_graph *graph = report->graph;
    QH_CLEANUP(qh_free_guard)
    bool *chosen = calloc(graph->node_count + 1, sizeof(*chosen));
    size_t drawn = 0;

    if (!chosen) {
        return qh_error_no_memory();
    }
    QH_TRY(qh_wait_graph_choose(graph, QH_DRAWN_NODES, chosen, &drawn));
    print_graph(graph, chosen, drawn, out);
    return ferror(out)
               ? qh_error_errno(QH_ERR_SYSTEM, errno, "cannot write the graph")
               : NULL;
}
