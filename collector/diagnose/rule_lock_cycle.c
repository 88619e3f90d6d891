/* lock.cycle: a circle of threads and coroutines, each waiting for the next.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The wait-for graph's cycles are made of edges that only their ends can end:
 * a lock's holder, a thread to be joined, a request to be drained. Whoever is
 * part of one never goes on, nor does whoever waits for them. It is none when
 * a thread of it is about to go on (a), or somebody is just giving a lock back
 * or waking a coroutine (b). One that waits for its own lock is
 * lock.owner-gone.
 */
#include "diagnose/cycle_known.h"
#include "diagnose/quiet.h"
#include "diagnose/rules.h"

#include <inttypes.h>

/* Of cycles, and of the participants in one; the graph has them all. */
enum { MAX_CYCLES = 20, MAX_TOLD = 12 };

struct cycle_view {
    const struct qh_snapshot *snapshot;
    const struct qh_wait_graph *graph;
    const struct qh_wait_cycle *cycle;
};

static const struct qh_wait_node *node_at(const struct cycle_view *view,
                                          size_t place)
{
    return &view->graph->nodes[view->cycle->nodes[place % view->cycle->count]];
}

static bool acts(const struct qh_wait_node *node)
{
    return node->kind == QH_NODE_THREAD || node->kind == QH_NODE_COROUTINE;
}

static size_t count_kind(const struct cycle_view *view, enum qh_node_kind kind)
{
    size_t count = 0;

    for (size_t i = 0; i < view->cycle->count; i++) {
        count += node_at(view, i)->kind == kind;
    }
    return count;
}

/* (b), which is the same for every cycle. */
static enum qh_quiet endings_quiet(const struct qh_snapshot *snapshot)
{
    /* Between giving back, or waking, and that being seen. */
    static const char *const ending[] = {
        "qemu_mutex_unlock_impl",
        "qemu_rec_mutex_unlock_impl",
        "pthread_mutex_unlock",
        "__pthread_mutex_unlock",
        "___pthread_mutex_unlock",
        "bql_unlock",
        "qemu_mutex_unlock_iothread",
        "qemu_co_mutex_unlock",
        "qemu_co_rwlock_unlock",
        "qemu_co_rwlock_downgrade",
        "bdrv_graph_wrunlock",
        "bdrv_graph_co_rdunlock",
        "qemu_co_queue_next",
        "qemu_co_enter_next_impl",
        "qemu_co_queue_restart_all",
        "aio_co_wake",
        "aio_co_schedule",
        "aio_wait_kick",
        "aio_notify",
    };

    return qh_quiet_functions(snapshot, ending, QH_COUNT(ending));
}

/* (a): whether each thread of it is asleep. */
static enum qh_quiet threads_quiet(const struct cycle_view *view)
{
    enum qh_quiet quiet = QH_QUIET;

    for (size_t i = 0; i < view->cycle->count; i++) {
        const struct qh_wait_node *node = node_at(view, i);
        if (node->kind == QH_NODE_THREAD) {
            quiet = qh_quiet_worse(quiet,
                                   qh_quiet_asleep(view->snapshot, node->tid));
        }
    }
    return quiet;
}

/* Where the cycle is told from: its first thread, for threads are what one
 * looks for; else its first coroutine. */
static size_t first_place(const struct cycle_view *view)
{
    enum qh_node_kind kind =
        count_kind(view, QH_NODE_THREAD) ? QH_NODE_THREAD : QH_NODE_COROUTINE;
    size_t place = 0;

    while (node_at(view, place)->kind != kind) {
        place++;
    }
    return place;
}

/* The evidence of one participant: what it waits for, up to the next one. */
static struct qh_error *tell_participant(const struct cycle_view *view,
                                         size_t place,
                                         struct qh_findings *findings,
                                         struct qh_finding *finding)
{
    const struct qh_wait_node *node = node_at(view, place);
    const char *text = node->name;
    struct raddr address = { 0 };
    size_t next = place;

    do {
        const struct qh_wait_edge *edge = qh_wait_graph_edge(
            view->graph, view->cycle->nodes[next % view->cycle->count],
            view->cycle->nodes[(next + 1) % view->cycle->count]);
        node = node_at(view, ++next);
        text = qh_arena_printf(&findings->arena, "%s%s %s %s", text ? text : "",
                               next == place + 1 ? "" : ",", edge->why,
                               node->name);
        if (!address.value && !acts(node)) {
            address = node->address;
        }
    } while (!acts(node));
    if (!address.value) {
        address = node->address;
    }
    /* The name lives in the graph, which ends before the findings do. */
    return qh_evidence_add(findings, finding, text, address,
                           qh_arena_strdup(&findings->arena, node->name));
}

static struct qh_error *tell_participants(const struct cycle_view *view,
                                          size_t first,
                                          struct qh_findings *findings,
                                          struct qh_finding *finding)
{
    size_t told = 0, left = 0;

    for (size_t i = 0; i < view->cycle->count; i++) {
        if (!acts(node_at(view, first + i))) {
            continue;
        }
        if (told == MAX_TOLD) {
            left++;
            continue;
        }
        QH_TRY(tell_participant(view, first + i, findings, finding));
        told++;
    }
    return left ? qh_evidence_add(
                      findings, finding,
                      qh_arena_printf(&findings->arena, "and %zu more", left),
                      qh_raddr(0), "")
                : NULL;
}

/* Who is part of it and where they stand. It must not depend on where the
 * cycle is told from, so the parts are summed up. */
static uint64_t fingerprint_of(const struct cycle_view *view)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < view->cycle->count; i++) {
        const struct qh_wait_node *node = node_at(view, i);
        uint64_t print = qh_fingerprint_mix(QH_FINGERPRINT, node->kind);
        print = qh_fingerprint_mix(print, (uint64_t)node->tid);
        print = qh_fingerprint_mix(print, node->address.value);
        const struct qh_thread *thread =
            node->tid ? qh_snapshot_thread(view->snapshot, node->tid) : NULL;
        if (thread) {
            print = qh_fingerprint_stack(print, &thread->stack);
        }
        sum += print;
    }
    return qh_fingerprint_mix(QH_FINGERPRINT, sum);
}

static const char *summary_of(const struct cycle_view *view,
                              const struct qh_known_cycle *known,
                              struct qh_findings *findings)
{
    size_t threads = count_kind(view, QH_NODE_THREAD);
    size_t coroutines = count_kind(view, QH_NODE_COROUTINE);
    struct qh_arena *arena = &findings->arena;

    if (known) {
        return known->summary;
    }
    if (!coroutines) {
        return qh_arena_printf(arena, "deadlock of %zu threads", threads);
    }
    if (!threads) {
        return qh_arena_printf(arena, "deadlock of %zu coroutines", coroutines);
    }
    return qh_arena_printf(arena, "deadlock of %zu thread%s, %zu coroutine%s",
                           threads, threads == 1 ? "" : "s", coroutines,
                           coroutines == 1 ? "" : "s");
}

/* The thread that shows it: of the cycle the main one, if it is part of it. */
static pid_t waiter_of(const struct cycle_view *view, size_t first)
{
    for (size_t i = 0; i < view->cycle->count; i++) {
        const struct qh_thread *thread =
            qh_snapshot_thread(view->snapshot, node_at(view, i)->tid);
        if (thread && thread->role == QH_ROLE_MAIN) {
            return thread->tid;
        }
    }
    return node_at(view, first)->tid;
}

static struct qh_error *judge_cycle(const struct cycle_view *view,
                                    enum qh_quiet endings,
                                    struct qh_findings *findings)
{
    enum qh_quiet quiet = qh_quiet_worse(endings, threads_quiet(view));
    const struct qh_known_cycle *known =
        qh_cycle_known(view->snapshot, view->graph, view->cycle);
    size_t first;

    if (quiet == QH_DISTURBED) {
        findings->unsettled = true;
        return NULL;
    }
    first = first_place(view);
    struct qh_finding finding = {
        .rule = "lock.cycle",
        .certainty = quiet == QH_QUIET ? view->cycle->certainty : QH_STRONG,
        .coroutine = node_at(view, first)->kind == QH_NODE_COROUTINE
                         ? node_at(view, first)->address
                         : qh_raddr(0),
        .tid = node_at(view, first)->tid,
        .waiter = waiter_of(view, first),
        .heals = QH_HEALS_NEVER,
        .heals_in_ns = QH_TIME_UNKNOWN,
        .summary = summary_of(view, known, findings),
        .fingerprint = fingerprint_of(view),
    };
    if (!finding.summary) {
        return qh_error_no_memory();
    }
    if (known) {
        finding.user = known->user;
        finding.fixed_in = known->fixed_in;
        finding.fixed_in_count = known->fixed_in_count;
    }
    QH_TRY(tell_participants(view, first, findings, &finding));
    return qh_findings_add(findings, &finding);
}

/* A thread alone that waits for its own lock is another rule's. */
static bool is_deadlock(const struct cycle_view *view)
{
    return count_kind(view, QH_NODE_THREAD) +
               count_kind(view, QH_NODE_COROUTINE) >
           1;
}

struct qh_error *qh_rule_lock_cycle(const struct qh_snapshot *snapshot,
                                    struct qh_findings *findings)
{
    QH_CLEANUP(qh_wait_graph_guard) struct qh_wait_graph *graph = NULL;
    size_t told = 0;

    QH_TRY(qh_wait_graph_build(snapshot, NULL, &graph));
    if (!graph->cycle_count) {
        return NULL;
    }
    enum qh_quiet endings = endings_quiet(snapshot);
    for (size_t i = 0; i < graph->cycle_count && told < MAX_CYCLES; i++) {
        const struct cycle_view view = { snapshot, graph, &graph->cycles[i] };
        if (is_deadlock(&view)) {
            QH_TRY(judge_cycle(&view, endings, findings));
            told++;
        }
    }
    return NULL;
}
