/* The miniature's one driver: opening, closing, and the cache cleaner.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "qcow2.h"

#include <errno.h>
#include <stdlib.h>

#include "graph_lock.h"
#include "runtime/aio_wait.h"

#define NANOSECONDS_PER_SECOND 1000000000LL

/* What the main thread waits for while a coroutine opens the image. */
struct QCow2OpenCo {
    struct BlockDriverState *bs;
    uint64_t interval;
    int ret;
};

static void qcow2_open_entry(void *opaque)
{
    struct QCow2OpenCo *qoc = opaque;
    struct BDRVQcow2State *s = qoc->bs->opaque;

    bdrv_graph_co_rdlock();
    qemu_co_mutex_lock(&s->lock);
    s->cache_clean_interval = qoc->interval;
    qemu_co_mutex_unlock(&s->lock);
    /* After this the main thread goes on, and qoc is gone. */
    cfix_store(&qoc->ret, 0);
    aio_wait_kick();
    bdrv_graph_co_rdunlock();
}

/* Whether it is to go on, and how long to sleep. */
static int64_t cache_clean_wait_ns(struct BDRVQcow2State *s)
{
    int64_t wait_ns;

    qemu_co_mutex_lock(&s->lock);
    wait_ns = (int64_t)s->cache_clean_interval * NANOSECONDS_PER_SECOND;
    qemu_co_mutex_unlock(&s->lock);
    return wait_ns;
}

static void cache_clean_timer(void *opaque)
{
    struct BDRVQcow2State *s = opaque;
    int64_t wait_ns;

    while ((wait_ns = cache_clean_wait_ns(s)) > 0) {
        qemu_co_sleep_ns_wakeable(&s->cache_clean_timer_wake,
                                  QEMU_CLOCK_REALTIME, wait_ns);
        s->cleanings++;
    }
    qemu_co_mutex_lock(&s->lock);
    s->cache_clean_timer_co = NULL;
    qemu_co_queue_restart_all(&s->cache_clean_timer_exit);
    qemu_co_mutex_unlock(&s->lock);
}

static void cache_clean_timer_init(struct BlockDriverState *bs,
                                   struct AioContext *context)
{
    struct BDRVQcow2State *s = bs->opaque;

    if (s->cache_clean_interval) {
        s->cache_clean_timer_co = qemu_coroutine_create(cache_clean_timer, s);
        aio_co_enter(context, s->cache_clean_timer_co);
    }
}

/* With s->lock held, which it drops while it waits. */
static void
cache_clean_timer_co_locked_del_and_wait(struct BlockDriverState *bs)
{
    struct BDRVQcow2State *s = bs->opaque;

    if (s->cache_clean_timer_co) {
        s->cache_clean_interval = 0;
        qemu_co_sleep_wake(&s->cache_clean_timer_wake);
        qemu_co_queue_wait_impl(&s->cache_clean_timer_exit,
                                CO_MUTEX_LOCKABLE(&s->lock));
    }
}

/* The waiting thread's request, on its stack. */
struct CacheCleanTimerDelAndWaitCoParams {
    struct BlockDriverState *bs;
    bool done;
};

static void cache_clean_timer_del_and_wait_co_entry(void *opaque)
{
    struct CacheCleanTimerDelAndWaitCoParams *p = opaque;
    struct BDRVQcow2State *s = p->bs->opaque;

    qemu_co_mutex_lock(&s->lock);
    cache_clean_timer_co_locked_del_and_wait(p->bs);
    qemu_co_mutex_unlock(&s->lock);
    cfix_store(&p->done, true);
    aio_wait_kick();
}

static __attribute__((noinline)) void
cache_clean_timer_del_and_wait(struct BlockDriverState *bs)
{
    struct CacheCleanTimerDelAndWaitCoParams p = { .bs = bs };

    qemu_coroutine_enter(
        qemu_coroutine_create(cache_clean_timer_del_and_wait_co_entry, &p));
    AIO_WAIT_WHILE(!cfix_load(&p.done));
}

void qcow2_open(struct BlockDriverState *bs, uint64_t interval)
{
    struct BDRVQcow2State *s = cfix_zalloc(sizeof(*s));
    struct QCow2OpenCo qoc = {
        .bs = bs,
        .interval = interval,
        .ret = -EINPROGRESS,
    };

    bs->opaque = s;
    qemu_co_mutex_init(&s->lock);
    qemu_co_queue_init(&s->cache_clean_timer_exit);
    aio_co_enter(bs->aio_context,
                 qemu_coroutine_create(qcow2_open_entry, &qoc));
    AIO_WAIT_WHILE(cfix_load(&qoc.ret) == -EINPROGRESS);
    cache_clean_timer_init(bs, bs->aio_context);
}

void qcow2_close(struct BlockDriverState *bs)
{
    struct BDRVQcow2State *s = bs->opaque;

    cache_clean_timer_del_and_wait(bs);
    bs->opaque = NULL;
    qemu_co_mutex_destroy(&s->lock);
    free(s);
}
