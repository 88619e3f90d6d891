/* The block graph lock: the fixed one.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "graph_lock.h"

#include <stdlib.h>

#include "atomics.h"
#include "runtime/aio.h"
#include "runtime/aio_wait.h"
#include "runtime/co_lock.h"
#include "runtime/queue.h"
#include "runtime/window.h"

/* Guards the list, and the readers' decision to queue against the writer's to
 * let them go on. */
static struct QemuMutex aio_context_list_lock = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .initialized = true,
};
static TAILQ_HEAD(BdrvGraphRWlockList, BdrvGraphRWlock)
    aio_context_list = TAILQ_HEAD_INITIALIZER(aio_context_list);

/* The counts of contexts that are gone. */
static uint32_t orphaned_reader_count;

/* 1 while the lock is held for writing; 0 while the writer polls. */
static int has_writer;

/* Readers that came while it was held. */
static struct CoQueue reader_queue = {
    .entries = SIMPLEQ_HEAD_INITIALIZER(reader_queue.entries),
};

void register_aiocontext(struct AioContext *ctx)
{
    ctx->bdrv_graph = cfix_zalloc(sizeof(*ctx->bdrv_graph));
    qemu_mutex_lock(&aio_context_list_lock);
    TAILQ_INSERT_TAIL(&aio_context_list, ctx->bdrv_graph, next_aio);
    qemu_mutex_unlock(&aio_context_list_lock);
}

void unregister_aiocontext(struct AioContext *ctx)
{
    qemu_mutex_lock(&aio_context_list_lock);
    orphaned_reader_count += cfix_load_relaxed(&ctx->bdrv_graph->reader_count);
    TAILQ_REMOVE(&aio_context_list, ctx->bdrv_graph, next_aio);
    qemu_mutex_unlock(&aio_context_list_lock);
    free(ctx->bdrv_graph);
    ctx->bdrv_graph = NULL;
}

static uint32_t reader_count(void)
{
    struct BdrvGraphRWlock *graph;
    uint32_t sum;

    qemu_mutex_lock(&aio_context_list_lock);
    sum = orphaned_reader_count;
    TAILQ_FOREACH(graph, &aio_context_list, next_aio)
    {
        /* Pairs with count_reader(): see bdrv_graph_wrlock. */
        sum += cfix_load(&graph->reader_count);
    }
    qemu_mutex_unlock(&aio_context_list_lock);
    return sum;
}

uint32_t bdrv_graph_reader_count(void)
{
    return reader_count();
}

/* Only the home thread writes its context's count: no read-modify-write. */
static void count_reader(uint32_t delta)
{
    struct BdrvGraphRWlock *graph = qemu_get_current_aio_context()->bdrv_graph;

    cfix_store(&graph->reader_count,
               cfix_load_relaxed(&graph->reader_count) + delta);
}

void bdrv_graph_wrlock(void)
{
    for (;;) {
        AIO_WAIT_WHILE(reader_count() != 0);
        /* Pairs with bdrv_graph_co_rdlock: either the reader sees this, or
         * its count is seen below and the wait begins again. */
        cfix_store(&has_writer, 1);
        if (reader_count() == 0) {
            return;
        }
        /* Who has queued meanwhile must not wait for this writer's turn: it
         * may be the very reader that the writer will wait for, taking the
         * lock a second time. */
        bdrv_graph_wrunlock();
    }
}

void bdrv_graph_wrunlock(void)
{
    struct CoQueue readers;

    qemu_co_queue_init(&readers);
    qemu_mutex_lock(&aio_context_list_lock);
    cfix_store(&has_writer, 0);
    /* Outside of a coroutine a reader of the main context runs at once, and
     * takes the lock that is held here; so the list is taken off first. */
    CFIX_SIMPLEQ_CONCAT(&readers.entries, &reader_queue.entries);
    qemu_mutex_unlock(&aio_context_list_lock);
    qemu_co_queue_restart_all(&readers);
}

void bdrv_graph_co_rdlock(void)
{
    for (;;) {
        count_reader(1);
        /* Pairs with bdrv_graph_wrlock. */
        if (!cfix_load(&has_writer)) {
            return;
        }
        qemu_mutex_lock(&aio_context_list_lock);
        /* A writer that has seen the count and waits for it need not be told:
         * has_writer is 0 then, or soon, and this reader goes in after all and
         * kicks when it leaves. */
        count_reader((uint32_t)-1);
        if (cfix_load(&has_writer)) {
            qemu_co_queue_wait_impl(
                &reader_queue, QEMU_MUTEX_LOCKABLE(&aio_context_list_lock));
        }
        qemu_mutex_unlock(&aio_context_list_lock);
    }
}

void bdrv_graph_co_rdunlock(void)
{
    cfix_at(CFIX_RDUNLOCK_ENTERED);
    count_reader((uint32_t)-1);
    cfix_at(CFIX_RDUNLOCK_COUNTED);
    /* Whether somebody waits is decided in there, by num_waiters, which the
     * writer raises before it looks at the counts. */
    aio_wait_kick();
}
