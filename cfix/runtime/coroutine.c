/* Coroutines: creating, pooling, entering, yielding.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "runtime/coroutine.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "atomics.h"
#include "runtime/aio.h"
#include "runtime/queue.h"
#include "runtime/thread.h"

#define POOL_BATCH_MAX_SIZE 128u
#define GLOBAL_POOL_MAX_BATCHES 8u

/* util/qemu-coroutine.c: up to POOL_BATCH_MAX_SIZE ended coroutines. */
struct CoroutinePoolBatch {
    SLIST_ENTRY(CoroutinePoolBatch) next;
    SLIST_HEAD(, Coroutine) list;
    unsigned size;
};

SLIST_HEAD(CoroutinePool, CoroutinePoolBatch);

/* Full batches that any thread may take; the lock guards both. */
static struct QemuMutex global_pool_lock = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .initialized = true,
};
static struct CoroutinePool global_pool = SLIST_HEAD_INITIALIZER(global_pool);
static unsigned global_pool_size;

/* At most two batches, the first of them the one in use. */
static __thread struct CoroutinePool co_tls_local_pool;

static unsigned census_total;
static unsigned census_pooled;

/* Its destructor frees co_tls_local_pool when a thread ends. */
static pthread_key_t pool_key;
static pthread_once_t pool_key_once = PTHREAD_ONCE_INIT;

static __attribute__((noinline)) struct CoroutinePool *get_ptr_local_pool(void)
{
    __asm__ volatile("");
    return &co_tls_local_pool;
}

void qemu_coroutine_census(unsigned *ret_in_use, unsigned *ret_pooled)
{
    unsigned total = cfix_load(&census_total);
    unsigned pooled = cfix_load(&census_pooled);

    *ret_in_use = total - pooled;
    *ret_pooled = pooled;
}

static void pool_free(struct CoroutinePool *pool)
{
    struct CoroutinePoolBatch *batch;
    struct Coroutine *co;

    while ((batch = SLIST_FIRST(pool))) {
        SLIST_REMOVE_HEAD(pool, next);
        while ((co = SLIST_FIRST(&batch->list))) {
            SLIST_REMOVE_HEAD(&batch->list, pool_next);
            qemu_coroutine_free(co);
            cfix_fetch_sub(&census_pooled, 1);
            cfix_fetch_sub(&census_total, 1);
        }
        free(batch);
    }
}

static void pool_thread_exit(void *pool)
{
    pool_free(pool);
}

static void pool_key_create(void)
{
    if (pthread_key_create(&pool_key, pool_thread_exit)) {
        cfix_die("pthread_key_create");
    }
}

void qemu_coroutine_pool_drain(void)
{
    pool_free(get_ptr_local_pool());
    qemu_mutex_lock(&global_pool_lock);
    pool_free(&global_pool);
    global_pool_size = 0;
    qemu_mutex_unlock(&global_pool_lock);
}

static struct CoroutinePoolBatch *global_pool_take(void)
{
    struct CoroutinePoolBatch *batch;

    qemu_mutex_lock(&global_pool_lock);
    batch = SLIST_FIRST(&global_pool);
    if (batch) {
        SLIST_REMOVE_HEAD(&global_pool, next);
        global_pool_size--;
    }
    qemu_mutex_unlock(&global_pool_lock);
    return batch;
}

/* Takes ownership of `batch`. */
static void global_pool_give(struct CoroutinePoolBatch *batch)
{
    struct CoroutinePool surplus = SLIST_HEAD_INITIALIZER(surplus);

    qemu_mutex_lock(&global_pool_lock);
    if (global_pool_size < GLOBAL_POOL_MAX_BATCHES) {
        SLIST_INSERT_HEAD(&global_pool, batch, next);
        global_pool_size++;
    } else {
        SLIST_INSERT_HEAD(&surplus, batch, next);
    }
    qemu_mutex_unlock(&global_pool_lock);
    pool_free(&surplus);
}

static struct Coroutine *pool_get(void)
{
    struct CoroutinePool *pool = get_ptr_local_pool();
    struct CoroutinePoolBatch *batch = SLIST_FIRST(pool);
    struct Coroutine *co;

    if (!batch) {
        batch = global_pool_take();
        if (!batch) {
            return NULL;
        }
        SLIST_INSERT_HEAD(pool, batch, next);
    }
    co = SLIST_FIRST(&batch->list);
    SLIST_REMOVE_HEAD(&batch->list, pool_next);
    if (--batch->size == 0) {
        SLIST_REMOVE_HEAD(pool, next);
        free(batch);
    }
    cfix_fetch_sub(&census_pooled, 1);
    return co;
}

static void pool_put(struct Coroutine *co)
{
    struct CoroutinePool *pool = get_ptr_local_pool();
    struct CoroutinePoolBatch *batch = SLIST_FIRST(pool);

    if (!batch || batch->size == POOL_BATCH_MAX_SIZE) {
        if (batch && SLIST_NEXT(batch, next)) {
            SLIST_REMOVE_HEAD(pool, next);
            global_pool_give(batch);
        }
        batch = cfix_zalloc(sizeof(*batch));
        SLIST_INSERT_HEAD(pool, batch, next);
        pthread_once(&pool_key_once, pool_key_create);
        pthread_setspecific(pool_key, pool);
    }
    SLIST_INSERT_HEAD(&batch->list, co, pool_next);
    batch->size++;
    cfix_fetch_add(&census_pooled, 1);
}

struct Coroutine *qemu_coroutine_create(void (*entry)(void *opaque),
                                        void *opaque)
{
    struct Coroutine *co = pool_get();

    if (!co) {
        co = qemu_coroutine_new();
        cfix_fetch_add(&census_total, 1);
    }
    co->entry = entry;
    co->entry_arg = opaque;
    SIMPLEQ_INIT(&co->co_queue_wakeup);
    return co;
}

static void check_enterable(struct Coroutine *co)
{
    const char *scheduled = cfix_load_relaxed(&co->scheduled);

    if (scheduled) {
        fprintf(stderr, "cfix: coroutine entered while it is in %s\n",
                scheduled);
        abort();
    }
    if (co->caller) {
        fprintf(stderr, "cfix: coroutine entered twice\n");
        abort();
    }
}

static void coroutine_delete(struct Coroutine *co)
{
    if (co->locks_held) {
        fprintf(stderr, "cfix: a coroutine ended with a CoMutex held\n");
        abort();
    }
    co->caller = NULL;
    pool_put(co);
}

SIMPLEQ_HEAD(coroutine_list, Coroutine);

/* Everything that `co` wants entered goes in front of what already waits. */
static void take_wakeups(struct Coroutine *co, struct coroutine_list *pending)
{
    struct coroutine_list taken = SIMPLEQ_HEAD_INITIALIZER(taken);

    CFIX_SIMPLEQ_CONCAT(&taken, &co->co_queue_wakeup);
    CFIX_SIMPLEQ_CONCAT(&taken, pending);
    CFIX_SIMPLEQ_CONCAT(pending, &taken);
}

void qemu_aio_coroutine_enter(struct AioContext *ctx, struct Coroutine *co)
{
    struct coroutine_list pending = SIMPLEQ_HEAD_INITIALIZER(pending);
    struct Coroutine *self = qemu_coroutine_self();

    SIMPLEQ_INSERT_TAIL(&pending, co, co_queue_next);
    /* A list instead of recursion: chains of wakes would eat the stack. */
    while ((co = SIMPLEQ_FIRST(&pending))) {
        enum CoroutineAction action;

        SIMPLEQ_REMOVE_HEAD(&pending, co_queue_next);
        check_enterable(co);
        co->caller = self;
        /* Pairs with the acquire in aio_co_wake: a waker in another thread
         * that sees the context also sees the coroutine's own stores. */
        cfix_store_release(&co->ctx, ctx);
        action = qemu_coroutine_switch(self, co, COROUTINE_ENTER);
        take_wakeups(co, &pending);
        if (action == COROUTINE_TERMINATE) {
            coroutine_delete(co);
        }
    }
}

void qemu_coroutine_enter(struct Coroutine *co)
{
    qemu_aio_coroutine_enter(qemu_get_current_aio_context(), co);
}

void qemu_coroutine_yield(void)
{
    struct Coroutine *self = qemu_coroutine_self();
    struct Coroutine *to = self->caller;

    if (!to) {
        errno = 0;
        cfix_die("qemu_coroutine_yield outside of a coroutine");
    }
    self->caller = NULL;
    qemu_coroutine_switch(self, to, COROUTINE_YIELD);
}
