/* Scenarios of the sleeper: idle, asleep, its wake lost or erased.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "atomics.h"
#include "hold.h"
#include "scenario.h"

void run_idle(struct world *world)
{
}

void run_timer_waiting(struct world *world)
{
    step_open_node(world, world->interval);
    step_iothread_rests(world->io0);
    step_check(step_qcow2(world)->cache_clean_timer_wake.to_wake ==
                   step_qcow2(world)->cache_clean_timer_co,
               "the cleaner is asleep");
}

/*
 * The wake goes first: the cleaner is held when it is about to arm, the main
 * thread wakes it, and waits for its end; only then does it arm.
 */
static void wake_before_arm(struct world *world)
{
    hold_arm(CFIX_SLEEP_BEFORE_ARM, world->io0->thread_id, HOLD_SLEEP);
    step_open_node(world, world->interval);
    hold_wait(CFIX_SLEEP_BEFORE_ARM);
    step_close_node(world);
    step_main_waits(world);
    hold_release(CFIX_SLEEP_BEFORE_ARM);
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

void run_wake_lost(struct world *world)
{
    struct BDRVQcow2State *s;

    wake_before_arm(world);
    s = check_stuck(world);
    step_check(s->cache_clean_timer_wake.to_wake == s->cache_clean_timer_co,
               "armed, and never kicked");
}

void run_erased(struct world *world)
{
    arm_within_wake(world);
    step_check(check_stuck(world)->cache_clean_timer_wake.to_wake == NULL,
               "the arm is wiped out");
}

void run_erased_fired(struct world *world)
{
    hold_arm(CFIX_SLEEP_FIRED, world->io0->thread_id, HOLD_SLEEP);
    arm_within_wake(world);
    hold_wait(CFIX_SLEEP_FIRED);
    hold_release(CFIX_SLEEP_FIRED);
    step_check(check_stuck(world)->cache_clean_timer_wake.to_wake == NULL,
               "the arm is wiped out, and the timer did not help");
}

void run_wake_lost_twin(struct world *world)
{
    wake_before_arm(world);
    step_went_on(world);
}

void run_erased_twin(struct world *world)
{
    arm_within_wake(world);
    step_went_on(world);
}
