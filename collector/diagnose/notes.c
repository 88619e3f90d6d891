/* Context: what is good to know beside the findings, and no fault.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/units.h"
#include "diagnose/graph.h"
#include "diagnose/poll.h"
#include "diagnose/wait.h"

#include <inttypes.h>

static const char *thread_name(const struct qh_thread *thread)
{
    return thread->name ? thread->name : "?";
}

/* A thread that could not be stopped in time, so that nothing else is known of
 * it: in state D, or with no CPU to run on. */
static struct qh_error *note_in_kernel(const struct qh_snapshot *snapshot,
                                       const struct qh_thread *thread,
                                       struct qh_findings *findings)
{
    if (snapshot->unstopped) {
        return qh_note_add(
            findings, "kernel.stuck", thread->tid,
            qh_arena_printf(
                &findings->arena, "thread %d (%s) is in state D, in %s",
                (int)thread->tid, thread_name(thread),
                thread->blocked_in ? thread->blocked_in : "the kernel"));
    }
    return qh_note_add(
        findings, "kernel.stuck", thread->tid,
        qh_arena_printf(&findings->arena,
                        "thread %d (%s) did not stop in time: %s%s",
                        (int)thread->tid, thread_name(thread),
                        thread->blocked_in ? "it is in " : "state D, or no CPU",
                        thread->blocked_in ? thread->blocked_in : ""));
}

/* Stopped by somebody else, it would stand still without any hang. */
static struct qh_error *note_halted(const struct qh_snapshot *snapshot,
                                    struct qh_findings *findings)
{
    struct qh_arena *arena = &findings->arena;
    const char *who = "the process is";

    if (snapshot->halted_count < snapshot->thread_count) {
        who = qh_arena_printf(arena, "%zu of %zu threads are",
                              snapshot->halted_count, snapshot->thread_count);
    }
    if (!who) {
        return qh_error_no_memory();
    }
    const char *text =
        snapshot->halted == QH_HALT_SIGNAL
            ? qh_arena_printf(arena,
                              "%s stopped by a signal (state T), not by qhang; "
                              "SIGCONT lets it go on",
                              who)
        : snapshot->held_by
            ? qh_arena_printf(arena,
                              "%s kept stopped (state t) by its tracer %s "
                              "(%d); that has to let it go on",
                              who, snapshot->holder, (int)snapshot->held_by)
            : qh_arena_printf(arena,
                              "%s kept stopped (state t) by a tracer that is "
                              "not to be seen from here",
                              who);
    return qh_note_add(findings, "process.stopped", snapshot->pid, text);
}

/* has_writer at 1 is the lock held; only the main thread takes it
 * (block/graph-lock.c, GLOBAL_STATE_CODE in bdrv_graph_wrlock). */
static struct qh_error *note_graph_locked(const struct qh_snapshot *snapshot,
                                          struct qh_findings *findings)
{
    const struct qh_graph_lock *graph = &snapshot->graph;

    return qh_note_add(
        findings, "graph.write-locked", snapshot->pid,
        qh_arena_printf(&findings->arena,
                        "the graph write lock is held; %zu reader%s queued",
                        graph->queue_count,
                        graph->queue_count == 1 ? "" : "s"));
}

static bool is_bql_wait(const struct qh_wait *wait)
{
    return wait && wait->kind == QH_WAIT_BQL;
}

/* How many threads sleep in the function that takes the BQL: bql_lock_impl
 * since 9.0 (195801d700), qemu_mutex_lock_iothread_impl before. */
static size_t bql_waiters(const struct qh_snapshot *snapshot)
{
    size_t count = 0;

    for (size_t i = 0; i < snapshot->thread_count; i++) {
        const struct qh_thread *thread = &snapshot->threads[i];
        if (thread->tid != snapshot->bql_owner &&
            thread->state == QH_THREAD_BLOCKED &&
            (is_bql_wait(qh_wait_of(snapshot, thread->tid)) ||
             qh_backtrace_has(&thread->stack, "bql_lock_impl") ||
             qh_backtrace_has(&thread->stack,
                              "qemu_mutex_lock_iothread_impl"))) {
            count++;
        }
    }
    return count;
}

/* A poll that ends within it is no sleep: loops wake up so often anyhow. */
#define SHORT_SLEEP_NS INT64_C(1000000000)

static struct qh_error *note_bql(const struct qh_snapshot *snapshot,
                                 struct qh_findings *findings)
{
    const struct qh_thread *owner =
        qh_snapshot_thread(snapshot, snapshot->bql_owner);
    size_t waiters = bql_waiters(snapshot);
    const struct qh_wait *wait =
        owner ? qh_wait_of(snapshot, owner->tid) : NULL;

    if (!snapshot->bql_owner || !owner || !waiters ||
        owner->state != QH_THREAD_BLOCKED ||
        (owner->timeout_ns >= 0 && owner->timeout_ns < SHORT_SLEEP_NS)) {
        return NULL;
    }
    bool below = wait && wait->function;
    const char *pause =
        owner->timeout_ns < 0
            ? ""
            : qh_arena_printf(&findings->arena, ", for up to %s",
                              qh_duration(owner->timeout_ns).text);
    if (!pause) {
        return qh_error_no_memory();
    }
    return qh_note_add(
        findings, "bql.held-asleep", owner->tid,
        qh_arena_printf(&findings->arena,
                        "thread %d (%s) holds the BQL and sleeps in %s%s%s%s; "
                        "%zu other%s wait%s for it",
                        (int)owner->tid, thread_name(owner),
                        owner->blocked_in ? owner->blocked_in : "the kernel",
                        below ? " below " : "", below ? wait->function : "",
                        pause, waiters, waiters == 1 ? "" : "s",
                        waiters == 1 ? "s" : ""));
}

static bool is_found(const struct qh_findings *findings, pid_t waiter)
{
    for (size_t i = 0; i < findings->count; i++) {
        if (findings->items[i].waiter == waiter) {
            return true;
        }
    }
    return false;
}

/* Whether the chain from the main thread leads to a finding or a cycle. */
static struct qh_error *stands_behind(const struct qh_snapshot *snapshot,
                                      const struct qh_findings *findings,
                                      bool *ret)
{
    QH_CLEANUP(qh_wait_graph_guard) struct qh_wait_graph *graph = NULL;

    *ret = false;
    if (!findings->count) {
        return NULL;
    }
    QH_TRY(qh_wait_graph_build(snapshot, findings, &graph));
    if (!graph->chain_count ||
        graph->nodes[graph->chain[0]].tid != snapshot->pid) {
        return NULL;
    }
    for (size_t i = 0; i < graph->chain_count; i++) {
        const struct qh_wait_node *node = &graph->nodes[graph->chain[i]];
        *ret |= node->finding || node->cycle;
    }
    return NULL;
}

/* The main thread, in a poll of its own for what has not come yet; a finding
 * about it says more, and so does one about whom it stands behind. */
static struct qh_error *note_rightly(const struct qh_snapshot *snapshot,
                                     struct qh_findings *findings)
{
    const struct qh_wait *wait = qh_wait_of(snapshot, snapshot->pid);
    const struct qh_operand *open = wait ? qh_wait_open_operand(wait) : NULL;
    const struct qh_thread *thread =
        qh_snapshot_thread(snapshot, snapshot->pid);
    bool behind;

    if (thread && thread->perhaps_asleep &&
        qh_poll_is_of(&thread->stack, NULL)) {
        /* Once more: the next stop finds it with nothing submitted. */
        findings->unsettled = true;
    }
    if (!open || !thread || thread->state != QH_THREAD_BLOCKED ||
        !wait->function || is_found(findings, thread->tid)) {
        return NULL;
    }
    QH_TRY(stands_behind(snapshot, findings, &behind));
    if (behind) {
        return NULL;
    }
    bool named = wait->object_name && *wait->object_name;
    return qh_note_add(
        findings, "wait.rightly", thread->tid,
        qh_arena_printf(
            &findings->arena,
            "the main thread waits rightly in %s%s%s: %s = %" PRId64,
            wait->function, named ? " for " : "",
            named ? wait->object_name : "", open->what, open->value));
}

struct qh_error *qh_notes_take(const struct qh_snapshot *snapshot,
                               struct qh_findings *findings)
{
    const struct qh_graph_lock *graph = &snapshot->graph;

    if (snapshot->halted != QH_HALT_NONE) {
        QH_TRY(note_halted(snapshot, findings));
    }
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        if (snapshot->threads[i].state == QH_THREAD_IN_KERNEL) {
            QH_TRY(note_in_kernel(snapshot, &snapshot->threads[i], findings));
        }
    }
    if (graph->present && graph->readable && graph->has_writer == 1) {
        QH_TRY(note_graph_locked(snapshot, findings));
    }
    QH_TRY(note_rightly(snapshot, findings));
    return note_bql(snapshot, findings);
}
