/* The wait-for graph: cycles, by Tarjan's algorithm with a stack of its own.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * R. Tarjan, "Depth-first search and linear graph algorithms", 1972. Only
 * edges that are more than suspect count. In each strongly connected component
 * one simple cycle is told: from its first node, along the first edge that
 * stays inside, until a node comes again.
 */
#include "diagnose/graph_build.h"

enum { UNSEEN = 0 };

struct visit {
    size_t node;
    size_t next; /* its edge to look at next, counted from its first */
};

struct tarjan {
    struct qh_wait_graph *graph;
    size_t *index;     /* order of discovery, from 1; UNSEEN */
    size_t *low;       /* the earliest node that it leads back to */
    size_t *stack;     /* seen, and in no component yet */
    size_t *component; /* 1 + number of the component, or 0: on the stack */
    struct visit *path;
    size_t *place; /* in the walk along a component: 1 + position, or 0 */
    size_t *walk;
    size_t seen, stacked, depth, components;
};

static bool counts(const struct qh_wait_edge *edge)
{
    return edge->certainty > QH_SUSPECT;
}

static void enter(struct tarjan *t, size_t node)
{
    t->index[node] = t->low[node] = ++t->seen;
    t->stack[t->stacked++] = node;
    t->path[t->depth++] = (struct visit){ .node = node };
}

/* One more edge of the node on top; false when it has no more. */
static bool advance(struct tarjan *t)
{
    struct visit *top = &t->path[t->depth - 1];
    const struct qh_wait_node *node = &t->graph->nodes[top->node];

    if (top->next == node->edge_count) {
        return false;
    }
    const struct qh_wait_edge *edge =
        &t->graph->edges[node->first_edge + top->next++];
    if (!counts(edge)) {
        return true;
    }
    if (t->index[edge->to] == UNSEEN) {
        enter(t, edge->to);
    } else if (!t->component[edge->to] &&
               t->index[edge->to] < t->low[top->node]) {
        t->low[top->node] = t->index[edge->to];
    }
    return true;
}

/* The edge by which the walk goes on within the component. */
static const struct qh_wait_edge *inner_edge(const struct tarjan *t,
                                             size_t from)
{
    const struct qh_wait_node *node = &t->graph->nodes[from];

    for (size_t i = 0; i < node->edge_count; i++) {
        const struct qh_wait_edge *edge =
            &t->graph->edges[node->first_edge + i];
        if (counts(edge) && t->component[edge->to] == t->component[from]) {
            return edge;
        }
    }
    return NULL;
}

static struct qh_error *add_cycle(struct tarjan *t, const size_t *nodes,
                                  size_t count)
{
    struct qh_wait_graph *graph = t->graph;
    size_t *copy = qh_arena_alloc(&graph->arena, count * sizeof(*copy));
    struct qh_wait_cycle *cycle =
        copy ? qh_list_add(&graph->arena, &graph->cycles, &graph->cycle_count,
                           &graph->room.cycles, sizeof(*cycle))
             : NULL;

    if (!cycle) {
        return qh_error_no_memory();
    }
    *cycle = (struct qh_wait_cycle){ copy, count, QH_PROOF };
    for (size_t i = 0; i < count; i++) {
        const struct qh_wait_edge *edge = inner_edge(t, nodes[i]);
        copy[i] = nodes[i];
        graph->nodes[nodes[i]].cycle = graph->cycle_count;
        if (edge->certainty < cycle->certainty) {
            cycle->certainty = edge->certainty;
        }
    }
    return NULL;
}

/* Walks from a node of a component until one comes again: that is a cycle. A
 * component of one node has one only if that waits for itself. */
static struct qh_error *tell_cycle(struct tarjan *t, size_t from)
{
    const struct qh_wait_edge *edge;
    size_t count = 0, at = from;

    while (!t->place[at]) {
        edge = inner_edge(t, at);
        if (!edge) {
            return NULL;
        }
        t->walk[count++] = at;
        t->place[at] = count;
        at = edge->to;
    }
    return add_cycle(t, &t->walk[t->place[at] - 1], count - (t->place[at] - 1));
}

/* The node on top is done: closes its component, if it is the first of one. */
static struct qh_error *leave(struct tarjan *t)
{
    size_t node = t->path[--t->depth].node;
    size_t member, first = node;

    if (t->low[node] == t->index[node]) {
        t->components++;
        do {
            member = t->stack[--t->stacked];
            t->component[member] = t->components;
            first = member < first ? member : first;
        } while (member != node);
        QH_TRY(tell_cycle(t, first));
    }
    if (t->depth) {
        size_t caller = t->path[t->depth - 1].node;
        if (t->low[node] < t->low[caller]) {
            t->low[caller] = t->low[node];
        }
    }
    return NULL;
}

static void tarjan_deinit(struct tarjan *t)
{
    free(t->index);
    free(t->low);
    free(t->stack);
    free(t->component);
    free(t->path);
    free(t->place);
    free(t->walk);
}

static struct qh_error *tarjan_init(struct tarjan *t)
{
    size_t count = t->graph->node_count + 1;

    t->index = calloc(count, sizeof(*t->index));
    t->low = calloc(count, sizeof(*t->low));
    t->stack = calloc(count, sizeof(*t->stack));
    t->component = calloc(count, sizeof(*t->component));
    t->path = calloc(count, sizeof(*t->path));
    t->place = calloc(count, sizeof(*t->place));
    t->walk = calloc(count, sizeof(*t->walk));
    return t->index && t->low && t->stack && t->component && t->path &&
                   t->place && t->walk
               ? NULL
               : qh_error_no_memory();
}

struct qh_error *qh_graph_find_cycles(struct qh_wait_graph *graph)
{
    QH_CLEANUP(tarjan_deinit) struct tarjan t = { .graph = graph };

    QH_TRY(tarjan_init(&t));
    for (size_t i = 0; i < graph->node_count; i++) {
        if (t.index[i] != UNSEEN) {
            continue;
        }
        enter(&t, i);
        while (t.depth) {
            if (!advance(&t)) {
                QH_TRY(leave(&t));
            }
        }
    }
    return NULL;
}
