/* Scenarios of coroutines' locks: passed on, and not.
 * SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A holder has a lock, another coroutine waits for it. Then the holder unlocks:
 * in order, up to some step of it, or as a fault would have it.
 */
#include <semaphore.h>

#include "atomics.h"
#include "hold.h"
#include "runtime/co_lock.h"
#include "scenario.h"
#include "waits.h"
#include "watch.h"

static struct CoMutex mutex;
static struct CoRwlock rwlock;
static struct Coroutine *holder;
static void (*unlock)(void);
static unsigned left;
/* A thread that is kept busy, in a coroutine or a bottom half. */
static sem_t go;
static int busy_tid;

static void keep_busy(void)
{
    cfix_store_release(&busy_tid, qemu_get_thread_id());
    while (sem_wait(&go)) {
    }
}

static bool is_busy(void *opaque)
{
    return cfix_load_acquire(&busy_tid) && watch_in_futex(cfix_load(&busy_tid));
}

static bool one_is_left(void *opaque)
{
    return cfix_load(&left) == 1;
}

static bool nobody_is_left(void *opaque)
{
    return cfix_load(&left) == 0;
}

/* The holder has its lock in io0; the other one waits for it in `where`. */
static void begin(struct world *world, void (*hold)(void *),
                  void (*want)(void *), struct IOThread *where)
{
    sem_init(&go, 0, 0);
    cfix_store(&left, 2u);
    holder = qemu_coroutine_create(hold, NULL);
    aio_co_schedule(world->io0->ctx, holder);
    step_iothread_rests(world->io0);
    aio_co_schedule(where->ctx, qemu_coroutine_create(want, NULL));
    step_iothread_rests(where);
    step_check(cfix_load(&left) == 2, "both are there");
    step_looked(world); /* at what they did, too */
}

static void let_holder_unlock(void (*how)(void))
{
    unlock = how;
    aio_co_wake(holder);
}

/* ---- CoMutex ---- */

static void hold_mutex(void *opaque)
{
    qemu_co_mutex_lock(&mutex);
    qemu_coroutine_yield();
    unlock();
    cfix_fetch_sub(&left, 1u);
}

static void want_mutex(void *opaque)
{
    qemu_co_mutex_lock(&mutex);
    qemu_co_mutex_unlock(&mutex);
    cfix_fetch_sub(&left, 1u);
}

static void unlock_mutex(void)
{
    qemu_co_mutex_unlock(&mutex);
}

static void unlock_and_stay(void)
{
    qemu_co_mutex_unlock(&mutex);
    keep_busy();
}

/* The holder gives it up; what comes next is missing. */
static void give_up(void)
{
    qemu_coroutine_self()->locks_held--;
    mutex.holder = NULL;
    mutex.ctx = NULL;
    mutex.locked--;
}

/* As without the barrier in qemu_co_mutex_lock_slowpath(): the unlocker saw no
 * waiter yet, and the waiter no offer. */
static void unlock_unseen(void)
{
    give_up();
    mutex.handoff = ++mutex.sequence;
}

static struct Coroutine *pop(void)
{
    struct CoWaitRecord *record = SLIST_FIRST(&mutex.from_push);

    SLIST_REMOVE_HEAD(&mutex.from_push, next);
    return record->co;
}

static struct Coroutine *chosen;

static void unlock_unwoken(void)
{
    give_up();
    chosen = pop();
}

static void begin_mutex(struct world *world, struct IOThread *where)
{
    qemu_co_mutex_init(&mutex);
    begin(world, hold_mutex, want_mutex, where);
    step_check(mutex.locked == 2 && mutex.holder == holder,
               "the CoMutex is waited for");
    step_looked(world);
}

static void lose_handoff(struct world *world, void (*how)(void))
{
    begin_mutex(world, world->io1);
    let_holder_unlock(how);
    watch_until("the holder has unlocked", one_is_left, NULL);
    step_iothread_rests(world->io0);
    step_looked(world);
    step_check(mutex.locked == 1 && !mutex.holder, "nobody has the CoMutex");
}

static void run_handoff_lost(struct world *world)
{
    lose_handoff(world, unlock_unseen);
}

static void run_handoff_unwoken(struct world *world)
{
    lose_handoff(world, unlock_unwoken);
}

static void all_end(struct world *world)
{
    watch_until("all have ended", nobody_is_left, NULL);
    step_iothread_rests(world->io0);
    step_iothread_rests(world->io1);
}

static void release_handoff(struct world *world)
{
    struct Coroutine *co = chosen ? chosen : pop();

    step_looked(world);
    aio_co_wake(co);
    all_end(world);
    qemu_co_mutex_destroy(&mutex);
}

static void run_handoff_twin(struct world *world)
{
    begin_mutex(world, world->io1);
    let_holder_unlock(unlock_mutex);
    all_end(world);
    qemu_co_mutex_destroy(&mutex);
}

static void run_mid_handoff(struct world *world)
{
    begin_mutex(world, world->io1);
    hold_arm(CFIX_MUTEX_POPPED, world->io0->thread_id, HOLD_SLEEP);
    let_holder_unlock(unlock_mutex);
    hold_wait(CFIX_MUTEX_POPPED);
    step_iothread_rests(world->io1);
    step_check(mutex.locked == 1 && !mutex.holder && one_is_left(NULL) == false,
               "the CoMutex is being passed on");
}

static void release_mid_handoff(struct world *world)
{
    hold_release(CFIX_MUTEX_POPPED);
    all_end(world);
    qemu_co_mutex_destroy(&mutex);
}

/* Who is chosen comes next in io0, after a coroutine that is still at work. */
static void run_handoff_behind(struct world *world)
{
    begin_mutex(world, world->io0);
    let_holder_unlock(unlock_and_stay);
    watch_until("the old holder is at work", is_busy, NULL);
    step_check(mutex.locked == 1 && !mutex.holder, "nobody has the CoMutex");
}

static void busy_bh(void *opaque)
{
    keep_busy();
}

/* Who is chosen is scheduled in io1, which has something else to do. */
static void run_handoff_queued(struct world *world)
{
    begin_mutex(world, world->io1);
    aio_bh_schedule_oneshot(world->io1->ctx, "busy_bh", busy_bh, NULL);
    watch_until("io1 is busy", is_busy, NULL);
    let_holder_unlock(unlock_mutex);
    watch_until("the holder has unlocked", one_is_left, NULL);
    step_iothread_rests(world->io0);
    step_looked(world);
    step_check(mutex.locked == 1 && !mutex.holder, "nobody has the CoMutex");
}

static void release_busy_one(struct world *world)
{
    sem_post(&go);
    all_end(world);
    qemu_co_mutex_destroy(&mutex);
}

/* ---- CoRwlock ---- */

static void hold_rwlock(void *opaque)
{
    qemu_co_rwlock_wrlock(&rwlock);
    qemu_coroutine_yield();
    unlock();
    cfix_fetch_sub(&left, 1u);
}

static void want_rwlock(void *opaque)
{
    qemu_co_rwlock_rdlock(&rwlock);
    qemu_co_rwlock_unlock(&rwlock);
    cfix_fetch_sub(&left, 1u);
}

static void unlock_rwlock(void)
{
    qemu_co_rwlock_unlock(&rwlock);
}

/* It counts itself out and looks at no ticket. */
static void unlock_ungranted(void)
{
    qemu_co_mutex_lock(&rwlock.mutex);
    rwlock.owners = 0;
    qemu_co_mutex_unlock(&rwlock.mutex);
}

static void begin_rwlock(struct world *world)
{
    qemu_co_rwlock_init(&rwlock);
    begin(world, hold_rwlock, want_rwlock, world->io1);
    step_check(rwlock.owners == -1 && !SIMPLEQ_EMPTY(&rwlock.tickets),
               "the CoRwlock is waited for");
    step_looked(world);
}

static void run_rwlock_stalled(struct world *world)
{
    begin_rwlock(world);
    let_holder_unlock(unlock_ungranted);
    watch_until("the writer has unlocked", one_is_left, NULL);
    step_iothread_rests(world->io0);
    step_looked(world);
    step_check(rwlock.owners == 0 && !SIMPLEQ_EMPTY(&rwlock.tickets),
               "nobody has the CoRwlock");
}

static void release_rwlock(struct world *world)
{
    struct CoRwTicket *ticket = SIMPLEQ_FIRST(&rwlock.tickets);

    SIMPLEQ_REMOVE_HEAD(&rwlock.tickets, next);
    rwlock.owners = 1;
    step_looked(world);
    aio_co_wake(ticket->co);
    all_end(world);
    qemu_co_mutex_destroy(&rwlock.mutex);
}

static void run_rwlock_twin(struct world *world)
{
    begin_rwlock(world);
    let_holder_unlock(unlock_rwlock);
    all_end(world);
    qemu_co_mutex_destroy(&rwlock.mutex);
}

static void run_mid_rwlock(struct world *world)
{
    begin_rwlock(world);
    hold_arm(CFIX_RWLOCK_GRANTED, world->io0->thread_id, HOLD_SLEEP);
    let_holder_unlock(unlock_rwlock);
    hold_wait(CFIX_RWLOCK_GRANTED);
    step_iothread_rests(world->io1);
    step_check(rwlock.owners == 1 && SIMPLEQ_EMPTY(&rwlock.tickets),
               "the CoRwlock is being passed on");
}

static void release_mid_rwlock(struct world *world)
{
    hold_release(CFIX_RWLOCK_GRANTED);
    all_end(world);
    qemu_co_mutex_destroy(&rwlock.mutex);
}

const struct scenario sc_handoff_table[] = {
    {
        .name = "handoff-lost",
        .about = "a CoMutex was given up, and its waiter not seen",
        .coroutines = 2,
        .run = run_handoff_lost,
        .release = release_handoff,
    },
    {
        .name = "handoff-unwoken",
        .about = "a CoMutex's next holder was chosen, and not woken",
        .coroutines = 2,
        .run = run_handoff_unwoken,
        .release = release_handoff,
    },
    {
        .name = "handoff-twin",
        .about = "the same CoMutex, passed on",
        .coroutines = 1,
        .run = run_handoff_twin,
    },
    {
        .name = "mid-handoff",
        .about = "the next holder is off the list, and not yet woken",
        .coroutines = 3,
        .run = run_mid_handoff,
        .release = release_mid_handoff,
    },
    {
        .name = "handoff-behind",
        .about = "it is woken once its waker's coroutine yields",
        .coroutines = 3,
        .run = run_handoff_behind,
        .release = release_busy_one,
    },
    {
        .name = "handoff-queued",
        .about = "it is scheduled in a loop that is busy",
        .coroutines = 2,
        .run = run_handoff_queued,
        .release = release_busy_one,
    },
    {
        .name = "rwlock-stalled",
        .about = "a CoRwlock is free, and its first ticket not granted",
        .coroutines = 2,
        .run = run_rwlock_stalled,
        .release = release_rwlock,
    },
    {
        .name = "rwlock-twin",
        .about = "the same CoRwlock, passed on",
        .coroutines = 1,
        .run = run_rwlock_twin,
    },
    {
        .name = "mid-rwlock",
        .about = "the ticket is granted, its coroutine not yet woken",
        .coroutines = 3,
        .run = run_mid_rwlock,
        .release = release_mid_rwlock,
    },
    { .name = NULL },
};
