/* The wait-for graph: what follows from contexts and coroutines.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A coroutine goes on in the home thread of its context (util/async.c,
 * aio_co_wake()), so one whose thread stands elsewhere waits for that thread,
 * whatever else it waits for. The I/O handler's context has no home: the main
 * loop serves it, and no nested poll does (util/main-loop.c).
 */
#include "diagnose/graph_build.h"

#include <inttypes.h>
#include <string.h>

/* --- contexts and their threads --- */

const struct qh_thread *qh_graph_main(const struct qh_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        if (snapshot->threads[i].role == QH_ROLE_MAIN) {
            return &snapshot->threads[i];
        }
    }
    return NULL;
}

static const struct qh_thread *server_of(const struct qh_snapshot *snapshot,
                                         const struct qh_context *context)
{
    if (!context->tid && context->name && !strcmp(context->name, "iohandler")) {
        return qh_graph_main(snapshot);
    }
    return qh_snapshot_thread(snapshot, context->tid);
}

static const struct qh_wait_node *
thread_node(const struct qh_graph_builder *builder, pid_t tid)
{
    size_t node = qh_pair_find(&builder->nodes, QH_NODE_THREAD, (uint64_t)tid);

    return node ? &builder->graph->nodes[node - 1] : NULL;
}

/* Whether the thread is asleep in the context's own poll, and not in a lock
 * that a callback of it takes. */
static bool is_at_poll(const struct qh_graph_builder *builder, pid_t tid)
{
    const struct qh_wait_node *node = thread_node(builder, tid);

    return tid && !(node && node->blocks);
}

/* Whether the thread that serves the context sleeps somewhere else, so that
 * nothing in it moves: it polls another one, or it waits for a lock. */
static bool stands_elsewhere(const struct qh_graph_builder *builder,
                             const struct qh_context *context,
                             const struct qh_thread *thread)
{
    const struct qh_wait_node *node = thread_node(builder, thread->tid);

    if (thread->state == QH_THREAD_RUNNABLE ||
        is_at_poll(builder, context->poller) ||
        (qh_raddr_equal(thread->polls, context->address) &&
         is_at_poll(builder, thread->tid))) {
        return false;
    }
    if (thread->state == QH_THREAD_IN_KERNEL) {
        return true;
    }
    return node && node->told ? !node->idle : thread->polls.value != 0;
}

struct qh_error *qh_graph_context(struct qh_graph_builder *builder,
                                  const struct qh_context *context, size_t *ret)
{
    return qh_graph_named(
        builder, QH_NODE_CONTEXT, context->address.value,
        qh_arena_printf(&builder->graph->arena, "AioContext of %s",
                        context->name && *context->name ? context->name
                                                        : "no thread"),
        ret);
}

/* From `waiter` to the thread that has to serve `context`, which is asleep
 * elsewhere; nothing when that one is at its place. */
static struct qh_error *wait_for_server(struct qh_graph_builder *builder,
                                        const struct qh_context *context,
                                        size_t waiter, const char *why)
{
    const struct qh_thread *thread = server_of(builder->snapshot, context);
    size_t node, server;

    if (!thread || !stands_elsewhere(builder, context, thread)) {
        return NULL;
    }
    QH_TRY(qh_graph_context(builder, context, &node));
    QH_TRY(
        qh_graph_node(builder, QH_NODE_THREAD, (uint64_t)thread->tid, &server));
    QH_TRY(qh_graph_edge(builder, waiter, node, why, QH_STRONG));
    return qh_graph_edge(builder, node, server, "served by", QH_PROOF);
}

struct qh_error *qh_graph_note_scheduled(struct qh_graph_builder *builder)
{
    const struct qh_snapshot *snapshot = builder->snapshot;

    for (size_t i = 0; i < snapshot->context_count; i++) {
        const struct qh_context *context = &snapshot->contexts[i];
        for (size_t j = 0; j < context->scheduled_count; j++) {
            size_t *slot =
                qh_pair_slot(&builder->graph->arena, &builder->scheduled,
                             context->scheduled[j].value, 0);
            if (!slot) {
                return qh_error_no_memory();
            }
            *slot = i + 1;
        }
    }
    return NULL;
}

/* A context that somebody waits for by name, a bottom half say. */
static struct qh_error *add_context(struct qh_graph_builder *builder,
                                    const struct qh_context *context)
{
    size_t node;

    if (!qh_pair_find(&builder->nodes, QH_NODE_CONTEXT,
                      context->address.value)) {
        return NULL;
    }
    const struct qh_thread *thread = server_of(builder->snapshot, context);
    QH_TRY(qh_graph_context(builder, context, &node));
    if (!thread || !stands_elsewhere(builder, context, thread)) {
        builder->graph->nodes[node].idle = true;
        return NULL;
    }
    size_t server;
    QH_TRY(
        qh_graph_node(builder, QH_NODE_THREAD, (uint64_t)thread->tid, &server));
    return qh_graph_edge(builder, node, server, "served by", QH_PROOF);
}

/* --- coroutines --- */

static struct qh_error *add_suspended(struct qh_graph_builder *builder,
                                      const struct qh_coroutine *coroutine)
{
    const struct qh_snapshot *snapshot = builder->snapshot;
    size_t scheduled =
        qh_pair_find(&builder->scheduled, coroutine->address.value, 0);
    const struct qh_context *context =
        scheduled ? &snapshot->contexts[scheduled - 1]
                  : qh_snapshot_context(snapshot, coroutine->context);
    const struct qh_thread *thread =
        context ? server_of(snapshot, context) : NULL;
    size_t node;

    if (!thread || !stands_elsewhere(builder, context, thread)) {
        return NULL;
    }
    QH_TRY(qh_graph_node(builder, QH_NODE_COROUTINE, coroutine->address.value,
                         &node));
    return wait_for_server(builder, context, node,
                           scheduled ? "scheduled in" : "goes on in");
}

static struct qh_error *add_running(struct qh_graph_builder *builder,
                                    const struct qh_coroutine *coroutine)
{
    size_t node, thread;

    if (!coroutine->tid ||
        !qh_snapshot_thread(builder->snapshot, coroutine->tid)) {
        return NULL;
    }
    QH_TRY(qh_graph_node(builder, QH_NODE_COROUTINE, coroutine->address.value,
                         &node));
    QH_TRY(qh_graph_node(builder, QH_NODE_THREAD, (uint64_t)coroutine->tid,
                         &thread));
    return qh_graph_edge(builder, node, thread, "runs in", QH_PROOF);
}

static struct qh_error *add_coroutine(struct qh_graph_builder *builder,
                                      const struct qh_coroutine *coroutine)
{
    switch (coroutine->state) {
    case QH_CO_SUSPENDED:
        return add_suspended(builder, coroutine);
    case QH_CO_CREATED: /* one of no context waits for nobody */
        return qh_pair_find(&builder->scheduled, coroutine->address.value, 0)
                   ? add_suspended(builder, coroutine)
                   : NULL;
    case QH_CO_RUNNING:
    case QH_CO_ENTERED:
        return add_running(builder, coroutine);
    case QH_CO_POOLED:
        break;
    }
    return NULL;
}

/* The QMP command in progress runs in the main thread, whose coroutine waits
 * for its end (qapi/qmp-dispatch.c, do_qmp_dispatch_bh()). */
static struct qh_error *add_command(struct qh_graph_builder *builder)
{
    const struct qh_snapshot *snapshot = builder->snapshot;
    const struct qh_thread *thread = qh_graph_main(snapshot);
    size_t node, server;

    if (!snapshot->qmp_command || !snapshot->qmp_coroutine.value || !thread ||
        !qh_backtrace_has(&thread->stack, "do_qmp_dispatch_bh")) {
        return NULL;
    }
    QH_TRY(qh_graph_named(
        builder, QH_NODE_COROUTINE, snapshot->qmp_coroutine.value,
        qh_arena_printf(&builder->graph->arena,
                        "coroutine 0x%" PRIx64 " of QMP %s",
                        snapshot->qmp_coroutine.value, snapshot->qmp_command),
        &node));
    QH_TRY(
        qh_graph_node(builder, QH_NODE_THREAD, (uint64_t)thread->tid, &server));
    return qh_graph_edge(builder, node, server, "its command runs in",
                         QH_STRONG);
}

struct qh_error *qh_graph_add_facts(struct qh_graph_builder *builder)
{
    const struct qh_snapshot *snapshot = builder->snapshot;

    QH_TRY(add_command(builder));
    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        QH_TRY(add_coroutine(builder, &snapshot->coroutines[i]));
    }
    for (size_t i = 0; i < snapshot->context_count; i++) {
        QH_TRY(add_context(builder, &snapshot->contexts[i]));
    }
    return NULL;
}
