/* iothread.stop-unkicked, threadpool.idle-worker: each fault, and its twins.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { POOL = 0x8000, CONDITION = 0x8100 };

/* Room for the operands; a world lives as long as its test. */
static struct qh_operand operands[2];

/* ---- iothread.stop-unkicked ---- */

static struct world *world_stopped(void)
{
    struct world *world = world_quiet();
    struct qh_wait *wait = world_wait(world, QH_WAIT_JOIN, WORLD_MAIN_TID, 0);

    wait->owner_tid = WORLD_IO0_TID;
    world_stack(world, &world->main->stack, "futex_wait", "qemu_thread_join",
                "iothread_stop", "main", NULL);
    wait = world_wait(world, QH_WAIT_EVENTS, WORLD_IO0_TID, 0);
    operands[0] = (struct qh_operand){ "stopping", qh_raddr(0x7000), 1, true };
    operands[1] = (struct qh_operand){ "running", qh_raddr(0x7001), 0, true };
    wait->operands = operands;
    wait->operand_count = QH_COUNT(operands);
    return world;
}

static void test_stop(void **state)
{
    struct world *world = world_stopped();

    world_assert_finding(world, "iothread.stop-unkicked", QH_PROOF);
    operands[1].value = 1; /* the bottom half is gone altogether */
    world_assert_finding(world, "iothread.stop-unkicked", QH_PROOF);
    operands[0].value = 0; /* somebody else ends it */
    world_assert_none(world, false);
    operands[0].value = 1;
    operands[0].known = false;
    world_assert_none(world, false);
    operands[0].known = true;
    world->snapshot->waits[1].late = true;
    world_assert_none(world, true);
    world->snapshot->waits[1].late = false;
    world->snapshot->waits[0].owner_tid = 0; /* whom it joins is not known */
    world_assert_none(world, false);
    world_destroy(world);
}

static void test_stop_passing(void **state)
{
    struct world *world = world_stopped();

    world->io0_context->event_count = 1;
    world_assert_none(world, true);
    world->io0_context->event_count = 0;
    world->io0->state = QH_THREAD_RUNNABLE;
    world_assert_none(world, true);
    world->io0->state = QH_THREAD_BLOCKED;
    world_stack(world, &world->other->stack, "iothread_stop_bh", NULL);
    world_assert_none(world, true);
    world_destroy(world);
}

/* It polls for something of a callback's own, and will come back. */
static void test_stop_nested(void **state)
{
    struct world *world = world_stopped();

    world_stack(world, &world->io0->stack, "ppoll", "aio_poll", "bdrv_flush",
                "some_bh", "aio_bh_poll", "aio_poll", "iothread_run", NULL);
    world_assert_none(world, false);
    world_destroy(world);
}

/* ---- threadpool.idle-worker ---- */

static struct world *world_pool(void)
{
    struct world *world = world_quiet();

    world->io0_context->pool = (struct qh_pool){
        .address = qh_raddr(POOL),
        .request = qh_raddr(0x8800),
        .threads = 1,
        .condition = qh_raddr(CONDITION),
        .condition_bytes = 56,
    };
    world_stack(world, &world->other->stack, "futex_wait",
                "pthread_cond_timedwait", "qemu_cond_timedwait_ts",
                "worker_thread", NULL);
    world_wait(world, QH_WAIT_COND, WORLD_OTHER_TID, 0)->object =
        qh_raddr(CONDITION + 40);
    return world;
}

static void test_pool(void **state)
{
    struct world *world = world_pool();
    struct qh_pool *pool = &world->io0_context->pool;
    struct qh_wait *wait = &world->snapshot->waits[0];

    world_assert_finding(world, "threadpool.idle-worker", QH_PROOF);
    pool->request = qh_raddr(0);
    world_assert_none(world, false);
    pool->request = qh_raddr(0x8800);
    pool->threads = 2; /* the other one is at work */
    world_assert_none(world, false);
    pool->threads = 1;
    pool->starting = true;
    world_assert_none(world, false);
    pool->starting = false;
    pool->locked = true;
    world_assert_none(world, false);
    pool->locked = false;
    wait->object = qh_raddr(CONDITION + 56); /* another condition */
    world_assert_none(world, false);
    wait->object = qh_raddr(CONDITION - 1);
    world_assert_none(world, false);
    wait->object = qh_raddr(CONDITION);
    wait->kind = QH_WAIT_MUTEX;
    world_assert_none(world, false);
    world_destroy(world);
}

static void test_pool_passing(void **state)
{
    static const char *const steps[] = { "thread_pool_submit_aio",
                                         "qemu_cond_signal" };

    for (size_t i = 0; i < QH_COUNT(steps); i++) {
        struct world *world = world_pool();
        world_stack(world, &world->io0->stack, steps[i], "some_co",
                    "coroutine_trampoline", "qemu_aio_coroutine_enter",
                    "aio_poll", NULL);
        world_assert_none(world, true);
        world_destroy(world);
    }
    struct world *world = world_pool();
    world->other->state = QH_THREAD_RUNNABLE; /* has just been woken */
    world_assert_none(world, true);
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_stop_passing),
        cmocka_unit_test(test_stop_nested),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_pool_passing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
