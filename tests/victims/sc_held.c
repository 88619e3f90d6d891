/* Scenarios that hold still what a healthy process passes in an instant.
 * SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * In each of these, memory looks like a lost wake-up, and is none: the thread
 * that will put it right is on its way.  Nothing may be reported.  When let
 * go, all of them go on.
 */
#include "co_sleep.h"
#include "graph_lock.h"
#include "hold.h"
#include "scenario.h"
#include "watch.h"

/* Where the thread of this program's one scenario is held. */
static enum cfix_point held;

static void hold_at(enum cfix_point point, int tid, enum hold_how how)
{
    held = point;
    hold_arm(point, tid, how);
}

/* The main thread wakes a cleaner that is fast asleep, and gets as far as
 * `point`. */
static struct BDRVQcow2State *
wake_up_to(struct world *world, enum cfix_point point, enum hold_how how)
{
    step_open_node(world, world->interval);
    step_iothread_rests(world->io0);
    hold_at(point, world->main_tid, how);
    step_close_node(world);
    hold_wait(point);
    return step_qcow2(world);
}

static void wake_up_to_taken(struct world *world, enum hold_how how)
{
    struct BDRVQcow2State *s = wake_up_to(world, CFIX_WAKE_TAKEN, how);

    step_iothread_rests(world->io0);
    step_check(s->cache_clean_interval == 0 && s->cache_clean_timer_co &&
                   !s->cache_clean_timer_wake.to_wake,
               "the sleeper is taken, not yet scheduled");
}

static void run_mid_wake(struct world *world)
{
    wake_up_to_taken(world, HOLD_SLEEP);
}

static void run_mid_wake_spin(struct world *world)
{
    wake_up_to_taken(world, HOLD_SPIN);
}

static void run_mid_wake_entered(struct world *world)
{
    struct BDRVQcow2State *s = wake_up_to(world, CFIX_WAKE_ENTERED, HOLD_SLEEP);

    step_iothread_rests(world->io0);
    step_check(s->cache_clean_interval == 0 &&
                   s->cache_clean_timer_wake.to_wake == s->cache_clean_timer_co,
               "told to stop, and not yet woken");
}

static void run_mid_notify_wake(struct world *world)
{
    wake_up_to(world, CFIX_NOTIFY_QUEUED, HOLD_SLEEP);
    step_check(!watch_nothing_queued(world->io0->ctx) &&
                   watch_in_ppoll(world->io0->thread_id),
               "io0 has work, and sleeps");
}

/* The main thread polls for the last reader, which gets as far as `point`. */
static void unlock_up_to(struct world *world, enum cfix_point point)
{
    step_reader_stays(world);
    hold_at(point, world->io0->thread_id, HOLD_SLEEP);
    hold_release(CFIX_RDUNLOCK_ENTERED);
    hold_wait(point);
    step_check(bdrv_graph_reader_count() == 0, "there is no reader");
    step_check(watch_in_ppoll(world->main_tid), "the main thread sleeps");
}

static void run_mid_kick(struct world *world)
{
    unlock_up_to(world, CFIX_RDUNLOCK_COUNTED);
}

static void run_mid_notify(struct world *world)
{
    unlock_up_to(world, CFIX_NOTIFY_QUEUED);
}

/* The reader has left and kicked; the main thread spins at `point`. */
static void kicked_up_to(struct world *world, enum cfix_point point)
{
    step_reader_stays(world);
    hold_at(point, world->main_tid, HOLD_SPIN);
    hold_release(CFIX_RDUNLOCK_ENTERED);
    hold_wait(point);
    step_iothread_rests(world->io0);
    step_check(bdrv_graph_reader_count() == 0, "there is no reader");
    step_check(watch_state(world->main_tid) == 'R', "runnable");
}

static void run_runnable(struct world *world)
{
    kicked_up_to(world, CFIX_POLL_RETURNED);
}

static void run_runnable_late(struct world *world)
{
    kicked_up_to(world, CFIX_POLL_SERVED);
}

static void release_held(struct world *world)
{
    hold_release(held);
    step_went_on(world);
}

const struct scenario sc_held_table[] = {
    {
        .name = "mid-wake",
        .about = "the waker has taken the sleeper, and not yet scheduled it",
        .coroutines = 3,
        .interval = LONG_SLEEP,
        .run = run_mid_wake,
        .release = release_held,
    },
    {
        .name = "mid-wake-spin",
        .about = "the same, the waker spinning in user code",
        .coroutines = 3,
        .interval = LONG_SLEEP,
        .run = run_mid_wake_spin,
        .release = release_held,
    },
    {
        .name = "mid-wake-entered",
        .about = "the waker is in qemu_co_sleep_wake, nothing done yet",
        .coroutines = 3,
        .interval = LONG_SLEEP,
        .run = run_mid_wake_entered,
        .release = release_held,
    },
    {
        .name = "mid-kick",
        .about = "the last reader is uncounted, the writer not yet kicked",
        .coroutines = 2,
        .fixed = true,
        .run = run_mid_kick,
        .release = release_held,
    },
    {
        .name = "mid-notify",
        .about = "the kick is queued, its eventfd not yet written",
        .coroutines = 2,
        .fixed = true,
        .run = run_mid_notify,
        .release = release_held,
    },
    {
        .name = "mid-notify-wake",
        .about = "the sleeper is queued, its eventfd not yet written",
        .coroutines = 3,
        .interval = LONG_SLEEP,
        .run = run_mid_notify_wake,
        .release = release_held,
    },
    {
        .name = "runnable",
        .about = "the writer is out of its poll, and has seen nothing yet",
        .coroutines = 1,
        .fixed = true,
        .run = run_runnable,
        .release = release_held,
    },
    {
        .name = "runnable-late",
        .about = "the same, the kick served, the condition not looked at",
        .coroutines = 1,
        .fixed = true,
        .run = run_runnable_late,
        .release = release_held,
    },
    { .name = NULL },
};
