/* The wait-for graph: who waits for whom, and why. Pure, as the rules are.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Threads and coroutines act; locks, queues, contexts, drained sections, jobs
 * and requests stand between them. An edge leads from what waits to what it
 * waits for: a thread to its mutex, the mutex to the thread that holds it.
 *
 * Each edge has a certainty, which says what ending the wait takes:
 *   proof    the one at its end, and nobody else: a lock's holder, a thread to
 *            be joined, a request to be drained;
 *   strong   the same as far as QEMU's own code goes: a coroutine goes on in
 *            the home thread of its context;
 *   suspect  it may end it, and so may others: a condition, a queue, a timer.
 * Of several edges that leave a node and are more than suspect, each alone
 * holds it up: so a circle of such edges never ends. Only those count as
 * cycles.
 *
 * All of it is linear in what the snapshot holds, and without recursion.
 */
#ifndef QH_WAIT_GRAPH_H
#define QH_WAIT_GRAPH_H

#include "diagnose/diagnose.h"

/* X(constant, name in JSON) */
#define QH_NODE_KINDS(X)                                                       \
    X(QH_NODE_THREAD, "thread")                                                \
    X(QH_NODE_COROUTINE, "coroutine")                                          \
    X(QH_NODE_MUTEX, "mutex")                                                  \
    X(QH_NODE_BQL, "bql")                                                      \
    X(QH_NODE_CO_MUTEX, "co-mutex")                                            \
    X(QH_NODE_CO_QUEUE, "co-queue")                                            \
    X(QH_NODE_CO_RWLOCK, "co-rwlock")                                          \
    X(QH_NODE_GRAPH_LOCK, "graph-lock")                                        \
    X(QH_NODE_CONTEXT, "context") /* an AioContext that has to be served */    \
    X(QH_NODE_POLL, "poll")       /* one AIO_WAIT_WHILE() */                   \
    X(QH_NODE_DRAIN, "drain")     /* a drained section */                      \
    X(QH_NODE_JOB, "job")                                                      \
    X(QH_NODE_REQUEST,                                                         \
      "request") /* in flight: a driver, a peer, a throttle */                 \
    X(QH_NODE_TIMER, "timer")                                                  \
    X(QH_NODE_CONDITION, "condition") /* a QemuCond, a QemuEvent, RCU */

#define QH_ENUMERATOR(constant, name) constant,
enum qh_node_kind { QH_NODE_KINDS(QH_ENUMERATOR) };
#undef QH_ENUMERATOR

const char *qh_node_kind_name(enum qh_node_kind kind);

struct qh_wait_node {
    enum qh_node_kind kind;
    pid_t tid;            /* of a thread, else 0 */
    struct raddr address; /* of anything else that has one, else 0 */
    const char *name;     /* "main thread 19795", "node q0"; raw bytes */
    bool told;            /* it is known what it waits for, if for anything */
    bool idle;   /* a thread in a loop with nothing to do, a context served */
    bool blocks; /* a thread asleep in a lock or the like, in no poll */
    size_t finding;    /* 1 + index of a finding that is about it, or 0 */
    size_t cycle;      /* 1 + index of the cycle it is part of, or 0 */
    size_t first_edge; /* its edges stand side by side */
    size_t edge_count;
    size_t waiter_count; /* edges that lead to it */
};

struct qh_wait_edge {
    size_t from, to; /* indices of nodes */
    const char *why; /* "held by", as in "mutex, held by thread 7"; static */
    enum qh_certainty certainty;
};

/* In order: each waits for the next one, the last for the first. */
struct qh_wait_cycle {
    size_t *nodes;
    size_t count;
    enum qh_certainty certainty; /* of its weakest edge */
};

struct qh_wait_graph {
    struct qh_arena arena;
    /* All threads, and of everything else what waits or is waited for. */
    struct qh_wait_node *nodes;
    size_t node_count;
    struct qh_wait_edge *edges;
    size_t edge_count;
    struct qh_wait_cycle *cycles;
    size_t cycle_count;
    /* The culprits: others wait for them, they themselves for nobody. */
    size_t *roots;
    size_t root_count;
    /* From the main thread down to the culprit that it stands behind; from
     * whom the first finding has waiting when the main thread waits for
     * nobody; empty when that one does not either. */
    size_t *chain;
    size_t chain_count;

    struct {
        size_t nodes, edges, cycles, roots, chain;
    } room;
};

/* `findings` may be NULL: then nodes are not marked with theirs. The graph
 * refers to the snapshot's strings. */
struct qh_error *qh_wait_graph_build(const struct qh_snapshot *snapshot,
                                     const struct qh_findings *findings,
                                     struct qh_wait_graph **ret) QH_MUST_CHECK;
void qh_wait_graph_destroy(struct qh_wait_graph *graph); /* NULL is fine */
void qh_wait_graph_guard(struct qh_wait_graph **graph);

/*
 * Chooses what to draw: of the nodes that have edges the chain, cycles and
 * findings first, then threads, then locks that several want and who wants
 * them, `max` at most. A coroutine that waits for nobody else, but for a timer
 * of its own, is left out. `ret_chosen` is an array of node_count, of which
 * `*ret_count` become true.
 */
struct qh_error *qh_wait_graph_choose(const struct qh_wait_graph *graph,
                                      size_t max, bool *ret_chosen,
                                      size_t *ret_count) QH_MUST_CHECK;
/* How many nodes have edges, so that they could be chosen. */
size_t qh_wait_graph_size(const struct qh_wait_graph *graph);
/* The edge from one node to another, or NULL. */
const struct qh_wait_edge *qh_wait_graph_edge(const struct qh_wait_graph *graph,
                                              size_t from, size_t to);

#endif
