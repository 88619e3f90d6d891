/* Scenarios of the sleeper: idle, asleep, its wake lost or erased.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "atomics.h"
#include "hold.h"
#include "scenario.h"

static void run_idle(struct world *world)
{
}

static void run_timer_waiting(struct world *world)
{
    step_open_node(world, world->interval);
    step_iothread_rests(world->io0);
    step_check(step_qcow2(world)->cache_clean_timer_wake.to_wake ==
                   step_qcow2(world)->cache_clean_timer_co,
               "the cleaner is asleep");
}

/*
 * The wake is split: the main thread is held after it has read to_wake, which
 * is NULL as the cleaner has not armed; the cleaner arms; the main thread goes
 * on with what it has read.  Both primitives are led the same way.
 */
static void arm_within_wake(struct world *world)
{
    hold_arm(CFIX_SLEEP_BEFORE_ARM, world->io0->thread_id, HOLD_SLEEP);
    step_open_node(world, world->interval);
    hold_wait(CFIX_SLEEP_BEFORE_ARM);
    hold_arm(CFIX_WAKE_LOADED, world->main_tid, HOLD_SLEEP);
    step_close_node(world);
    hold_wait(CFIX_WAKE_LOADED);
    hold_arm(CFIX_SLEEP_ARMED, world->io0->thread_id, HOLD_SLEEP);
    hold_release(CFIX_SLEEP_BEFORE_ARM);
    hold_wait(CFIX_SLEEP_ARMED);
    hold_release(CFIX_WAKE_LOADED);
    hold_release(CFIX_SLEEP_ARMED);
}

/* Both threads asleep for good, the cleaner told to stop and parked. */
static struct BDRVQcow2State *check_stuck(struct world *world)
{
    struct BDRVQcow2State *s = step_qcow2(world);

    step_main_waits(world);
    step_iothread_rests(world->io0);
    step_check(s->cache_clean_interval == 0, "the cleaner is told to stop");
    step_check(s->cache_clean_timer_co != NULL, "the cleaner has not ended");
    step_check(!qemu_co_queue_empty(&s->cache_clean_timer_exit),
               "somebody waits for the cleaner");
    step_check(!qmp_returned(), "blockdev-del hangs");
    return s;
}

static void run_wake_lost(struct world *world)
{
    struct BDRVQcow2State *s;

    step_wake_before_arm(world);
    s = check_stuck(world);
    step_check(s->cache_clean_timer_wake.to_wake == s->cache_clean_timer_co,
               "armed, and never kicked");
}

/* Its timer may fire, and then wakes nobody: io0 is held in its callback. */
static void run_wake_lost_held(struct world *world)
{
    run_wake_lost(world);
    hold_arm(CFIX_WAKE_ENTERED, world->io0->thread_id, HOLD_SLEEP);
}

/* Has the node's lock for as long as it sleeps. */
static void lock_and_sleep(void *opaque)
{
    struct BDRVQcow2State *s = opaque;
    struct QemuCoSleep wake = { 0 };

    qemu_co_mutex_lock(&s->lock);
    qemu_co_sleep_ns_wakeable(&wake, QEMU_CLOCK_REALTIME,
                              LONG_SLEEP * INT64_C(1000000000));
    qemu_co_mutex_unlock(&s->lock);
}

/* The cleaner that is woken has to wait for its lock, and the main thread with
 * it. */
static void run_wake_lost_behind(struct world *world)
{
    run_wake_lost(world);
    aio_co_schedule(world->io1->ctx,
                    qemu_coroutine_create(lock_and_sleep, step_qcow2(world)));
    step_iothread_rests(world->io1);
}

static void run_wake_lost_turning(struct world *world)
{
    run_wake_lost_behind(world);
    step_main_turns();
}

static void run_erased(struct world *world)
{
    arm_within_wake(world);
    step_check(check_stuck(world)->cache_clean_timer_wake.to_wake == NULL,
               "the arm is wiped out");
}

static void run_erased_fired(struct world *world)
{
    hold_arm(CFIX_SLEEP_FIRED, world->io0->thread_id, HOLD_SLEEP);
    arm_within_wake(world);
    hold_wait(CFIX_SLEEP_FIRED);
    hold_release(CFIX_SLEEP_FIRED);
    step_check(check_stuck(world)->cache_clean_timer_wake.to_wake == NULL,
               "the arm is wiped out, and the timer did not help");
}

static void run_wake_lost_twin(struct world *world)
{
    step_wake_before_arm(world);
    step_went_on(world);
}

static void run_erased_twin(struct world *world)
{
    arm_within_wake(world);
    step_went_on(world);
}

const struct scenario sc_sleep_table[] = {
    {
        .name = "idle",
        .about = "nothing to do, nobody asleep",
        .coroutines = 1,
        .run = run_idle,
    },
    {
        .name = "timer-waiting",
        .about = "a cleaner sleeps, and nobody has asked it to stop",
        .coroutines = 2,
        .interval = LONG_SLEEP,
        .run = run_timer_waiting,
    },
    {
        .name = "wake-lost",
        .about = "the cleaner was woken before it had armed",
        .coroutines = 3,
        .end = END_STUCK,
        .interval = LONG_SLEEP,
        .run = run_wake_lost,
    },
    {
        .name = "wake-lost-held",
        .about = "the same, and io0 is held once its timer fires",
        .coroutines = 3,
        .end = END_STUCK,
        .interval = LONG_SLEEP,
        .run = run_wake_lost_held,
    },
    {
        .name = "wake-lost-behind",
        .about = "the same, and another coroutine has the node's lock",
        .coroutines = 4,
        .end = END_STUCK,
        .interval = LONG_SLEEP,
        .run = run_wake_lost_behind,
    },
    {
        .name = "wake-lost-turning",
        .about = "the same, and the main thread's wait wakes up all the time",
        .coroutines = 4,
        .end = END_STUCK,
        .interval = LONG_SLEEP,
        .run = run_wake_lost_turning,
    },
    {
        .name = "wake-lost-twin",
        .about = "the same interleaving, fixed primitive",
        .coroutines = 1,
        .fixed = true,
        .interval = LONG_SLEEP,
        .run = run_wake_lost_twin,
    },
    {
        .name = "erased",
        .about = "the cleaner armed between a wake's load and store",
        .coroutines = 3,
        .end = END_STUCK,
        .interval = LONG_SLEEP,
        .run = run_erased,
    },
    {
        .name = "erased-fired",
        .about = "the same, and its timer has fired in vain",
        .coroutines = 3,
        .end = END_STUCK,
        .interval = 1,
        .run = run_erased_fired,
    },
    {
        .name = "erased-twin",
        .about = "the same interleaving, fixed primitive",
        .coroutines = 1,
        .fixed = true,
        .interval = LONG_SLEEP,
        .run = run_erased_twin,
    },
    { .name = NULL },
};
