/* The block graph lock: readers counted per context, one polling writer.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_GRAPH_LOCK_H
#define CFIX_GRAPH_LOCK_H

/*
 * block/graph-lock.c.  Readers are coroutines of any context; each context
 * counts its own, so that readers of different threads share no cache line.
 * The writer is the main thread, outside of coroutines; it waits by polling
 * its own loop until the sum of all counts is zero.  While it polls,
 * `has_writer` is 0, so that a reader that its loop runs is not shut out and
 * the wait cannot block itself.
 *
 * A coroutine may unlock in another context than it locked in: single counts
 * may be negative (they wrap as unsigned), their sum never.
 *
 * The program is linked with exactly one of graph_lock.c and
 * legacy/graph_lock.c, which is faulty in two ways:
 *
 *   - bdrv_graph_co_rdunlock kicks a writer that polls only if has_writer is
 *     set, which while the writer polls it is not;
 *   - a writer that finds a reader after it has set has_writer clears it and
 *     polls again, but leaves readers in the queue who came in between.  If
 *     one of them holds the lock already and is taking it a second time, the
 *     two wait for each other.
 */
#include <stdint.h>
#include <sys/queue.h>

struct AioContext;

/* The readers of one context; AioContext.bdrv_graph points here. */
struct BdrvGraphRWlock {
    uint32_t reader_count;
    TAILQ_ENTRY(BdrvGraphRWlock) next_aio;
};

/* Called by aio_context_new() and aio_context_free(). */
void register_aiocontext(struct AioContext *ctx);
void unregister_aiocontext(struct AioContext *ctx);

/* Main thread, outside of coroutines; not recursive. */
void bdrv_graph_wrlock(void);
void bdrv_graph_wrunlock(void);

/* Coroutines only; recursive, in legacy/ only if no writer gets between. */
void bdrv_graph_co_rdlock(void);
void bdrv_graph_co_rdunlock(void);

/* How many readers there are, over all contexts. */
uint32_t bdrv_graph_reader_count(void);

#endif
