/* Circles that QEMU's history knows, told by who takes part in them.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Sources: QEMU's commits, as docs/rules/lock.cycle.md has them. */
#include "diagnose/cycle_known.h"

#include <string.h>

/* What a circle has to have: a node of each kind, and a function with that
 * name, or that begins so, on the stack of one that acts in it. */
struct shape {
    enum qh_node_kind kinds[2];
    const char *function; /* NULL: any */
    struct qh_known_cycle known;
};

#define FIXED(list) .fixed_in = (list), .fixed_in_count = QH_COUNT(list)

static const char *const fixed_5_0[] = { "5.0" };
static const char *const fixed_8_2[] = { "8.2" };
static const char *const fixed_10_1[] = { "10.1" };

/* The first that fits; so what is more particular comes first. */
static const struct shape shapes[] = {
    { { QH_NODE_CO_QUEUE, QH_NODE_COROUTINE },
      "mirror_wait_",
      { "mirror.waiting-requests", "deadlock of mirror's own requests",
        FIXED(fixed_5_0) } },
    { { QH_NODE_MUTEX, QH_NODE_THREAD },
      "aio_context_acquire",
      { "aio-context.lock", "deadlock: a context's lock is held in a poll",
        FIXED(fixed_8_2) } },
    { { QH_NODE_DRAIN, QH_NODE_GRAPH_LOCK },
      NULL,
      { "graph-lock.drain", "deadlock: a drain under the graph lock",
        FIXED(fixed_10_1) } },
    { { QH_NODE_BQL, QH_NODE_DRAIN },
      NULL,
      { "bql.poll", "deadlock: the BQL is held in a drain", NULL, 0 } },
    { { QH_NODE_BQL, QH_NODE_POLL },
      NULL,
      { "bql.poll", "deadlock: the BQL is held in a poll", NULL, 0 } },
};

static bool has_kind(const struct qh_wait_graph *graph,
                     const struct qh_wait_cycle *cycle, enum qh_node_kind kind)
{
    for (size_t i = 0; i < cycle->count; i++) {
        if (graph->nodes[cycle->nodes[i]].kind == kind) {
            return true;
        }
    }
    return false;
}

static const struct qh_backtrace *stack_of(const struct qh_snapshot *snapshot,
                                           const struct qh_wait_node *node)
{
    if (node->kind == QH_NODE_THREAD) {
        const struct qh_thread *thread =
            qh_snapshot_thread(snapshot, node->tid);
        return thread ? &thread->stack : NULL;
    }
    if (node->kind == QH_NODE_COROUTINE) {
        const struct qh_coroutine *coroutine =
            qh_snapshot_coroutine(snapshot, node->address);
        return coroutine ? &coroutine->stack : NULL;
    }
    return NULL;
}

static bool begins_with(const char *name, const char *start)
{
    return name && !strncmp(name, start, strlen(start));
}

static bool has_function(const struct qh_snapshot *snapshot,
                         const struct qh_wait_graph *graph,
                         const struct qh_wait_cycle *cycle,
                         const char *function)
{
    for (size_t i = 0; i < cycle->count; i++) {
        const struct qh_backtrace *stack =
            stack_of(snapshot, &graph->nodes[cycle->nodes[i]]);
        for (size_t j = 0; stack && j < stack->count; j++) {
            if (begins_with(stack->frames[j].function, function)) {
                return true;
            }
        }
    }
    return false;
}

const struct qh_known_cycle *qh_cycle_known(const struct qh_snapshot *snapshot,
                                            const struct qh_wait_graph *graph,
                                            const struct qh_wait_cycle *cycle)
{
    for (size_t i = 0; i < QH_COUNT(shapes); i++) {
        const struct shape *shape = &shapes[i];
        if (has_kind(graph, cycle, shape->kinds[0]) &&
            has_kind(graph, cycle, shape->kinds[1]) &&
            (!shape->function ||
             has_function(snapshot, graph, cycle, shape->function))) {
            return &shape->known;
        }
    }
    return NULL;
}
