/* The wait-for graph as nested lists, for those who cannot see the picture.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each node stands below those that wait for it, the first time with all that
 * it waits for, then only by name. The way down is kept in an array: a chain of
 * ten thousand coroutines must not use up the stack.
 */
#include "report/html.h"

/* Deeper lists cannot be read; nor is more drawn in the picture. */
enum { MAX_DEPTH = 24 };

struct tree {
    const struct qh_wait_graph *graph;
    bool *chosen, *shown;
    struct level {
        size_t node;
        size_t next; /* its edge to show next, counted from its first */
    } path[MAX_DEPTH];
    size_t depth;
    FILE *out;
};

static void tree_deinit(struct tree *tree)
{
    free(tree->chosen);
    free(tree->shown);
}

/* A list with nothing in it is no valid one. */
static bool leads_on(const struct tree *tree, const struct qh_wait_node *node)
{
    for (size_t i = 0; i < node->edge_count; i++) {
        if (tree->chosen[tree->graph->edges[node->first_edge + i].to]) {
            return true;
        }
    }
    return false;
}

/* Opens an item and, the first time, the list of what it waits for. */
static void open_item(struct tree *tree, size_t node, const char *why)
{
    const struct qh_wait_node *it = &tree->graph->nodes[node];
    bool again = tree->shown[node], more = leads_on(tree, it);
    bool leaf = again || !more || tree->depth == MAX_DEPTH;

    fputs("<li>", tree->out);
    if (why) {
        qh_html_element(tree->out, "span", "why", why);
    }
    qh_html_element(tree->out, "span",
                    it->finding || it->cycle ? "fault" : NULL, it->name);
    if (again && more) {
        fputs("<span class=\"why\">(see above)</span>", tree->out);
    } else if (more && tree->depth == MAX_DEPTH) {
        fputs("<span class=\"why\">...</span>", tree->out);
    }
    tree->shown[node] = true;
    if (leaf) {
        fputs("</li>\n", tree->out);
        return;
    }
    fputs("\n<ul>\n", tree->out);
    tree->path[tree->depth++] = (struct level){ .node = node };
}

static void show_from(struct tree *tree, size_t root)
{
    open_item(tree, root, NULL);
    while (tree->depth) {
        struct level *level = &tree->path[tree->depth - 1];
        const struct qh_wait_node *node = &tree->graph->nodes[level->node];
        if (level->next == node->edge_count) {
            fputs("</ul>\n</li>\n", tree->out);
            tree->depth--;
            continue;
        }
        const struct qh_wait_edge *edge =
            &tree->graph->edges[node->first_edge + level->next++];
        if (tree->chosen[edge->to]) {
            open_item(tree, edge->to, edge->why);
        }
    }
}

struct qh_error *qh_html_tree(const struct qh_wait_graph *graph, FILE *out)
{
    size_t count = graph->node_count + 1, drawn;
    QH_CLEANUP(tree_deinit)
    struct tree tree = { .graph = graph,
                         .chosen = calloc(count, sizeof(bool)),
                         .shown = calloc(count, sizeof(bool)),
                         .out = out };

    if (!tree.chosen || !tree.shown) {
        return qh_error_no_memory();
    }
    QH_TRY(qh_wait_graph_choose(graph, QH_DRAWN_NODES, tree.chosen, &drawn));
    fputs("<ul class=\"tree\">\n", out);
    if (graph->chain_count) {
        show_from(&tree, graph->chain[0]);
    }
    /* Then whom nobody waits for; what is left then is in circles. */
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < graph->node_count; i++) {
            if (tree.chosen[i] && !tree.shown[i] &&
                (round || !graph->nodes[i].waiter_count)) {
                show_from(&tree, i);
            }
        }
    }
    fputs("</ul>\n", out);
    return NULL;
}
