/* Scenarios of circles: mutexes, CoMutexes, the BQL and a poll.
 * SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Each circle stands beside an order: the same locks, threads and waits, but
 * for one lock that its holder will give back.
 */
#include <semaphore.h>
#include <stdlib.h>

#include "atomics.h"
#include "bql.h"
#include "runtime/aio_wait.h"
#include "runtime/co_lock.h"
#include "scenario.h"
#include "watch.h"

/* What the one who holds the first lock does next. */
static bool crossed;
/* Holders wait here until everybody has their first lock. */
static sem_t go;
static int holding;

static void begin(bool circle)
{
    crossed = circle;
    sem_init(&go, 0, 0);
}

static void wait_for_go(void)
{
    cfix_fetch_add(&holding, 1);
    while (sem_wait(&go)) {
    }
}

static bool both_hold(void *opaque)
{
    return cfix_load(&holding) == 2;
}

static bool all_in_futex(void *opaque)
{
    struct world *world = opaque;

    return watch_in_futex(world->io0->thread_id) &&
           watch_in_futex(world->io1->thread_id) &&
           watch_in_futex(world->main_tid);
}

/* --- two threads, two mutexes, and the main thread behind them --- */

static struct QemuMutex mutex_a, mutex_b;

static void take_a(void *opaque)
{
    qemu_mutex_lock(&mutex_a);
    wait_for_go();
    if (crossed) {
        qemu_mutex_lock(&mutex_b);
        qemu_mutex_unlock(&mutex_b);
    }
    qemu_mutex_unlock(&mutex_a);
}

static void take_b(void *opaque)
{
    qemu_mutex_lock(&mutex_b);
    if (crossed) {
        wait_for_go();
    } else {
        cfix_fetch_add(&holding, 1);
    }
    qemu_mutex_lock(&mutex_a);
    qemu_mutex_unlock(&mutex_a);
    qemu_mutex_unlock(&mutex_b);
}

static void qmp_x_lock_a(void *opaque)
{
    qemu_mutex_lock(&mutex_a);
    qemu_mutex_unlock(&mutex_a);
}

static const struct QmpCommand qmp_x_lock_a_command = { "x-lock-a",
                                                        qmp_x_lock_a };

static bool a_is_held(void *opaque)
{
    return cfix_load(&holding) == 1;
}

static void lock_mutexes(struct world *world, bool circle)
{
    begin(circle);
    qemu_mutex_init(&mutex_a);
    qemu_mutex_init(&mutex_b);
    aio_bh_schedule_oneshot(world->io0->ctx, "take_a", take_a, NULL);
    watch_until("io0 holds its mutex", a_is_held, NULL);
    aio_bh_schedule_oneshot(world->io1->ctx, "take_b", take_b, NULL);
    watch_until("both hold their mutexes", both_hold, NULL);
    if (circle) {
        sem_post(&go);
        sem_post(&go);
    }
    qmp_send(&qmp_x_lock_a_command, NULL);
    watch_until("all sleep in futexes", all_in_futex, world);
    step_check(!qmp_returned(), "the main thread waits");
}

static void run_mutex_cycle(struct world *world)
{
    lock_mutexes(world, true);
}

static void run_mutex_order(struct world *world)
{
    lock_mutexes(world, false);
}

static void release_mutex_order(struct world *world)
{
    sem_post(&go);
    step_went_on(world);
    step_iothread_rests(world->io1);
    qemu_mutex_destroy(&mutex_a);
    qemu_mutex_destroy(&mutex_b);
}

/* --- a coroutine that the main thread polls for (block/block-gen.h) --- */

typedef struct BdrvPollCo {
    struct AioContext *ctx;
    bool in_progress;
    struct Coroutine *co;
} BdrvPollCo;

static __attribute__((noinline)) void bdrv_poll_co(BdrvPollCo *s)
{
    aio_co_schedule(s->ctx, s->co);
    AIO_WAIT_WHILE(cfix_load(&s->in_progress));
}

static void end_poll(BdrvPollCo *s)
{
    cfix_store(&s->in_progress, false);
    aio_wait_kick();
}

/* --- two coroutines, two CoMutexes --- */

static struct CoMutex co_mutex_a, co_mutex_b;
static struct Coroutine *holder;

/* Has one lock, and wants the other if they are to cross. */
static void first_co_entry(void *opaque)
{
    qemu_co_mutex_lock(&co_mutex_a);
    if (crossed) {
        qemu_co_mutex_lock(&co_mutex_b);
        qemu_co_mutex_unlock(&co_mutex_b);
    } else {
        qemu_coroutine_yield();
    }
    qemu_co_mutex_unlock(&co_mutex_a);
}

/* Takes its lock before there is another, and the other's after that. */
static void second_co_entry(void *opaque)
{
    qemu_co_mutex_lock(&co_mutex_b);
    holder = qemu_coroutine_create(first_co_entry, NULL);
    qemu_coroutine_enter(holder);
    qemu_co_mutex_lock(&co_mutex_a);
    qemu_co_mutex_unlock(&co_mutex_a);
    qemu_co_mutex_unlock(&co_mutex_b);
    end_poll(opaque);
}

static void qmp_x_co_lock(void *opaque)
{
    struct world *world = opaque;
    BdrvPollCo s = { .ctx = world->io0->ctx, .in_progress = true };

    s.co = qemu_coroutine_create(second_co_entry, &s);
    bdrv_poll_co(&s);
}

static const struct QmpCommand qmp_x_co_lock_command = { "x-co-lock",
                                                         qmp_x_co_lock };

static void lock_co_mutexes(struct world *world, bool circle)
{
    begin(circle);
    qemu_co_mutex_init(&co_mutex_a);
    qemu_co_mutex_init(&co_mutex_b);
    qmp_send(&qmp_x_co_lock_command, world);
    step_main_waits(world);
    step_iothread_rests(world->io0);
    step_check(co_mutex_a.locked == 2 &&
                   co_mutex_b.locked == (circle ? 2u : 1u),
               "the CoMutexes are waited for");
}

static void run_co_mutex_cycle(struct world *world)
{
    lock_co_mutexes(world, true);
}

static void run_co_mutex_order(struct world *world)
{
    lock_co_mutexes(world, false);
}

static void release_co_mutex_order(struct world *world)
{
    aio_co_wake(holder);
    step_went_on(world);
    qemu_co_mutex_destroy(&co_mutex_a);
    qemu_co_mutex_destroy(&co_mutex_b);
}

/* --- the BQL held in a poll, and wanted by whom that waits for --- */

static struct QemuThread bql_owner;

static void flush_co_entry(void *opaque)
{
    bql_lock_impl();
    bql_unlock();
    end_poll(opaque);
}

static void qmp_x_flush(void *opaque)
{
    struct world *world = opaque;
    BdrvPollCo s = { .ctx = world->io0->ctx, .in_progress = true };

    s.co = qemu_coroutine_create(flush_co_entry, &s);
    if (crossed) {
        bql_lock_impl();
    }
    bdrv_poll_co(&s);
    if (crossed) {
        bql_unlock();
    }
}

static const struct QmpCommand qmp_x_flush_command = { "x-flush", qmp_x_flush };

static bool io0_in_futex(void *opaque)
{
    struct world *world = opaque;

    return watch_in_futex(world->io0->thread_id);
}

static void flush(struct world *world)
{
    qmp_send(&qmp_x_flush_command, world);
    watch_until("io0 waits for the BQL", io0_in_futex, world);
    step_main_waits(world);
}

static void run_bql_cycle(struct world *world)
{
    begin(true);
    flush(world);
}

static void *own_bql(void *opaque)
{
    bql_lock_impl();
    wait_for_go();
    bql_unlock();
    return NULL;
}

static bool bql_is_held(void *opaque)
{
    return cfix_load(&holding) == 1;
}

static void run_bql_order(struct world *world)
{
    begin(false);
    qemu_thread_create(&bql_owner, "owner", own_bql, NULL);
    watch_until("the BQL is held", bql_is_held, NULL);
    flush(world);
}

static void release_bql_order(struct world *world)
{
    sem_post(&go);
    qemu_thread_join(&bql_owner);
    step_went_on(world);
}

const struct scenario sc_cycle_table[] = {
    {
        .name = "mutex-cycle",
        .about = "two threads want each other's mutex",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_mutex_cycle,
    },
    {
        .name = "mutex-order",
        .about = "the same mutexes, one will be given back",
        .coroutines = 1,
        .run = run_mutex_order,
        .release = release_mutex_order,
    },
    {
        .name = "co-mutex-cycle",
        .about = "two coroutines want each other's CoMutex",
        .coroutines = 3,
        .end = END_STUCK,
        .run = run_co_mutex_cycle,
    },
    {
        .name = "co-mutex-order",
        .about = "the same CoMutexes, one will be given back",
        .coroutines = 3,
        .run = run_co_mutex_order,
        .release = release_co_mutex_order,
    },
    {
        .name = "bql-cycle",
        .about = "the BQL's holder polls for one who wants it",
        .coroutines = 2,
        .end = END_STUCK,
        .run = run_bql_cycle,
    },
    {
        .name = "bql-order",
        .about = "the same, and another holds the BQL",
        .coroutines = 2,
        .run = run_bql_order,
        .release = release_bql_order,
    },
    { .name = NULL },
};
