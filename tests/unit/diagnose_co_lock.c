/* comutex.handoff-lost, corwlock.stalled: the fault, and each way to pass on.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { LOCK = 0x9000, WANTS = 0x6100, WANTS_TOO = 0x6200, OTHER = 0x6300 };

/* Room for the operands; a world lives as long as its test. */
static struct qh_operand operands[4];

static struct qh_wait *wait_for(struct world *world, enum qh_wait_kind kind,
                                uint64_t coroutine)
{
    struct qh_wait *wait = world_wait(world, kind, 0, coroutine);

    wait->object = qh_raddr(LOCK);
    wait->operands = operands;
    wait->operand_count = QH_COUNT(operands);
    return wait;
}

static struct world *world_lock(enum qh_wait_kind kind, const char *function)
{
    struct world *world = world_quiet();
    struct qh_coroutine *coroutine = world_coroutine(world, WANTS, "wants");

    world_stack(world, &coroutine->stack, "qemu_coroutine_switch", function,
                "wants", "coroutine_trampoline", NULL);
    wait_for(world, kind, WANTS);
    return world;
}

static struct world *world_mutex(void)
{
    static const char *const names[] = { "locked", "holder", "handoff",
                                         "listed" };
    static const int64_t values[] = { 1, 0, 0, 1 };

    for (size_t i = 0; i < QH_COUNT(operands); i++) {
        operands[i] = (struct qh_operand){ names[i], qh_raddr(LOCK + 8 * i),
                                           values[i], true };
    }
    return world_lock(QH_WAIT_CO_MUTEX, "qemu_co_mutex_lock");
}

static void test_handoff_lost(void **state)
{
    struct world *world = world_mutex();

    world_assert_finding(world, "comutex.handoff-lost", QH_PROOF);
    operands[3].value = 0; /* chosen, and not woken */
    world_assert_finding(world, "comutex.handoff-lost", QH_PROOF);
    operands[1].value = OTHER; /* somebody has it, who is not known here */
    world_assert_none(world, false);
    operands[1].value = 0;
    operands[0].value = 0; /* free: it is on its way in */
    world_assert_none(world, false);
    operands[0].value = 1;
    operands[1].known = false;
    world_assert_none(world, false);
    operands[1].known = true;
    world->snapshot->waits[0].late = true;
    world_assert_none(world, true);
    world_destroy(world);
}

/* A thread that waits for one of them does not make a proof of what the memory
 * of a process that is not stopped looks like. */
static void test_waiter(void **state)
{
    struct world *world = world_mutex();

    wait_for(world, QH_WAIT_CO_MUTEX, OTHER);
    assert_int_equal(world_waiter(world), 0);
    world_wait(world, QH_WAIT_POLL, WORLD_MAIN_TID, 0)->owner_coroutine =
        qh_raddr(WANTS);
    assert_int_equal(world_waiter(world), WORLD_MAIN_TID);
    world->snapshot->waits[2].owner_coroutine = qh_raddr(OTHER);
    assert_int_equal(world_waiter(world), WORLD_MAIN_TID);
    world->snapshot->unstopped = true;
    assert_int_equal(world_waiter(world), WORLD_MAIN_TID);
    world->snapshot->torn = true;
    world_assert_none(world, true);
    world_destroy(world);
}

/* Two that wait for one lock make one finding, whichever looks stuck. */
static void test_once(void **state)
{
    struct world *world = world_mutex();

    world_coroutine(world, WANTS_TOO, "wants");
    wait_for(world, QH_WAIT_CO_MUTEX, WANTS_TOO);
    world_assert_finding(world, "comutex.handoff-lost", QH_PROOF);
    world_destroy(world);
}

static void test_holder_ended(void **state)
{
    struct world *world = world_mutex();

    operands[1].value = OTHER;
    world_coroutine(world, OTHER, "held")->state = QH_CO_SUSPENDED;
    world_assert_none(world, false);
    world->snapshot->coroutines[world->snapshot->coroutine_count - 1].state =
        QH_CO_POOLED;
    world_assert_finding(world, "comutex.handoff-lost", QH_PROOF);
    world_destroy(world);
}

/* In one of the lock's functions, in any thread. */
static void test_thread_at_it(void **state)
{
    static const char *const steps[] = {
        "qemu_co_mutex_lock", "qemu_co_mutex_unlock", "qemu_co_rwlock_unlock",
        "aio_co_wake",        "aio_co_schedule",      "co_schedule_bh_cb"
    };

    for (size_t i = 0; i < QH_COUNT(steps); i++) {
        struct world *world = world_mutex();
        world_stack(world, &world->other->stack, steps[i], "some_co",
                    "coroutine_trampoline", "qemu_aio_coroutine_enter",
                    "aio_poll", NULL);
        world_assert_none(world, true);
        world_destroy(world);
    }
}

/* A coroutine that runs in its context may have it in its wake-up queue; one
 * in another context can not. */
static void test_behind_a_coroutine(void **state)
{
    struct world *world = world_mutex();

    world->io0->coroutine = qh_raddr(OTHER);
    world_assert_none(world, true);
    world->io0->coroutine = qh_raddr(0);
    world->main->coroutine = qh_raddr(OTHER);
    world_assert_finding(world, "comutex.handoff-lost", QH_PROOF);
    world->main->coroutine = qh_raddr(0);
    world->other->coroutine = qh_raddr(OTHER); /* no home of its own */
    world_assert_none(world, true);
    world_destroy(world);
}

/* Woken out of some lock and not entered yet: it may be this one. */
static void test_scheduled(void **state)
{
    struct world *world = world_mutex();
    struct qh_coroutine *other = world_coroutine(world, OTHER, "chosen");

    world_stack(world, &other->stack, "qemu_coroutine_switch",
                "qemu_co_mutex_lock", "chosen", "coroutine_trampoline", NULL);
    world_wait(world, QH_WAIT_BH, 0, OTHER)->object = qh_raddr(0x2000);
    world_assert_none(world, true);
    /* One that was scheduled for anything else is none. */
    world_stack(world, &other->stack, "qemu_coroutine_switch", "some_wait",
                "chosen", "coroutine_trampoline", NULL);
    world_assert_finding(world, "comutex.handoff-lost", QH_PROOF);
    other->stack.cut = "no CFI";
    world_assert_finding(world, "comutex.handoff-lost", QH_STRONG);
    world_destroy(world);
}

static void test_home(void **state)
{
    struct world *world = world_mutex();

    world->io0->state = QH_THREAD_RUNNABLE;
    world_assert_none(world, true);
    world->io0->state = QH_THREAD_IN_KERNEL;
    world_assert_finding(world, "comutex.handoff-lost", QH_STRONG);
    world_destroy(world);
}

static struct world *world_rwlock(int64_t owners, int64_t reads)
{
    static const char *const names[] = { "owners", "mutex.locked",
                                         "first ticket reads", "listed" };
    const int64_t values[] = { owners, 0, reads, 1 };

    for (size_t i = 0; i < QH_COUNT(operands); i++) {
        operands[i] = (struct qh_operand){ names[i], qh_raddr(LOCK + 8 * i),
                                           values[i], true };
    }
    return world_lock(QH_WAIT_CO_RWLOCK, "qemu_co_rwlock_rdlock");
}

static void test_rwlock(void **state)
{
    static const struct {
        int64_t owners, reads;
        bool stalled;
    } rows[] = {
        { 0, 0, true },   { 0, 1, true },   { 1, 1, true },
        { 1, 0, false },  { 7, 0, false }, /* a writer waits for readers */
        { -1, 1, false }, { -1, 0, false },
    };

    for (size_t i = 0; i < QH_COUNT(rows); i++) {
        struct world *world = world_rwlock(rows[i].owners, rows[i].reads);
        if (rows[i].stalled) {
            world_assert_finding(world, "corwlock.stalled", QH_PROOF);
        } else {
            world_assert_none(world, false);
        }
        world_destroy(world);
    }
}

static void test_rwlock_passing(void **state)
{
    struct world *world = world_rwlock(-1, 1);

    operands[3].value = 0; /* counted as owner, and not woken */
    world_assert_finding(world, "corwlock.stalled", QH_PROOF);
    operands[1].value = 1; /* somebody has the inner mutex */
    world_assert_none(world, true);
    operands[1].known = false;
    world_assert_none(world, false);
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handoff_lost),
        cmocka_unit_test(test_waiter),
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_holder_ended),
        cmocka_unit_test(test_thread_at_it),
        cmocka_unit_test(test_behind_a_coroutine),
        cmocka_unit_test(test_scheduled),
        cmocka_unit_test(test_home),
        cmocka_unit_test(test_rwlock),
        cmocka_unit_test(test_rwlock_passing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
