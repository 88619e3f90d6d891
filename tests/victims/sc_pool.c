/* Scenarios of worker threads: asleep, busy, about to be woken.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <semaphore.h>
#include <sys/queue.h>
#include <time.h>

#include "atomics.h"
#include "scenario.h"
#include "watch.h"

/* As util/thread-pool.c names it; one pool, in io0. */
struct QemuCond {
    pthread_cond_t cond;
    bool initialized;
};

struct ThreadPoolElementAio {
    void (*func)(void);
    TAILQ_ENTRY(ThreadPoolElementAio) reqs;
};

struct ThreadPoolAio {
    struct QemuMutex lock;
    struct QemuCond request_cond;
    TAILQ_HEAD(, ThreadPoolElementAio) request_list;
    int cur_threads;
    int idle_threads;
    int new_threads;
    int pending_threads;
};

enum { WORKERS = 2, LONG_WAIT_SECONDS = 600 };

static struct ThreadPoolAio pool = {
    .lock = { PTHREAD_MUTEX_INITIALIZER, true },
    .request_cond = { PTHREAD_COND_INITIALIZER, true },
    .request_list = TAILQ_HEAD_INITIALIZER(pool.request_list),
};
static struct QemuThread workers[WORKERS];
static struct ThreadPoolElementAio requests[WORKERS + 1];
static sem_t go;
static int tids[WORKERS], ready;
static bool ending;

static __attribute__((noinline)) void
qemu_cond_timedwait_ts(struct QemuCond *cond, struct QemuMutex *mutex,
                       const struct timespec *ts)
{
    int err = pthread_cond_timedwait(&cond->cond, &mutex->lock, ts);

    /* With something left to do, its frame stays. */
    step_check(!err || err == ETIMEDOUT, "a wait ends in order");
}

static __attribute__((noinline)) void qemu_cond_signal(struct QemuCond *cond)
{
    step_check(!pthread_cond_signal(&cond->cond), "a condition is signalled");
}

static void wait_for_work(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_sec += LONG_WAIT_SECONDS;
    pool.idle_threads++;
    qemu_cond_timedwait_ts(&pool.request_cond, &pool.lock, &ts);
    pool.idle_threads--;
}

static void *worker_thread(void *opaque)
{
    qemu_mutex_lock(&pool.lock);
    tids[pool.cur_threads++] = qemu_get_thread_id();
    cfix_fetch_add(&ready, 1);
    while (!ending) {
        struct ThreadPoolElementAio *request = TAILQ_FIRST(&pool.request_list);

        if (!request) {
            wait_for_work();
            continue;
        }
        TAILQ_REMOVE(&pool.request_list, request, reqs);
        qemu_mutex_unlock(&pool.lock);
        request->func();
        qemu_mutex_lock(&pool.lock);
    }
    pool.cur_threads--;
    qemu_mutex_unlock(&pool.lock);
    return NULL;
}

static bool all_asleep(void *opaque)
{
    return cfix_load(&ready) == WORKERS && watch_in_futex(tids[0]) &&
           watch_in_futex(tids[1]);
}

static void begin(struct world *world)
{
    sem_init(&go, 0, 0);
    step_iothread_rests(world->io0);
    world->io0->ctx->thread_pool = &pool;
    for (int i = 0; i < WORKERS; i++) {
        qemu_thread_create(&workers[i], "worker", worker_thread, NULL);
    }
    watch_until("all workers wait", all_asleep, NULL);
}

static void queue(struct ThreadPoolElementAio *request, void (*func)(void))
{
    request->func = func;
    qemu_mutex_lock(&pool.lock);
    TAILQ_INSERT_TAIL(&pool.request_list, request, reqs);
    qemu_mutex_unlock(&pool.lock);
}

static void nothing_to_do(void)
{
}

static void wait_for_go(void)
{
    while (sem_wait(&go)) {
    }
}

static __attribute__((noinline)) void
thread_pool_submit_aio(struct ThreadPoolElementAio *request, void (*func)(void),
                       void (*before_signal)(void))
{
    queue(request, func);
    before_signal();
    qemu_cond_signal(&pool.request_cond);
}

static void run_pool_idle(struct world *world)
{
    begin(world);
    queue(&requests[0], nothing_to_do);
    step_check(all_asleep(NULL) && !TAILQ_EMPTY(&pool.request_list),
               "all workers sleep, and work is queued");
}

static bool all_taken(void *opaque)
{
    qemu_mutex_lock(&pool.lock);
    bool taken = TAILQ_EMPTY(&pool.request_list);
    qemu_mutex_unlock(&pool.lock);
    return taken;
}

/* All workers have something to do, and there is more. */
static void run_pool_busy(struct world *world)
{
    begin(world);
    for (int i = 0; i < WORKERS; i++) {
        thread_pool_submit_aio(&requests[i], wait_for_go, nothing_to_do);
    }
    watch_until("all workers are busy", all_taken, NULL);
    thread_pool_submit_aio(&requests[WORKERS], nothing_to_do, nothing_to_do);
    watch_until("all workers are busy", all_asleep, NULL);
}

static void submit_bh(void *opaque)
{
    thread_pool_submit_aio(&requests[0], nothing_to_do, wait_for_go);
}

static bool io0_in_futex(void *opaque)
{
    struct world *world = opaque;

    return watch_in_futex(world->io0->thread_id);
}

/* The request is queued in io0, and not yet signalled. */
static void run_mid_pool(struct world *world)
{
    begin(world);
    aio_bh_schedule_oneshot(world->io0->ctx, "submit_bh", submit_bh, NULL);
    watch_until("io0 has queued", io0_in_futex, world);
    step_check(all_asleep(NULL), "all workers sleep");
}

static void release_pool(struct world *world)
{
    for (int i = 0; i < WORKERS; i++) {
        sem_post(&go);
    }
    step_iothread_rests(world->io0);
    qemu_mutex_lock(&pool.lock);
    ending = true;
    pthread_cond_broadcast(&pool.request_cond.cond);
    qemu_mutex_unlock(&pool.lock);
    for (int i = 0; i < WORKERS; i++) {
        qemu_thread_join(&workers[i]);
    }
    world->io0->ctx->thread_pool = NULL;
}

const struct scenario sc_pool_table[] = {
    {
        .name = "pool-idle",
        .about = "work is queued, all workers sleep",
        .coroutines = 1,
        .run = run_pool_idle,
        .release = release_pool,
    },
    {
        .name = "pool-busy",
        .about = "work is queued, all workers have some",
        .coroutines = 1,
        .run = run_pool_busy,
        .release = release_pool,
    },
    {
        .name = "mid-pool",
        .about = "work is queued, and not yet signalled",
        .coroutines = 1,
        .run = run_mid_pool,
        .release = release_pool,
    },
    { .name = NULL },
};
