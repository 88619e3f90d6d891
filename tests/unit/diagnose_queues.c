/* Rules on what loops have to serve: bottom halves, coroutines, timers.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define S_NS INT64_C(1000000000)

static struct world *world_loop(void)
{
    struct world *world = world_quiet();

    world_wait(world, QH_WAIT_EVENTS, WORLD_MAIN_TID, 0)->function =
        "main_loop_wait";
    world_wait(world, QH_WAIT_EVENTS, WORLD_IO0_TID, 0)->function =
        "iothread_run";
    world->main->polls = qh_raddr(0);
    return world;
}

static void test_queued(void **state)
{
    struct world *world = world_loop();
    struct qh_bh bh = { .address = qh_raddr(0x6000), .callback = "some_bh" };
    struct raddr coroutine = qh_raddr(0x7000);

    world_assert_none(world, false);
    world->io0_context->pending = &bh;
    world->io0_context->pending_count = 1;
    world_assert_finding(world, "aio.queued-unnotified", QH_PROOF);
    bh.idle = true;
    world_assert_none(world, false);
    world->io0_context->scheduled = &coroutine;
    world->io0_context->scheduled_count = 1;
    world_assert_finding(world, "aio.queued-unnotified", QH_PROOF);
    world->io0_context->event_count = -1; /* as of a core */
    world_assert_finding(world, "aio.queued-unnotified", QH_PROOF);
    world->io0_context->notified = true; /* perhaps by a write to the eventfd */
    world_assert_none(world, true);
    world->io0_context->notified = false;
    world->io0_context->event_count = 1;
    world_assert_none(world, true);
    world->io0_context->event_count = 0;
    world->io0->state = QH_THREAD_RUNNABLE;
    world_assert_none(world, false);
    world_destroy(world);
}

/* What a thread that could not be stopped for a capture queued meanwhile, the
 * counter of the eventfd does not show yet. */
static void test_queued_by_one_that_went_on(void **state)
{
    struct world *world = world_loop();
    struct qh_bh bh = { .address = qh_raddr(0x6000), .callback = "some_bh" };

    world->io0_context->pending = &bh;
    world->io0_context->pending_count = 1;
    world->io0_context->notified = true;
    world->snapshot->kind = QH_TARGET_CORE;
    world_assert_finding(world, "aio.queued-unnotified", QH_PROOF);
    world->other->state = QH_THREAD_IN_KERNEL;
    world_assert_none(world, true);
    world->other->state = QH_THREAD_RUNNABLE;
    world->other->stack.count = 0;
    world_assert_none(world, true);
    world->io0_context->notified = false; /* so nobody has told it */
    world_assert_finding(world, "aio.queued-unnotified", QH_STRONG);
    world_destroy(world);
}

static void test_queued_passing(void **state)
{
    static const char *const steps[] = {
        "aio_bh_enqueue",  "qemu_bh_schedule", "aio_bh_schedule_oneshot_full",
        "aio_co_schedule", "aio_notify",       "event_notifier_set",
    };

    for (size_t i = 0; i < QH_COUNT(steps); i++) {
        struct world *world = world_loop();
        struct qh_bh bh = { .address = qh_raddr(0x6000) };
        world->io0_context->pending = &bh;
        world->io0_context->pending_count = 1;
        world_stack(world, &world->main->stack, "write", steps[i], "some_fn",
                    "main", NULL);
        world_assert_none(world, true);
        world_destroy(world);
    }
}

/* Work for a loop that sleeps in something else is not served, by design. */
static void test_queued_elsewhere(void **state)
{
    struct world *world = world_loop();
    struct qh_bh bh = { .address = qh_raddr(0x6000) };

    world->io0_context->pending = &bh;
    world->io0_context->pending_count = 1;
    world_stack(world, &world->io0->stack, "futex_wait", "qemu_mutex_lock_impl",
                "some_cb", "aio_bh_call", "aio_bh_poll", "aio_poll",
                "iothread_run", NULL);
    world_assert_none(world, false);
    world_destroy(world);
}

static void test_timer(void **state)
{
    struct world *world = world_loop();
    struct qh_timer *timer =
        world_timer(world, world->io0_context->address, -S_NS);

    world_assert_finding(world, "timer.expired-unserved", QH_PROOF);
    world->snapshot->halted = QH_HALT_SIGNAL; /* then nobody serves it */
    world_assert_none(world, false);
    world->snapshot->halted = QH_HALT_NONE;
    timer->clock_enabled = false;
    world_assert_none(world, false);
    timer->clock_enabled = true;
    timer->clock = QH_CLOCK_VIRTUAL; /* whose time is not known */
    world_assert_none(world, false);
    timer->clock = QH_CLOCK_REALTIME;
    timer->expire_ns = world->snapshot->monotonic_ns - 1000000; /* late a bit */
    world_assert_none(world, false);
    timer->expire_ns = world->snapshot->monotonic_ns + S_NS;
    world_assert_none(world, false);
    timer->expire_ns = world->snapshot->monotonic_ns - S_NS;
    world->io0_context->event_count = 1;
    world_assert_none(world, true);
    world->io0_context->event_count = 0;
    world_stack(world, &world->main->stack, "write", "timer_mod_ns", "main",
                NULL);
    world_assert_none(world, true);
    world_destroy(world);
}

/* In a core only a loop without a timeout is sure not to serve it. */
static void test_timer_of_core(void **state)
{
    struct world *world = world_loop();

    world_timer(world, world->io0_context->address, -S_NS);
    world->snapshot->kind = QH_TARGET_CORE;
    world_assert_finding(world, "timer.expired-unserved", QH_PROOF);
    world->io0->timeout_ns = 2 * S_NS;
    world_assert_none(world, false);
    world_destroy(world);
}

/* The main loop's own timers are not served while it polls below that. */
static void test_timer_of_main_loop(void **state)
{
    struct world *world = world_loop();

    world_timer(world, qh_raddr(0), -S_NS);
    world_assert_finding(world, "timer.expired-unserved", QH_PROOF);
    world->snapshot->waits[0].kind = QH_WAIT_POLL;
    world->main->polls = world->main_context->address;
    world_stack(world, &world->main->stack, "ppoll", "aio_poll", "bdrv_flush",
                "main_loop_wait", "main", NULL);
    world_assert_none(world, false);
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queued),
        cmocka_unit_test(test_queued_by_one_that_went_on),
        cmocka_unit_test(test_queued_passing),
        cmocka_unit_test(test_queued_elsewhere),
        cmocka_unit_test(test_timer),
        cmocka_unit_test(test_timer_of_core),
        cmocka_unit_test(test_timer_of_main_loop),
    };

    return cmocka_run_group_tests_name("diagnose_queues", tests, NULL, NULL);
}
