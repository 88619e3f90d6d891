/* The wait-for graph in the making; private to diagnose/.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Nodes and edges are added in any order, each once however often it is told;
 * then the edges are ordered, cycles found, and the chain laid.
 */
#ifndef QH_GRAPH_BUILD_H
#define QH_GRAPH_BUILD_H

#include "diagnose/graph.h"

/* From two numbers to an index: open addressing, in the graph's arena. */
struct qh_pair_map {
    struct qh_pair_slot {
        uint64_t a, b;
        size_t value; /* index + 1; 0: free */
    } * slots;
    size_t count, capacity;
};

struct qh_graph_builder {
    const struct qh_snapshot *snapshot;
    struct qh_wait_graph *graph;
    struct qh_pair_map nodes, edges;
    /* Coroutines that were woken and wait for their turn, each with 1 + the
     * index of the context that they are scheduled in. */
    struct qh_pair_map scheduled;
};

/* The value for (a, b), or 0. */
size_t qh_pair_find(const struct qh_pair_map *map, uint64_t a, uint64_t b);
/* Finds or adds the slot of (a, b): its value is 0 when it is new, and then
 * for the caller to set. NULL when memory is short. */
size_t *qh_pair_slot(struct qh_arena *arena, struct qh_pair_map *map,
                     uint64_t a, uint64_t b);

/* Finds or adds a node: a thread by its tid, anything else by its address. A
 * node that is new has no name yet, but for threads and coroutines. */
struct qh_error *qh_graph_node(struct qh_graph_builder *builder,
                               enum qh_node_kind kind, uint64_t key,
                               size_t *ret) QH_MUST_CHECK;
/* The same with a name for one that has none; NULL stands for a printf that
 * found no memory. */
struct qh_error *qh_graph_named(struct qh_graph_builder *builder,
                                enum qh_node_kind kind, uint64_t key,
                                const char *name, size_t *ret) QH_MUST_CHECK;
/* Adds an edge, unless there is one between the two. */
struct qh_error *qh_graph_edge(struct qh_graph_builder *builder, size_t from,
                               size_t to, const char *why,
                               enum qh_certainty certainty) QH_MUST_CHECK;

/* "timer, fires in 12 s"; without the time where it is QH_TIME_UNKNOWN. NULL
 * when memory is short. */
const char *qh_graph_timer_name(struct qh_graph_builder *builder,
                                int64_t left_ns);
/* What a timer that is on no list is called. */
extern const char qh_graph_timer_gone[];

/* The main thread, or NULL. */
const struct qh_thread *qh_graph_main(const struct qh_snapshot *snapshot);
/* The node of a context. */
struct qh_error *qh_graph_context(struct qh_graph_builder *builder,
                                  const struct qh_context *context,
                                  size_t *ret) QH_MUST_CHECK;

/* Fills in the scheduled coroutines; before the others (graph_facts.c). */
struct qh_error *
qh_graph_note_scheduled(struct qh_graph_builder *builder) QH_MUST_CHECK;
/* What the waits of the snapshot say (graph_waits.c). */
struct qh_error *
qh_graph_add_waits(struct qh_graph_builder *builder) QH_MUST_CHECK;
/* What sleepers and the graph lock say (graph_users.c). */
struct qh_error *
qh_graph_add_users(struct qh_graph_builder *builder) QH_MUST_CHECK;
/* What follows from contexts and coroutines (graph_facts.c). */
struct qh_error *
qh_graph_add_facts(struct qh_graph_builder *builder) QH_MUST_CHECK;
/* Fills in the cycles, on ordered edges (graph_cycle.c). */
struct qh_error *
qh_graph_find_cycles(struct qh_wait_graph *graph) QH_MUST_CHECK;
/* Fills in roots and chain, after the cycles (graph_chain.c). */
struct qh_error *
qh_graph_lay_chain(struct qh_wait_graph *graph,
                   const struct qh_snapshot *snapshot,
                   const struct qh_findings *findings) QH_MUST_CHECK;

#endif
