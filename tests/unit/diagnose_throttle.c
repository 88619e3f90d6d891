/* throttle.timer-unarmed: the fault, its twins, each step of letting go.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { MEMBER = 0x9000, OTHER_MEMBER = 0x9800, WAITS = 0x6100, MORE = 0x6200 };

/* Room for the operands of two; a world lives as long as its test. */
static struct qh_operand operands[2][5];

static void wait_throttled(struct world *world, size_t which,
                           uint64_t coroutine, uint64_t member, int64_t group)
{
    static const char *const names[] = { "pending reads", "pending writes",
                                         "throttle_state", "restart_pending",
                                         "listed" };
    const int64_t values[] = { 0, 1, group, 0, 1 };
    struct qh_wait *wait;

    world_coroutine(world, coroutine, "request");
    wait = world_wait(world, QH_WAIT_THROTTLE, 0, coroutine);
    for (size_t i = 0; i < QH_COUNT(names); i++) {
        operands[which][i] =
            (struct qh_operand){ names[i], qh_raddr(member + 8 * i), values[i],
                                 true };
    }
    wait->object = qh_raddr(member);
    wait->operands = operands[which];
    wait->operand_count = QH_COUNT(names);
}

static struct world *world_throttled(void)
{
    struct world *world = world_quiet();

    wait_throttled(world, 0, WAITS, MEMBER, 0x500);
    return world;
}

static void add_timer(struct world *world, const char *callback,
                      uint64_t member)
{
    struct qh_snapshot *s = world->snapshot;
    struct qh_timer *timer = qh_list_add(&s->arena, &s->timers, &s->timer_count,
                                         &s->room.timers, sizeof(*timer));

    assert_non_null(timer);
    *timer = (struct qh_timer){
        .callback = callback,
        .opaque = qh_raddr(member),
        .expire_ns = INT64_MAX,
    };
}

static void test_unarmed(void **state)
{
    struct world *world = world_throttled();

    world_assert_finding(world, "throttle.timer-unarmed", QH_PROOF);
    operands[0][4].value = 0; /* taken off: somebody wakes it */
    world_assert_none(world, false);
    operands[0][4].value = 1;
    operands[0][1].value = 0; /* not counted any more */
    world_assert_none(world, false);
    operands[0][1].value = 1;
    operands[0][3].value = 1; /* a restart is under way */
    world_assert_none(world, true);
    operands[0][3].value = 0;
    world->snapshot->waits[0].late = true;
    world_assert_none(world, true);
    world_destroy(world);
}

static void test_waiter(void **state)
{
    struct world *world = world_throttled();
    struct qh_wait *wait = world_wait(world, QH_WAIT_POLL, WORLD_MAIN_TID, 0);

    assert_int_equal(world_waiter(world), 0);
    wait->owner_coroutine = qh_raddr(WAITS);
    assert_int_equal(world_waiter(world), WORLD_MAIN_TID);
    world_destroy(world);
}

static void test_timers(void **state)
{
    struct world *world = world_throttled();

    add_timer(world, "read_timer_cb", MEMBER); /* of the other direction */
    world_assert_finding(world, "throttle.timer-unarmed", QH_PROOF);
    add_timer(world, "write_timer_cb", MEMBER);
    world_assert_none(world, false);
    /* Another member's serves as well, unless it is of another group. */
    world->snapshot->timers[1].opaque = qh_raddr(OTHER_MEMBER);
    world_assert_none(world, false);
    wait_throttled(world, 1, MORE, OTHER_MEMBER, 0x500);
    world_assert_none(world, false);
    operands[1][2].value = 0x600;
    world_assert_finding(world, "throttle.timer-unarmed", QH_PROOF);
    world->snapshot->timers[1].callback = NULL; /* it may be any */
    world_assert_none(world, false);
    world_destroy(world);
}

/* A list of timers that was not read may have the one. */
static void test_unread_timers(void **state)
{
    struct world *world = world_throttled();

    assert_null(qh_snapshot_gap(world->snapshot, "timers of iothread io0",
                                qh_raddr(0x1), "unreadable", NULL));
    world_assert_none(world, false);
    world_destroy(world);
}

static void test_passing(void **state)
{
    static const char *const steps[] = {
        "write_timer_cb",        "timer_cb",
        "schedule_next_request", "throttle_group_restart_queue",
        "qemu_co_queue_next",    "aio_co_wake"
    };

    for (size_t i = 0; i < QH_COUNT(steps); i++) {
        struct world *world = world_throttled();
        world_stack(world, &world->other->stack, steps[i], "aio_poll", NULL);
        world_assert_none(world, true);
        world_destroy(world);
    }
}

static void test_restarting(void **state)
{
    struct world *world = world_throttled();
    struct qh_coroutine *restart =
        world_coroutine(world, MORE, "throttle_group_restart_queue_entry");

    restart->state = QH_CO_CREATED;
    world_assert_none(world, true);
    restart->state = QH_CO_POOLED;
    world_assert_finding(world, "throttle.timer-unarmed", QH_PROOF);
    world_destroy(world);
}

/* Let go and not entered yet: it arms the timer for the next one. */
static void test_woken(void **state)
{
    struct world *world = world_throttled();
    struct qh_coroutine *woken = world_coroutine(world, MORE, "request");

    world_stack(world, &woken->stack, "qemu_coroutine_switch",
                "throttle_group_co_io_limits_intercept", "request", NULL);
    world_wait(world, QH_WAIT_BH, 0, MORE)->object = qh_raddr(0x2000);
    world_assert_none(world, true);
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unarmed), cmocka_unit_test(test_waiter),
        cmocka_unit_test(test_timers),  cmocka_unit_test(test_unread_timers),
        cmocka_unit_test(test_passing), cmocka_unit_test(test_restarting),
        cmocka_unit_test(test_woken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
