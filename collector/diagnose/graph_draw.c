/* The wait-for graph: what of it is worth drawing.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose/graph.h"

/* So many of those that want the same lock are drawn; they look alike. */
enum { MAX_FAN = 3 };

static bool has_edges(const struct qh_wait_node *node)
{
    return node->edge_count || node->waiter_count;
}

size_t qh_wait_graph_size(const struct qh_wait_graph *graph)
{
    size_t count = 0;

    for (size_t i = 0; i < graph->node_count; i++) {
        count += has_edges(&graph->nodes[i]);
    }
    return count;
}

struct choice {
    const struct qh_wait_graph *graph;
    size_t max, count;
    bool *chosen;
    size_t *fans; /* for each node, how many that wait for it are chosen */
};

static void choice_deinit(struct choice *choice)
{
    free(choice->fans);
}

static void choose(struct choice *choice, size_t index)
{
    const struct qh_wait_node *node = &choice->graph->nodes[index];

    if (choice->chosen[index] || choice->count == choice->max ||
        !has_edges(node)) {
        return;
    }
    choice->chosen[index] = true;
    choice->count++;
    for (size_t i = 0; i < node->edge_count; i++) {
        choice->fans[choice->graph->edges[node->first_edge + i].to]++;
    }
}

/* What a chosen node waits for, else it would hang in the air. */
static void choose_ends(struct choice *choice)
{
    for (size_t i = 0; i < choice->graph->edge_count; i++) {
        if (choice->chosen[choice->graph->edges[i].from]) {
            choose(choice, choice->graph->edges[i].to);
        }
    }
}

/* Some of those that wait for a chosen node. */
static void choose_waiters(struct choice *choice)
{
    for (size_t i = 0; i < choice->graph->edge_count; i++) {
        const struct qh_wait_edge *edge = &choice->graph->edges[i];
        if (choice->chosen[edge->to] && choice->fans[edge->to] < MAX_FAN) {
            choose(choice, edge->from);
        }
    }
}

/* A lock that several want, a coroutine that waits and is waited for: more
 * than a sleeper with its timer. */
static bool is_between(const struct qh_wait_node *node)
{
    return node->kind != QH_NODE_COROUTINE
               ? node->waiter_count > 1
               : node->waiter_count && node->edge_count;
}

/* Whether a thread waits for more than a thing of its own, or is waited for:
 * many a thread has nothing to do but to wait for its condition. */
static bool is_involved(const struct qh_wait_graph *graph,
                        const struct qh_wait_node *node)
{
    for (size_t i = 0; i < node->edge_count; i++) {
        const struct qh_wait_node *to =
            &graph->nodes[graph->edges[node->first_edge + i].to];
        if (to->edge_count || to->waiter_count > 1) {
            return true;
        }
    }
    return node->waiter_count > 0;
}

static void choose_all(struct choice *choice)
{
    const struct qh_wait_graph *graph = choice->graph;

    for (size_t i = 0; i < graph->chain_count; i++) {
        choose(choice, graph->chain[i]);
    }
    for (size_t i = 0; i < graph->node_count; i++) {
        if (graph->nodes[i].cycle || graph->nodes[i].finding) {
            choose(choice, i);
        }
    }
    choose_ends(choice);
    for (size_t i = 0; i < graph->node_count; i++) {
        if (graph->nodes[i].kind == QH_NODE_THREAD &&
            is_involved(graph, &graph->nodes[i])) {
            choose(choice, i);
        }
    }
    choose_ends(choice);
    for (size_t i = 0; i < graph->node_count; i++) {
        if (is_between(&graph->nodes[i])) {
            choose(choice, i);
        }
    }
    /* And who waits for those in turn. */
    choose_waiters(choice);
    choose_waiters(choice);
    choose_ends(choice);
}

struct qh_error *qh_wait_graph_choose(const struct qh_wait_graph *graph,
                                      size_t max, bool *ret_chosen,
                                      size_t *ret_count)
{
    QH_CLEANUP(choice_deinit)
    struct choice choice = { .graph = graph, .max = max, .chosen = ret_chosen };

    choice.fans = calloc(graph->node_count + 1, sizeof(*choice.fans));
    if (!choice.fans) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < graph->node_count; i++) {
        ret_chosen[i] = false;
    }
    choose_all(&choice);
    *ret_count = choice.count;
    return NULL;
}
