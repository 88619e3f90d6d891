/* Scenarios of a coroutine that hardly anything refers to, or nothing.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>

#include "atomics.h"
#include "scenario.h"
#include "waits.h"
#include "watch.h"

static struct ThrottleGroupMember member;
static unsigned parked;
/* Its address, in a form that nobody recognises, to let it go in the end. */
static uintptr_t hidden;

static void throttled_entry(void *opaque)
{
    cfix_store(&hidden, ~(uintptr_t)qemu_coroutine_self());
    throttle_group_co_io_limits_intercept(&member, 4096, 1);
    cfix_fetch_sub(&parked, 1u);
}

/* block/linux-aio.c; the kernel has the address of `laiocb`. */
struct qemu_laiocb {
    struct Coroutine *co;
    int ret;
};

static __attribute__((noinline, noclone)) int laio_co_submit(void)
{
    struct qemu_laiocb laiocb = { qemu_coroutine_self(), -EINPROGRESS };

    qemu_coroutine_yield();
    return ((volatile struct qemu_laiocb *)&laiocb)->ret;
}

static void kernel_entry(void *opaque)
{
    cfix_store(&hidden, ~(uintptr_t)qemu_coroutine_self());
    laio_co_submit();
    cfix_fetch_sub(&parked, 1u);
}

static void park_bh(void *opaque)
{
    qemu_coroutine_enter(qemu_coroutine_create(opaque, NULL));
}

static void park(struct world *world, void (*entry)(void *opaque))
{
    qemu_co_queue_init(&member.throttled_reqs[1]);
    cfix_store(&parked, 1u);
    aio_bh_schedule_oneshot(world->io0->ctx, "park_bh", park_bh, entry);
    step_iothread_rests(world->io0);
    step_check(cfix_load(&parked) == 1, "it is parked");
}

static void drop_bh(void *opaque)
{
    qemu_co_queue_init(&member.throttled_reqs[1]);
}

static void drop(struct world *world)
{
    aio_bh_schedule_oneshot(world->io0->ctx, "drop_bh", drop_bh, NULL);
    step_iothread_rests(world->io0);
}

static void run_orphan(struct world *world)
{
    park(world, throttled_entry);
    drop(world);
}

/* Nothing says what it is for; whoever wrote it may know. */
static void **kept;

static void run_orphan_kept(struct world *world)
{
    park(world, throttled_entry);
    kept = malloc(sizeof(*kept));
    step_check(kept != NULL, "memory");
    *kept = (void *)~cfix_load(&hidden);
    drop(world);
}

/* ---- one who has taken it out of its queue to wake it ---- */

static struct QemuThread taker;
static sem_t go;
static int taker_tid;

static void *taker_thread(void *opaque)
{
    struct Coroutine *co = (struct Coroutine *)~cfix_load(&hidden);

    cfix_store(&taker_tid, qemu_get_thread_id());
    while (sem_wait(&go)) {
    }
    aio_co_wake(co);
    return NULL;
}

static bool taker_sleeps(void *opaque)
{
    int tid = cfix_load(&taker_tid);

    return tid && watch_in_futex(tid);
}

static void run_orphan_taken(struct world *world)
{
    park(world, throttled_entry);
    sem_init(&go, 0, 0);
    qemu_thread_create(&taker, "taker", taker_thread, NULL);
    watch_until("the taker sleeps", taker_sleeps, NULL);
    drop(world);
}

static void run_orphan_kernel(struct world *world)
{
    park(world, kernel_entry);
}

/* ---- in the end ---- */

static bool nobody_is_parked(void *opaque)
{
    return cfix_load(&parked) == 0;
}

static void release_orphan(struct world *world)
{
    if (cfix_load(&taker_tid)) {
        sem_post(&go);
        qemu_thread_join(&taker);
    } else {
        aio_co_wake((struct Coroutine *)~cfix_load(&hidden));
    }
    watch_until("it has gone on", nobody_is_parked, NULL);
    step_iothread_rests(world->io0);
    free(kept);
}

const struct scenario sc_orphan_table[] = {
    {
        .name = "orphan",
        .about = "a throttled coroutine was dropped from its queue",
        .coroutines = 2,
        .run = run_orphan,
        .release = release_orphan,
    },
    {
        .name = "orphan-kept",
        .about = "the same, and an object that nobody reads has it",
        .coroutines = 2,
        .run = run_orphan_kept,
        .release = release_orphan,
    },
    {
        .name = "orphan-taken",
        .about = "the same, and a thread is about to wake it",
        .coroutines = 2,
        .run = run_orphan_taken,
        .release = release_orphan,
    },
    {
        .name = "orphan-kernel",
        .about = "a coroutine that only the kernel knows",
        .coroutines = 2,
        .run = run_orphan_kernel,
        .release = release_orphan,
    },
    { .name = NULL },
};
