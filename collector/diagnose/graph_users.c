/* The wait-for graph: sleepers and the graph lock, whose state is read apart.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/units.h"
#include "diagnose/graph_build.h"

/* --- sleepers --- */

const char qh_graph_timer_gone[] = "a timer that is gone";

const char *qh_graph_timer_name(struct qh_graph_builder *builder,
                                int64_t left_ns)
{
    if (left_ns == QH_TIME_UNKNOWN) {
        return "timer";
    }
    if (left_ns < 0) {
        return "timer, overdue";
    }
    return qh_arena_printf(&builder->graph->arena, "timer, fires in %s",
                           qh_duration(left_ns).text);
}

static const char *timer_name(struct qh_graph_builder *builder,
                              const struct qh_sleeper *sleeper)
{
    return sleeper->timer_linked
               ? qh_graph_timer_name(builder, sleeper->left_ns)
               : qh_graph_timer_gone;
}

/* block/qcow2.c, cache_clean_timer_co_locked_del_and_wait(): the cleaner's end
 * alone wakes those in its queue. */
static struct qh_error *add_cleaner(struct qh_graph_builder *builder,
                                    const struct qh_cache_cleaner *cleaner,
                                    size_t sleeper)
{
    size_t queue, waiter, thread;

    if (!cleaner->waiter_count) {
        return NULL;
    }
    QH_TRY(qh_graph_named(builder, QH_NODE_CO_QUEUE, cleaner->exit_queue.value,
                          "CoQueue cache_clean_timer_exit", &queue));
    QH_TRY(qh_graph_edge(builder, queue, sleeper, "woken by the end of",
                         QH_PROOF));
    for (size_t i = 0; i < cleaner->waiter_count; i++) {
        QH_TRY(qh_graph_node(builder, QH_NODE_COROUTINE,
                             cleaner->waiters[i].value, &waiter));
        QH_TRY(qh_graph_edge(builder, waiter, queue, "queues in", QH_PROOF));
    }
    if (!cleaner->waiter_tid) {
        return NULL;
    }
    QH_TRY(qh_graph_node(builder, QH_NODE_THREAD, (uint64_t)cleaner->waiter_tid,
                         &thread));
    if (builder->graph->nodes[thread].told) {
        return NULL; /* its own wait says more */
    }
    QH_TRY(qh_graph_node(builder, QH_NODE_COROUTINE, cleaner->waiters[0].value,
                         &waiter));
    return qh_graph_edge(builder, thread, waiter, "polls until the end of",
                         QH_PROOF);
}

static struct qh_error *add_sleeper(struct qh_graph_builder *builder,
                                    const struct qh_sleeper *sleeper)
{
    const struct qh_snapshot *snapshot = builder->snapshot;
    size_t node, timer;

    if (!qh_snapshot_coroutine(snapshot, sleeper->coroutine) ||
        qh_pair_find(&builder->scheduled, sleeper->coroutine.value, 0)) {
        return NULL;
    }
    QH_TRY(qh_graph_node(builder, QH_NODE_COROUTINE, sleeper->coroutine.value,
                         &node));
    QH_TRY(qh_graph_named(builder, QH_NODE_TIMER,
                          sleeper->wake.value ? sleeper->wake.value
                                              : sleeper->coroutine.value,
                          timer_name(builder, sleeper), &timer));
    QH_TRY(qh_graph_edge(builder, node, timer, "sleeps on", QH_PROOF));
    return sleeper->has_cleaner && !sleeper->cleaner.interval_s
               ? add_cleaner(builder, &sleeper->cleaner, node)
               : NULL;
}

/* --- the graph lock --- */

/* A lock held for writing: by the main thread, which alone takes it
 * (bdrv_graph_wrlock() is GLOBAL_STATE_CODE). */
static struct qh_error *add_graph_writer(struct qh_graph_builder *builder,
                                         size_t lock)
{
    const struct qh_graph_lock *graph = &builder->snapshot->graph;
    const struct qh_thread *thread = qh_graph_main(builder->snapshot);
    size_t writer, reader;

    for (size_t i = 0; i < graph->queue_count; i++) {
        QH_TRY(qh_graph_node(builder, QH_NODE_COROUTINE, graph->queue[i].value,
                             &reader));
        QH_TRY(qh_graph_edge(builder, reader, lock, "wants to read", QH_PROOF));
    }
    if (!thread) {
        return NULL;
    }
    QH_TRY(
        qh_graph_node(builder, QH_NODE_THREAD, (uint64_t)thread->tid, &writer));
    return qh_graph_edge(builder, lock, writer, "held for writing by",
                         QH_PROOF);
}

/* Readers are counted where they were let in, which is not who they are. */
static struct qh_error *add_graph_readers(struct qh_graph_builder *builder,
                                          size_t lock)
{
    const struct qh_snapshot *snapshot = builder->snapshot;
    size_t writer, node;

    QH_TRY(qh_graph_node(builder, QH_NODE_THREAD,
                         (uint64_t)snapshot->graph.writer_tid, &writer));
    QH_TRY(qh_graph_edge(builder, writer, lock, "wants to write", QH_PROOF));
    for (size_t i = 0; i < snapshot->context_count; i++) {
        const struct qh_context *context = &snapshot->contexts[i];
        if (context->graph_known && context->graph_readers > 0) {
            QH_TRY(qh_graph_context(builder, context, &node));
            QH_TRY(qh_graph_edge(builder, lock, node, "read in", QH_SUSPECT));
        }
    }
    return NULL;
}

static struct qh_error *add_graph_lock(struct qh_graph_builder *builder)
{
    const struct qh_graph_lock *graph = &builder->snapshot->graph;
    size_t lock;

    if (!graph->present || !graph->readable ||
        !(graph->has_writer == 1 || graph->writer_tid)) {
        return NULL;
    }
    QH_TRY(qh_graph_named(builder, QH_NODE_GRAPH_LOCK, 0, "graph lock", &lock));
    return graph->has_writer == 1 ? add_graph_writer(builder, lock)
                                  : add_graph_readers(builder, lock);
}

struct qh_error *qh_graph_add_users(struct qh_graph_builder *builder)
{
    const struct qh_snapshot *snapshot = builder->snapshot;

    for (size_t i = 0; i < snapshot->sleeper_count; i++) {
        QH_TRY(add_sleeper(builder, &snapshot->sleepers[i]));
    }
    return add_graph_lock(builder);
}
