/* Steps that the scenarios' scripts have in common.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "atomics.h"
#include "hold.h"
#include "runtime/aio_wait.h"
#include "runtime/main_loop.h"
#include "scenario.h"
#include "watch.h"

static const char node_name[] = "q0";

void step_check(bool holds, const char *what)
{
    if (!holds) {
        watch_fail("the state was not reached: %s", what);
    }
}

void step_open_node(struct world *world, unsigned long interval)
{
    world->add = (struct qmp_node){ node_name, world->io0->ctx, interval };
    qmp_send(&qmp_blockdev_add_command, &world->add);
    qmp_wait_returned();
}

void step_close_node(struct world *world)
{
    world->del = (struct qmp_node){ .node_name = node_name };
    qmp_send(&qmp_blockdev_del_command, &world->del);
}

struct BDRVQcow2State *step_qcow2(struct world *world)
{
    struct BlockDriverState *bs = world->add.bs;

    return bs->opaque;
}

/*
 * Nothing queued, the thread asleep in its poll, and still nothing queued:
 * with no other thread acting, that is a state that stays.
 */
static bool rests(struct AioContext *ctx, int tid)
{
    return watch_nothing_queued(ctx) &&
           (watch_in_ppoll(tid) || watch_in_epoll(tid)) &&
           watch_nothing_queued(ctx);
}

static bool main_waits(void *opaque)
{
    struct world *world = opaque;

    return cfix_load(&global_aio_wait.num_waiters) > 0 &&
           rests(qemu_get_aio_context(), world->main_tid) &&
           cfix_load(&global_aio_wait.num_waiters) > 0;
}

void step_main_waits(struct world *world)
{
    watch_until("the main thread waits in a nested poll", main_waits, world);
}

static bool main_rests(void *opaque)
{
    struct world *world = opaque;

    return cfix_load(&global_aio_wait.num_waiters) == 0 &&
           watch_nothing_queued(iohandler_get_aio_context()) &&
           rests(qemu_get_aio_context(), world->main_tid) &&
           watch_nothing_queued(iohandler_get_aio_context());
}

void step_main_rests(struct world *world)
{
    watch_until("the main thread rests in its loop", main_rests, world);
}

static bool iothread_rests(void *opaque)
{
    struct IOThread *iothread = opaque;

    return rests(iothread->ctx, iothread->thread_id);
}

void step_iothread_rests(struct IOThread *iothread)
{
    watch_until("an iothread rests in its loop", iothread_rests, iothread);
}

void step_looked(struct world *world)
{
    /* Pairs with the fetch_sub in aio_poll and the fetch_and in aio_ctx_check.
     * The value does not change. */
    cfix_fetch_add(&qemu_get_aio_context()->notify_me, 0u);
    cfix_fetch_add(&iohandler_get_aio_context()->notify_me, 0u);
    cfix_fetch_add(&world->io0->ctx->notify_me, 0u);
    cfix_fetch_add(&world->io1->ctx->notify_me, 0u);
}

void step_wake_before_arm(struct world *world)
{
    hold_arm(CFIX_SLEEP_BEFORE_ARM, world->io0->thread_id, HOLD_SLEEP);
    step_open_node(world, world->interval);
    hold_wait(CFIX_SLEEP_BEFORE_ARM);
    step_close_node(world);
    step_main_waits(world);
    hold_release(CFIX_SLEEP_BEFORE_ARM);
}

void step_reader_stays(struct world *world)
{
    hold_arm(CFIX_RDUNLOCK_ENTERED, world->io0->thread_id, HOLD_SLEEP);
    step_open_node(world, 0);
    hold_wait(CFIX_RDUNLOCK_ENTERED);
    step_close_node(world);
    step_main_waits(world);
}

void step_went_on(struct world *world)
{
    qmp_wait_returned();
    step_main_rests(world);
    step_iothread_rests(world->io0);
}

#define TURN_NS INT64_C(10000000)

static struct QEMUTimer turn;
static int turns_end, turns_ended;

static void turn_cb(void *opaque)
{
    if (cfix_load(&turns_end)) {
        cfix_store(&turns_ended, 1);
    } else {
        timer_mod_ns(&turn, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + TURN_NS);
    }
}

static bool turns_are_over(void *opaque)
{
    return cfix_load(&turns_ended);
}

void step_main_turns(void)
{
    timer_init(&turn, qemu_get_aio_context()->tlg.tl[QEMU_CLOCK_REALTIME],
               turn_cb, NULL);
    timer_mod_ns(&turn, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + TURN_NS);
}

void step_main_turns_no_more(void)
{
    cfix_store(&turns_end, 1);
    watch_until("the main loop's turns are over", turns_are_over, NULL);
}
