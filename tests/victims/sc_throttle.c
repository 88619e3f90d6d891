/* Scenarios of throttled requests: with and without their timer.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "atomics.h"
#include "hold.h"
#include "scenario.h"
#include "waits.h"
#include "watch.h"

#define HOUR_NS INT64_C(3600000000000)

static struct ThrottleGroupMember tgm;
static int64_t limit_ns;
static int done;

static void request(void *opaque)
{
    throttle_group_register_tgm(&tgm);
    if (limit_ns) {
        timer_mod_ns(&tgm.write_timer,
                     qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + limit_ns);
    }
    throttle_group_co_io_limits_intercept(&tgm, 4096, 1);
    timer_del(&tgm.write_timer);
    cfix_store(&done, 1);
}

static void throttle(struct world *world, int64_t ns)
{
    limit_ns = ns;
    aio_co_schedule(world->io0->ctx, qemu_coroutine_create(request, NULL));
}

static void wait_throttled(struct world *world)
{
    step_iothread_rests(world->io0);
    step_looked(world);
    step_check(!cfix_load(&done) && tgm.pending_reqs[1] == 1,
               "a request is throttled");
    step_looked(world);
}

static void run_throttle_unarmed(struct world *world)
{
    throttle(world, 0);
    wait_throttled(world);
}

static void run_throttle_armed(struct world *world)
{
    throttle(world, HOUR_NS);
    wait_throttled(world);
}

static void run_mid_throttle(struct world *world)
{
    hold_arm(CFIX_THROTTLE_FIRED, world->io0->thread_id, HOLD_SLEEP);
    throttle(world, 1);
    hold_wait(CFIX_THROTTLE_FIRED);
    step_check(!cfix_load(&done) && tgm.write_timer.expire_time == -1,
               "its timer has fired");
}

static bool is_done(void *opaque)
{
    return cfix_load(&done);
}

static void let_go_bh(void *opaque)
{
    qemu_co_queue_next(&tgm.throttled_reqs[1]);
}

static void release_throttle(struct world *world)
{
    aio_bh_schedule_oneshot(world->io0->ctx, "let_go_bh", let_go_bh, NULL);
    watch_until("the request has been let go", is_done, NULL);
    step_iothread_rests(world->io0);
}

static void release_mid_throttle(struct world *world)
{
    hold_release(CFIX_THROTTLE_FIRED);
    watch_until("the request has been let go", is_done, NULL);
    step_iothread_rests(world->io0);
}

const struct scenario sc_throttle_table[] = {
    {
        .name = "throttle-unarmed",
        .about = "a throttled request has no timer",
        .coroutines = 2,
        .run = run_throttle_unarmed,
        .release = release_throttle,
    },
    {
        .name = "throttle-armed",
        .about = "the same, its timer is an hour ahead",
        .coroutines = 2,
        .run = run_throttle_armed,
        .release = release_throttle,
    },
    {
        .name = "mid-throttle",
        .about = "its timer has fired, and nothing is let go yet",
        .coroutines = 2,
        .run = run_mid_throttle,
        .release = release_mid_throttle,
    },
    { .name = NULL },
};
