/* The wait-for graph: what each wait of the snapshot means.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A wait becomes two edges: from the waiter to the object, and from there to
 * whose work ends it. How sure the second is depends on the kind: a lock's
 * holder alone can give it back, but a condition may be met by anybody.
 */
#include "diagnose/graph_build.h"

#include <inttypes.h>
#include <string.h>

struct wait_words {
    enum qh_node_kind object;
    const char *waits; /* "X waits for OBJECT": why of the first edge */
    const char *ends;  /* "OBJECT, held by Y": why of the second */
    enum qh_certainty certainty; /* of the second */
};

static const struct wait_words words[] = {
    [QH_WAIT_SLEEP] = { QH_NODE_TIMER, "sleeps on", "woken by", QH_SUSPECT },
    [QH_WAIT_CO_MUTEX] = { QH_NODE_CO_MUTEX, "waits for", "held by", QH_PROOF },
    [QH_WAIT_CO_QUEUE] = { QH_NODE_CO_QUEUE, "queues in", "woken by the end of",
                           QH_STRONG },
    [QH_WAIT_CO_RWLOCK] = { QH_NODE_CO_RWLOCK, "waits for", "held by",
                            QH_PROOF },
    [QH_WAIT_GRAPH_READ] = { QH_NODE_GRAPH_LOCK, "wants to read",
                             "held for writing by", QH_PROOF },
    [QH_WAIT_FD] = { QH_NODE_REQUEST, "waits for data", "sent by", QH_SUSPECT },
    [QH_WAIT_TIMER] = { QH_NODE_TIMER, "waits for", "served by", QH_SUSPECT },
    [QH_WAIT_BH] = { QH_NODE_CONTEXT, "waits for a bottom half in", "run by",
                     QH_STRONG },
    [QH_WAIT_AIO] = { QH_NODE_REQUEST, "waits for", "done by", QH_SUSPECT },
    [QH_WAIT_JOB_PAUSE] = { QH_NODE_JOB, "paused in", "resumed by",
                            QH_SUSPECT },
    [QH_WAIT_NBD] = { QH_NODE_REQUEST, "waits for", "answered by", QH_SUSPECT },
    [QH_WAIT_THROTTLE] = { QH_NODE_REQUEST, "throttled in", "let go by",
                           QH_SUSPECT },
    [QH_WAIT_DRAIN] = { QH_NODE_DRAIN, "waits for", "kept busy by", QH_PROOF },
    [QH_WAIT_GRAPH_WRITE] = { QH_NODE_GRAPH_LOCK, "wants to write", "read by",
                              QH_PROOF },
    [QH_WAIT_POLL] = { QH_NODE_POLL, "polls in", "until the end of", QH_PROOF },
    [QH_WAIT_MUTEX] = { QH_NODE_MUTEX, "waits for", "held by", QH_PROOF },
    [QH_WAIT_BQL] = { QH_NODE_BQL, "waits for", "held by", QH_PROOF },
    [QH_WAIT_COND] = { QH_NODE_CONDITION, "waits for", "signalled by",
                       QH_SUSPECT },
    [QH_WAIT_EVENT] = { QH_NODE_CONDITION, "waits for", "set by", QH_SUSPECT },
    [QH_WAIT_RCU] = { QH_NODE_CONDITION, "waits for readers of", "read by",
                      QH_STRONG },
    /* No object of its own. */
    [QH_WAIT_EVENTS] = { QH_NODE_THREAD },
    [QH_WAIT_JOIN] = { QH_NODE_THREAD, "joins", "joins", QH_PROOF },
    [QH_WAIT_KERNEL] = { QH_NODE_THREAD, "waits for", "waits for", QH_SUSPECT },
    [QH_WAIT_UNKNOWN] = { QH_NODE_THREAD, "waits for", "waits for",
                          QH_SUSPECT },
};

/* "mutex 0x55…", "drain of q0"; the object of the wait for a reader. */
static const char *object_name(struct qh_graph_builder *builder,
                               const struct qh_wait *wait)
{
    static const char *const texts[] = {
        [QH_NODE_MUTEX] = "mutex",         [QH_NODE_BQL] = "BQL",
        [QH_NODE_CO_MUTEX] = "CoMutex",    [QH_NODE_CO_QUEUE] = "CoQueue",
        [QH_NODE_CO_RWLOCK] = "CoRwlock",  [QH_NODE_GRAPH_LOCK] = "graph lock",
        [QH_NODE_CONTEXT] = "AioContext",  [QH_NODE_POLL] = "AIO_WAIT_WHILE",
        [QH_NODE_DRAIN] = "drain of",      [QH_NODE_JOB] = "job",
        [QH_NODE_REQUEST] = "request",     [QH_NODE_TIMER] = "timer",
        [QH_NODE_CONDITION] = "condition",
    };
    struct qh_arena *arena = &builder->graph->arena;
    enum qh_node_kind kind = words[wait->kind].object;
    bool in_function = kind == QH_NODE_REQUEST || kind == QH_NODE_POLL;
    const char *text = texts[kind];

    if (kind == QH_NODE_BQL || kind == QH_NODE_GRAPH_LOCK) {
        return text;
    }
    if (wait->kind == QH_WAIT_RCU) {
        return "RCU grace period";
    }
    if (kind == QH_NODE_DRAIN && wait->function &&
        !strcmp(wait->function, "bdrv_drain_all_begin")) {
        return "drain of all nodes";
    }
    if (in_function) {
        text = wait->function ? wait->function : qh_wait_kind_name(wait->kind);
    }
    if (wait->object_name) {
        return qh_arena_printf(arena, in_function ? "%s (%s)" : "%s %s", text,
                               wait->object_name);
    }
    return wait->object.value && !in_function
               ? qh_arena_printf(arena, "%s 0x%" PRIx64, text,
                                 wait->object.value)
               : text;
}

/* Locks of which there is one have one node; what has no address is told apart
 * by who waits. */
static uint64_t object_key(const struct qh_wait *wait)
{
    enum qh_node_kind kind = words[wait->kind].object;

    if (kind == QH_NODE_BQL || kind == QH_NODE_GRAPH_LOCK ||
        wait->kind == QH_WAIT_RCU) {
        return 0;
    }
    if (wait->object.value) {
        return wait->object.value;
    }
    return wait->tid ? (uint64_t)wait->tid : wait->coroutine.value;
}

/* A coroutine that drains has a bottom half do it in the main context. Its
 * thread has to come there, and does when it polls that: so the wait is for the
 * context (graph_facts.c goes on from there). */
static struct qh_error *add_owner_context(struct qh_graph_builder *builder,
                                          const struct qh_wait *wait,
                                          size_t from)
{
    const struct qh_thread *owner =
        qh_snapshot_thread(builder->snapshot, wait->owner_tid);
    size_t context;

    if (!owner || !qh_snapshot_context(builder->snapshot, owner->home)) {
        return NULL;
    }
    QH_TRY(
        qh_graph_node(builder, QH_NODE_CONTEXT, owner->home.value, &context));
    return from == context
               ? NULL
               : qh_graph_edge(builder, from, context, "served in", QH_STRONG);
}

static struct qh_error *add_owners(struct qh_graph_builder *builder,
                                   const struct qh_wait *wait, size_t from)
{
    const struct wait_words *word = &words[wait->kind];
    size_t owner;

    if (wait->kind == QH_WAIT_BH) {
        return NULL; /* by its context, or the command that it is of */
    }
    if (wait->owner_tid && !wait->tid && wait->kind == QH_WAIT_DRAIN) {
        QH_TRY(add_owner_context(builder, wait, from));
    } else if (wait->owner_tid) {
        QH_TRY(qh_graph_node(builder, QH_NODE_THREAD, (uint64_t)wait->owner_tid,
                             &owner));
        QH_TRY(
            qh_graph_edge(builder, from, owner, word->ends, word->certainty));
    }
    if (wait->owner_coroutine.value) {
        QH_TRY(qh_graph_node(builder, QH_NODE_COROUTINE,
                             wait->owner_coroutine.value, &owner));
        QH_TRY(
            qh_graph_edge(builder, from, owner, word->ends, word->certainty));
    }
    return NULL;
}

/* What is left of the timer that ends it; one on no list never fires. */
static const char *ending_name(struct qh_graph_builder *builder,
                               struct raddr address)
{
    const struct qh_snapshot *snapshot = builder->snapshot;

    for (size_t i = 0; i < snapshot->timer_count; i++) {
        const struct qh_timer *timer = &snapshot->timers[i];
        if (qh_raddr_equal(timer->address, address)) {
            int64_t left_ns =
                qh_snapshot_left_ns(snapshot, timer->clock, timer->expire_ns);
            return qh_graph_timer_name(builder, left_ns);
        }
    }
    return qh_graph_timer_gone;
}

static struct qh_error *add_ending(struct qh_graph_builder *builder,
                                   const struct qh_wait *wait, size_t from)
{
    size_t timer;

    if (!wait->timer.value) {
        return NULL;
    }
    /* Many wait for one timer: it is looked for once. */
    bool known =
        qh_pair_find(&builder->nodes, QH_NODE_TIMER, wait->timer.value);
    QH_TRY(qh_graph_node(builder, QH_NODE_TIMER, wait->timer.value, &timer));
    if (!known) {
        QH_TRY(qh_graph_named(builder, QH_NODE_TIMER, wait->timer.value,
                              ending_name(builder, wait->timer), &timer));
    }
    return qh_graph_edge(builder, from, timer, "let go by", QH_SUSPECT);
}

/* A bottom half has its context for a node, where the reader told that. */
static bool has_object(const struct qh_graph_builder *builder,
                       const struct qh_wait *wait)
{
    if (words[wait->kind].object == QH_NODE_THREAD) {
        return false;
    }
    if (wait->kind == QH_WAIT_BH) {
        return qh_snapshot_context(builder->snapshot, wait->object) != NULL;
    }
    return true;
}

/* Whether a thread that waits so serves no context meanwhile. */
static bool is_blocking(enum qh_wait_kind kind)
{
    switch (kind) {
    case QH_WAIT_MUTEX:
    case QH_WAIT_BQL:
    case QH_WAIT_COND:
    case QH_WAIT_EVENT:
    case QH_WAIT_JOIN:
    case QH_WAIT_RCU:
    case QH_WAIT_KERNEL:
        return true;
    default:
        return false;
    }
}

static struct qh_error *add_wait(struct qh_graph_builder *builder,
                                 const struct qh_wait *wait)
{
    size_t waiter, object;

    QH_TRY(wait->tid ? qh_graph_node(builder, QH_NODE_THREAD,
                                     (uint64_t)wait->tid, &waiter)
                     : qh_graph_node(builder, QH_NODE_COROUTINE,
                                     wait->coroutine.value, &waiter));
    builder->graph->nodes[waiter].told = wait->kind != QH_WAIT_UNKNOWN;
    builder->graph->nodes[waiter].idle = wait->kind == QH_WAIT_EVENTS;
    builder->graph->nodes[waiter].blocks = wait->tid && is_blocking(wait->kind);
    if (!has_object(builder, wait)) {
        return add_owners(builder, wait, waiter);
    }
    QH_TRY(qh_graph_named(builder, words[wait->kind].object, object_key(wait),
                          object_name(builder, wait), &object));
    QH_TRY(qh_graph_edge(builder, waiter, object, words[wait->kind].waits,
                         QH_PROOF));
    QH_TRY(add_ending(builder, wait, object));
    return add_owners(builder, wait, object);
}

/* Whoever was woken waits for its turn and no longer for what is told. */
struct qh_error *qh_graph_add_waits(struct qh_graph_builder *builder)
{
    const struct qh_snapshot *snapshot = builder->snapshot;

    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_wait *wait = &snapshot->waits[i];
        if (wait->tid ||
            (wait->coroutine.value &&
             !qh_pair_find(&builder->scheduled, wait->coroutine.value, 0))) {
            QH_TRY(add_wait(builder, wait));
        }
    }
    return NULL;
}
