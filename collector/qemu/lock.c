/* The block graph lock and the big QEMU lock.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source of facts: block/graph-lock.c (absent in 7.2),
 * include/block/aio-wait.h, system/cpus.c. The writer keeps has_writer at 0
 * while it polls for the readers to leave; one context's count may be negative,
 * their sum never. */
#include "qemu/reader.h"

#include <string.h>

static struct qh_error *sum_readers(struct qh_reader *reader, uint32_t *ret)
{
    struct qh_loop_guard guard = { 0 };
    struct raddr at;
    uint64_t readers;

    QH_TRY(qh_read_pointer(reader, qh_symbol(reader, QH_S_GRAPH_LIST), &at));
    while (at.value) {
        QH_TRY(qh_loop_check(reader, &guard, at));
        QH_TRY(qh_read_field(reader, at, QH_F_GRAPH_READERS, &readers));
        *ret += (uint32_t)readers;
        QH_TRY(qh_read_link(reader, at, QH_F_GRAPH_NEXT, &at));
    }
    return NULL;
}

static struct qh_error *read_graph(struct qh_reader *reader,
                                   struct qh_graph_lock *graph)
{
    uint32_t has_writer, orphaned, sum;

    QH_TRY(qh_read_u32(reader, graph->has_writer_address, &has_writer));
    QH_TRY(qh_read_u32(reader, graph->orphaned_address, &orphaned));
    sum = orphaned;
    QH_TRY(sum_readers(reader, &sum));
    graph->has_writer = (int32_t)has_writer;
    graph->orphaned = (int32_t)orphaned;
    graph->readers = (int32_t)sum;
    if (qh_has_field(reader, QH_F_QUEUE_FIRST) &&
        qh_symbol(reader, QH_S_READER_QUEUE).value) {
        QH_TRY(qh_read_queue(reader, qh_symbol(reader, QH_S_READER_QUEUE),
                             &graph->queue, &graph->queue_count));
    }
    return NULL;
}

static struct qh_error *read_num_waiters(struct qh_reader *reader,
                                         struct qh_graph_lock *graph)
{
    struct raddr wait = qh_symbol(reader, QH_S_GLOBAL_AIO_WAIT);
    uint64_t waiters;

    if (!wait.value || !qh_has_field(reader, QH_F_WAIT_WAITERS)) {
        return NULL;
    }
    graph->num_waiters_address = qh_field_at(reader, wait, QH_F_WAIT_WAITERS);
    QH_TRY(qh_read_field(reader, wait, QH_F_WAIT_WAITERS, &waiters));
    graph->num_waiters = (uint32_t)waiters;
    return NULL;
}

static struct qh_error *read_graph_lock(struct qh_reader *reader)
{
    struct qh_graph_lock *graph = &reader->snapshot->graph;

    graph->has_writer_address = qh_symbol(reader, QH_S_HAS_WRITER);
    graph->orphaned_address = qh_symbol(reader, QH_S_ORPHANED_READERS);
    graph->present = graph->has_writer_address.value &&
                     graph->orphaned_address.value &&
                     qh_symbol(reader, QH_S_GRAPH_LIST).value &&
                     qh_has_field(reader, QH_F_GRAPH_READERS) &&
                     qh_has_field(reader, QH_F_GRAPH_NEXT);
    if (!graph->present) {
        return NULL;
    }
    QH_TRY(read_graph(reader, graph));
    QH_TRY(read_num_waiters(reader, graph));
    graph->readable = true;
    return NULL;
}

/* __owner is a tid of the target's own pid namespace; the thread-local flag
 * needs no translation, so it is asked first. */
static struct qh_error *read_bql(struct qh_reader *reader)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    struct raddr mutex = qh_symbol(reader, QH_S_BQL);
    uint64_t owner;

    for (size_t i = 0; i < snapshot->thread_count; i++) {
        if (snapshot->threads[i].holds_bql) {
            snapshot->bql_owner = snapshot->threads[i].tid;
        }
    }
    if (!mutex.value) {
        mutex = qh_symbol(reader, QH_S_GLOBAL_MUTEX);
    }
    if (!mutex.value || !qh_has_field(reader, QH_F_MUTEX_OWNER)) {
        snapshot->bql_owner = 0; /* a program without the lock */
        return NULL;
    }
    QH_TRY(qh_read_field(reader, mutex, QH_F_MUTEX_OWNER, &owner));
    if (!snapshot->bql_owner && qh_snapshot_thread(snapshot, (pid_t)owner)) {
        snapshot->bql_owner = (pid_t)owner;
    }
    return NULL;
}

struct qh_error *qh_read_locks(struct qh_reader *reader)
{
    QH_NOTE(reader, "block graph lock", read_graph_lock(reader));
    QH_NOTE(reader, "big QEMU lock", read_bql(reader));
    return NULL;
}

/* The writer has bdrv_graph_wrlock() on its stack while it polls. */
struct qh_error *qh_finish_locks(struct qh_reader *reader)
{
    struct qh_snapshot *snapshot = reader->snapshot;

    for (size_t i = 0; i < snapshot->thread_count; i++) {
        const struct qh_thread *thread = &snapshot->threads[i];
        if (qh_backtrace_has(&thread->stack, "bdrv_graph_wrlock") &&
            qh_backtrace_has(&thread->stack, "aio_poll")) {
            snapshot->graph.writer_tid = thread->tid;
        }
    }
    return NULL;
}
