/* Scenarios of loops that sleep on: work queued, a timer past.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "atomics.h"
#include "scenario.h"
#include "watch.h"

/* ---- bottom halves ---- */

static void bh_cb(void *opaque)
{
}

/* What aio_bh_enqueue() does, but for the notification. */
static void enqueue(struct world *world, unsigned flags)
{
    struct AioContext *ctx = world->io0->ctx;
    struct QEMUBH *bh = aio_bh_new(ctx, "bh_cb", bh_cb, NULL);

    step_iothread_rests(world->io0);
    bh->flags = BH_PENDING | BH_SCHEDULED | BH_ONESHOT | flags;
    bh->next.sle_next = cfix_load(&ctx->bh_list.slh_first);
    cfix_store(&ctx->bh_list.slh_first, bh);
    step_check(watch_in_ppoll(world->io0->thread_id), "io0 sleeps");
}

static void run_bh_unnotified(struct world *world)
{
    enqueue(world, 0);
}

static void run_bh_idle(struct world *world)
{
    enqueue(world, BH_IDLE);
}

/* ---- timers ---- */

/* Long enough for nobody to take it for a loop that is merely late. */
#define OVERDUE_NS INT64_C(1000000000)

static struct QEMUTimer timer;
static int fired;

static void timer_cb(void *opaque)
{
    cfix_store(&fired, 1);
}

static void notify_nobody(void *opaque, enum QEMUClockType type)
{
}

static bool is_overdue(void *opaque)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME) >
           timer.expire_time + OVERDUE_NS;
}

static bool has_fired(void *opaque)
{
    return cfix_load(&fired);
}

static void run_timer_unserved(struct world *world)
{
    struct QEMUTimerList *list = world->io0->ctx->tlg.tl[QEMU_CLOCK_REALTIME];
    void (*notify_cb)(void *, enum QEMUClockType) = list->notify_cb;

    step_iothread_rests(world->io0);
    timer_init(&timer, list, timer_cb, NULL);
    list->notify_cb = notify_nobody;
    timer_mod_ns(&timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + 1);
    list->notify_cb = notify_cb;
    watch_until("the timer is overdue", is_overdue, NULL);
    step_check(!has_fired(NULL), "io0 has not served it");
}

static void run_timer_served(struct world *world)
{
    struct QEMUTimerList *list = world->io0->ctx->tlg.tl[QEMU_CLOCK_REALTIME];

    step_iothread_rests(world->io0);
    timer_init(&timer, list, timer_cb, NULL);
    timer_mod_ns(&timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + 1);
    watch_until("the timer has fired", has_fired, NULL);
    step_iothread_rests(world->io0);
}

/* ---- the same beside a main loop that has much to do ---- */

static void run_bh_unnotified_busy(struct world *world)
{
    run_bh_unnotified(world);
    step_main_turns();
}

static void release_busy_main(struct world *world)
{
    step_main_turns_no_more();
}

const struct scenario sc_queue_table[] = {
    {
        .name = "bh-unnotified",
        .about = "a bottom half is queued, the eventfd never written",
        .coroutines = 1,
        .run = run_bh_unnotified,
    },
    {
        .name = "bh-unnotified-busy",
        .about = "the same, and the main loop turns a hundred times a second",
        .coroutines = 1,
        .run = run_bh_unnotified_busy,
        .release = release_busy_main,
    },
    {
        .name = "bh-idle",
        .about = "the same, an idle one, which wakes nobody by design",
        .coroutines = 1,
        .run = run_bh_idle,
    },
    {
        .name = "timer-unserved",
        .about = "a timer is past, its loop sleeps without a timeout",
        .coroutines = 1,
        .run = run_timer_unserved,
    },
    {
        .name = "timer-served",
        .about = "the same timer, notified, has been served",
        .coroutines = 1,
        .run = run_timer_served,
    },
    { .name = NULL },
};
