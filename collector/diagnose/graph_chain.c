/* The wait-for graph: roots, and the chain to the culprit.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose/graph_build.h"

/* So far the chain goes on behind the culprit. */
enum { MAX_TAIL = 8 };

/* --- roots --- */

/* A thread with nothing to do is at the end of many waits and holds nobody up.
 * A condition does not say who is to meet it: many a thread has no work but to
 * wait for one. */
static bool is_root(const struct qh_wait_node *node)
{
    return node->waiter_count && !node->edge_count && !node->idle &&
           node->kind != QH_NODE_CONDITION;
}

static struct qh_error *find_roots(struct qh_wait_graph *graph)
{
    for (size_t i = 0; i < graph->node_count; i++) {
        if (is_root(&graph->nodes[i])) {
            size_t *root =
                qh_list_add(&graph->arena, &graph->roots, &graph->root_count,
                            &graph->room.roots, sizeof(*root));
            if (!root) {
                return qh_error_no_memory();
            }
            *root = i;
        }
    }
    return NULL;
}

/* --- the chain --- */

/* A search through the graph in breadth, from one node. */
struct search {
    const struct qh_wait_graph *graph;
    size_t *came_from; /* 1 + the node before, or 0: not reached */
    size_t *queue;
    size_t count;
};

static void search_deinit(struct search *search)
{
    free(search->came_from);
    free(search->queue);
}

/* Along all edges, or those alone that are more than suspect. */
static void search_run(struct search *search, size_t from, bool sure_only)
{
    const struct qh_wait_graph *graph = search->graph;

    search->count = 0;
    for (size_t i = 0; i < graph->node_count; i++) {
        search->came_from[i] = 0;
    }
    search->came_from[from] = from + 1;
    search->queue[search->count++] = from;
    for (size_t next = 0; next < search->count; next++) {
        const struct qh_wait_node *node = &graph->nodes[search->queue[next]];
        for (size_t i = 0; i < node->edge_count; i++) {
            const struct qh_wait_edge *edge =
                &graph->edges[node->first_edge + i];
            if (!search->came_from[edge->to] &&
                !(sure_only && edge->certainty == QH_SUSPECT)) {
                search->came_from[edge->to] = edge->from + 1;
                search->queue[search->count++] = edge->to;
            }
        }
    }
}

/* How much it explains to end the chain there; 0: nothing. */
static int worth(const struct qh_wait_node *node)
{
    return node->cycle ? 4 : node->finding ? 3 : is_root(node) ? 2 : 0;
}

/* The best end among what was reached, the nearest of equals; the start itself
 * when there is none. */
static size_t best_end(const struct search *search)
{
    size_t best = search->queue[0];
    int best_worth = search->graph->nodes[best].cycle ? 4 : 0;

    for (size_t i = 1; i < search->count; i++) {
        int here = worth(&search->graph->nodes[search->queue[i]]);
        if (here > best_worth) {
            best = search->queue[i];
            best_worth = here;
        }
    }
    return best;
}

static bool is_in(const size_t *items, size_t count, size_t item)
{
    for (size_t i = 0; i < count; i++) {
        if (items[i] == item) {
            return true;
        }
    }
    return false;
}

/* What the culprit itself waits for belongs to the chain as long as there is
 * no choice: the timer of a sleeper, the context of the graph's readers. */
static void go_on(struct qh_wait_graph *graph)
{
    for (int i = 0; i < MAX_TAIL; i++) {
        const struct qh_wait_node *last =
            &graph->nodes[graph->chain[graph->chain_count - 1]];
        size_t next = last->edge_count == 1 && !last->cycle
                          ? graph->edges[last->first_edge].to
                          : SIZE_MAX;
        if (next == SIZE_MAX || is_in(graph->chain, graph->chain_count, next)) {
            return;
        }
        graph->chain[graph->chain_count++] = next;
    }
}

static struct qh_error *keep_chain(struct qh_wait_graph *graph,
                                   const struct search *search, size_t start,
                                   size_t end)
{
    size_t count = 1;

    for (size_t at = end; at != start; at = search->came_from[at] - 1) {
        count++;
    }
    graph->chain = qh_arena_alloc(&graph->arena,
                                  (count + MAX_TAIL) * sizeof(*graph->chain));
    if (!graph->chain) {
        return qh_error_no_memory();
    }
    graph->chain_count = count;
    for (size_t at = end; count; at = search->came_from[at] - 1) {
        graph->chain[--count] = at;
    }
    go_on(graph);
    return NULL;
}

static bool thread_node(const struct qh_wait_graph *graph, pid_t tid,
                        size_t *ret)
{
    for (size_t i = 0; i < graph->node_count; i++) {
        if (tid && graph->nodes[i].kind == QH_NODE_THREAD &&
            graph->nodes[i].tid == tid) {
            *ret = i;
            return true;
        }
    }
    return false;
}

/* Where the chain begins; false when there is nothing to tell. */
static bool find_start(const struct qh_wait_graph *graph,
                       const struct qh_snapshot *snapshot,
                       const struct qh_findings *findings, size_t *ret)
{
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        const struct qh_thread *thread = &snapshot->threads[i];
        if (thread->role == QH_ROLE_MAIN &&
            thread_node(graph, thread->tid, ret) &&
            graph->nodes[*ret].edge_count) {
            return true;
        }
    }
    return findings && findings->count &&
           (thread_node(graph, findings->items[0].waiter, ret) ||
            thread_node(graph, findings->items[0].tid, ret)) &&
           graph->nodes[*ret].edge_count;
}

struct qh_error *qh_graph_lay_chain(struct qh_wait_graph *graph,
                                    const struct qh_snapshot *snapshot,
                                    const struct qh_findings *findings)
{
    QH_CLEANUP(search_deinit) struct search search = { .graph = graph };
    size_t start, end;

    QH_TRY(find_roots(graph));
    if (!find_start(graph, snapshot, findings, &start)) {
        return NULL;
    }
    search.came_from = calloc(graph->node_count, sizeof(*search.came_from));
    search.queue = calloc(graph->node_count, sizeof(*search.queue));
    if (!search.came_from || !search.queue) {
        return qh_error_no_memory();
    }
    search_run(&search, start, true);
    end = best_end(&search);
    if (end == start && !graph->nodes[start].cycle) {
        search_run(&search, start, false);
        end = best_end(&search);
    }
    return keep_chain(graph, &search, start, end);
}
