/* Scenarios of an iothread that is told to stop, and is joined.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <semaphore.h>

#include "atomics.h"
#include "hold.h"
#include "runtime/main_loop.h"
#include "scenario.h"
#include "watch.h"

static struct IOThread *stopped;
static sem_t go;

static void finish(void)
{
    qemu_thread_join(&stopped->thread);
}

/* It is told, and nothing makes it look. */
static void stop_unkicked(void *opaque)
{
    /* Pairs with the fetch_sub in aio_poll: behind the thread's last look. */
    cfix_fetch_add(&stopped->ctx->notify_me, 0u);
    stopped->stopping = true;
    stopped->running = false;
    finish();
}

/* As iothread_destroy(), but for what it frees. */
static void stop_in_order(void *opaque)
{
    iothread_destroy(stopped);
}

static const struct QmpCommand unkicked_command = { "x-stop", stop_unkicked };
static const struct QmpCommand in_order_command = { "x-stop", stop_in_order };

static bool main_in_futex(void *opaque)
{
    struct world *world = opaque;

    return watch_in_futex(world->main_tid);
}

static void begin(void)
{
    sem_init(&go, 0, 0);
    stopped = iothread_create("io2");
    step_iothread_rests(stopped);
}

static void run_stop_unkicked(struct world *world)
{
    begin();
    qmp_send(&unkicked_command, world);
    watch_until("the main thread joins", main_in_futex, world);
    step_iothread_rests(stopped);
}

/* It has something to do first. */
static void busy_bh(void *opaque)
{
    while (sem_wait(&go)) {
    }
}

static bool stopped_in_futex(void *opaque)
{
    return watch_in_futex(stopped->thread_id);
}

static void run_stop_busy(struct world *world)
{
    begin();
    aio_bh_schedule_oneshot(stopped->ctx, "busy_bh", busy_bh, NULL);
    watch_until("io2 is busy", stopped_in_futex, NULL);
    qmp_send(&in_order_command, world);
    watch_until("the main thread joins", main_in_futex, world);
}

static void release_stop_busy(struct world *world)
{
    sem_post(&go);
    step_went_on(world);
}

/* The bottom half is queued, and the eventfd not yet written. */
static void run_mid_stop(struct world *world)
{
    begin();
    hold_arm(CFIX_NOTIFY_QUEUED, world->main_tid, HOLD_SLEEP);
    aio_bh_schedule_oneshot(iohandler_get_aio_context(), "x-stop",
                            stop_in_order, NULL);
    hold_wait(CFIX_NOTIFY_QUEUED);
    step_check(watch_in_ppoll(stopped->thread_id), "io2 sleeps");
}

static void release_mid_stop(struct world *world)
{
    hold_release(CFIX_NOTIFY_QUEUED);
    step_main_rests(world);
}

const struct scenario sc_stop_table[] = {
    {
        .name = "stop-unkicked",
        .about = "an iothread is joined, and was not woken to stop",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_stop_unkicked,
    },
    {
        .name = "stop-busy",
        .about = "the same, and it has something to do first",
        .coroutines = 1,
        .run = run_stop_busy,
        .release = release_stop_busy,
    },
    {
        .name = "mid-stop",
        .about = "it is told to stop, its eventfd not yet written",
        .coroutines = 1,
        .run = run_mid_stop,
        .release = release_mid_stop,
    },
    { .name = NULL },
};
