/* io.lost-completion: a drain that waits for nobody, and whoever may have the
 * request after all.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define RULE "io.lost-completion"

enum { CONDITION = 0x8040 };

/* Room for the operands; a world lives as long as its test. */
static struct qh_operand operands[2];

/* The main thread drains; io0 and a worker have nothing to do. */
static struct world *world_drain(void)
{
    struct world *world = world_quiet();

    operands[0] = (struct qh_operand){ "in_flight", qh_raddr(0x7000), 1, true };
    operands[1] = (struct qh_operand){ "in_flight", qh_raddr(0x7100), 0, true };
    world_stack(world, &world->main->stack, "ppoll", "qemu_poll_ns",
                "fdmon_poll_wait", "aio_poll", "bdrv_drain_all_begin",
                "qmp_blockdev_reopen", "main_loop_wait", "main", NULL);
    world->io0_context->pool = (struct qh_pool){
        .address = qh_raddr(0x8000),
        .threads = 1,
        .condition = qh_raddr(CONDITION),
        .condition_bytes = 56,
    };
    world_wait(world, QH_WAIT_COND, WORLD_OTHER_TID, 0)->object =
        qh_raddr(CONDITION);
    world->other->role = QH_ROLE_WORKER;
    world_wait(world, QH_WAIT_DRAIN, WORLD_MAIN_TID, 0);
    for (size_t i = 0; i < world->snapshot->wait_count; i++) {
        struct qh_wait *wait = &world->snapshot->waits[i];
        if (wait->kind == QH_WAIT_DRAIN) {
            wait->function = "bdrv_drain_all_begin";
            wait->operands = operands;
            wait->operand_count = QH_COUNT(operands);
        }
    }
    return world;
}

static struct qh_wait *wait_of(struct world *world, enum qh_wait_kind kind)
{
    for (size_t i = 0; i < world->snapshot->wait_count; i++) {
        if (world->snapshot->waits[i].kind == kind) {
            return &world->snapshot->waits[i];
        }
    }
    fail_msg("no such wait");
    return NULL;
}

static void test_found(void **state)
{
    struct world *world = world_drain();

    world_assert_finding(world, RULE, QH_STRONG);
    operands[0].value = 0;
    operands[1].value = 1; /* whichever of them it is */
    world_assert_finding(world, RULE, QH_STRONG);
    world_destroy(world);
}

/* Something else is open, or may be. */
static void test_other_conditions(void **state)
{
    struct world *world = world_drain();

    operands[1] =
        (struct qh_operand){ "nb_requests", qh_raddr(0x7100), 1, true };
    world_assert_none(world, false);
    operands[1].value = 0;
    world_assert_finding(world, RULE, QH_STRONG);
    operands[1].known = false;
    world_assert_none(world, false);
    operands[1].known = true;
    operands[0].value = -1; /* counted down once too often: not this fault */
    world_assert_none(world, false);
    world_destroy(world);
}

/* A coroutine of this entry and of these two frames takes it away. */
static void assert_accounts(const char *entry, const char *inner,
                            enum qh_coroutine_state state, bool accounts)
{
    struct world *world = world_drain();
    struct qh_coroutine *coroutine = world_coroutine(world, 0x9000, entry);

    coroutine->state = state;
    world_stack(world, &coroutine->stack, "qemu_coroutine_switch", inner, entry,
                "coroutine_trampoline", NULL);
    if (accounts) {
        world_assert_none(world, false);
    } else {
        world_assert_finding(world, RULE, QH_STRONG);
    }
    world_destroy(world);
}

static void test_coroutines(void **state)
{
    assert_accounts("nbd_trip", "qio_channel_yield", QH_CO_SUSPENDED, false);
    assert_accounts("nbd_trip", "blk_co_pread", QH_CO_SUSPENDED, true);
    assert_accounts("nbd_trip", "qcow2_co_preadv_part", QH_CO_SUSPENDED, true);
    assert_accounts("nbd_trip", "bdrv_co_preadv", QH_CO_SUSPENDED, true);
    assert_accounts("nbd_trip", "qio_channel_yield", QH_CO_CREATED, true);
    assert_accounts("cache_clean_timer", "qemu_co_sleep", QH_CO_SUSPENDED,
                    false);
    assert_accounts("monitor_qmp_dispatcher_co", "qemu_coroutine_yield",
                    QH_CO_SUSPENDED, false);
    assert_accounts("some_driver_co", "qemu_coroutine_yield", QH_CO_SUSPENDED,
                    true);
    assert_accounts("some_driver_co", "qemu_coroutine_yield", QH_CO_POOLED,
                    false);
}

static void test_unseen_coroutines(void **state)
{
    struct world *world = world_drain();
    struct qh_coroutine *coroutine = world_coroutine(world, 0x9000, "nbd_trip");

    world_assert_finding(world, RULE, QH_STRONG);
    coroutine->stack.cut = "no unwind table";
    world_assert_none(world, false);
    coroutine->stack.cut = NULL;
    coroutine->stack.frames[0].function = NULL;
    world_assert_none(world, false);
    coroutine->stack.count = 0;
    world_assert_none(world, false);
    world_destroy(world);
}

static void test_threads(void **state)
{
    struct world *world = world_drain();
    struct qh_wait *idle = wait_of(world, QH_WAIT_COND);

    idle->kind = QH_WAIT_KERNEL; /* a worker that works */
    world_assert_none(world, false);
    idle->kind = QH_WAIT_COND;
    idle->object = qh_raddr(CONDITION + 56); /* for something of its own */
    world_assert_none(world, false);
    idle->object = qh_raddr(CONDITION);
    idle->late = true;
    world_assert_none(world, false);
    idle->late = false;
    world->io0->state = QH_THREAD_RUNNABLE;
    world_assert_none(world, false);
    world->io0->state = QH_THREAD_BLOCKED;
    world->io0->perhaps_asleep = true;
    world_assert_none(world, false);
    world->io0->perhaps_asleep = false;
    world->io0->stack.cut = "no unwind table"; /* it may be about to kick */
    world_assert_none(world, false);
    world->io0->stack.cut = NULL;
    world_assert_finding(world, RULE, QH_STRONG);
    world_destroy(world);
}

static void test_queues(void **state)
{
    struct qh_bh bh = { .address = qh_raddr(0x6000), .idle = true };
    struct world *world = world_drain();
    struct qh_context *io0 = world->io0_context;

    io0->pending = &bh;
    io0->pending_count = 1; /* even an idle one: it may complete the request */
    world_assert_none(world, false);
    io0->pending_count = 0;
    io0->pool.threads = 2; /* the other one is about to take it */
    io0->pool.request = qh_raddr(0x8800);
    world_assert_none(world, false);
    io0->pool.request = qh_raddr(0);
    io0->pool.starting = true;
    world_assert_none(world, false);
    io0->pool.starting = false;
    io0->event_count = 1;
    world_assert_none(world, false);
    io0->event_count = 0;
    io0->work_unknown = true;
    world_assert_none(world, false);
    io0->work_unknown = false;
    world_assert_finding(world, RULE, QH_STRONG);
    world_destroy(world);
}

/* A tracked request has its coroutine, the poll is no drain's, or it moves. */
static void test_waiter(void **state)
{
    struct world *world = world_drain();
    struct qh_wait *wait = wait_of(world, QH_WAIT_DRAIN);

    wait->owner_coroutine = qh_raddr(0x9000);
    world_assert_none(world, false);
    wait->owner_coroutine = qh_raddr(0);
    wait->kind = QH_WAIT_POLL;
    world_assert_none(world, false);
    wait->kind = QH_WAIT_DRAIN;
    wait->late = true;
    world_assert_none(world, true);
    wait->late = false;
    world_assert_finding(world, RULE, QH_STRONG);
    world_stack(world, &world->main->stack, "read", "some_cb", "aio_bh_call",
                "aio_bh_poll", "aio_poll", "bdrv_drain_all_begin", NULL);
    world_assert_none(world, false);
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_other_conditions),
        cmocka_unit_test(test_coroutines),
        cmocka_unit_test(test_unseen_coroutines),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_queues),
        cmocka_unit_test(test_waiter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
