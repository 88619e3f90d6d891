/* lock.cycle: what makes it, what does not, what it says.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { MUTEX_A = 0xa000, MUTEX_B = 0xb000, CO_ONE = 0x10000, CO_TWO = 0x20000 };

static struct world *abba(void)
{
    struct world *world = world_quiet();

    world_wait_mutex(world, WORLD_IO0_TID, MUTEX_A, WORLD_OTHER_TID);
    world_wait_mutex(world, WORLD_OTHER_TID, MUTEX_B, WORLD_IO0_TID);
    return world;
}

static void names_each_participant(void **state)
{
    struct world *world = abba();
    struct qh_findings *findings = world_diagnose(world);
    const struct qh_finding *finding = &findings->items[0];

    assert_int_equal(findings->count, 1);
    assert_string_equal(finding->rule, "lock.cycle");
    assert_int_equal(finding->certainty, QH_PROOF);
    assert_int_equal(finding->heals, QH_HEALS_NEVER);
    assert_string_equal(finding->summary, "deadlock of 2 threads");
    assert_int_equal(finding->tid, WORLD_IO0_TID);
    assert_int_equal(finding->waiter, WORLD_IO0_TID);
    assert_int_equal(finding->evidence_count, 2);
    assert_string_equal(finding->evidence[0].what,
                        "iothread io0 (101) waits for mutex 0xa000, held by "
                        "worker thread 102 (qemu-storage-da)");
    assert_int_equal(finding->evidence[0].address.value, MUTEX_A);
    assert_string_equal(finding->evidence[1].what,
                        "worker thread 102 (qemu-storage-da) waits for mutex "
                        "0xb000, held by iothread io0 (101)");
    assert_string_equal(finding->evidence[1].value, "iothread io0 (101)");
    qh_findings_destroy(findings);
    world_destroy(world);
}

static void wait_co_mutex(struct world *world, uint64_t coroutine,
                          uint64_t mutex, uint64_t holder)
{
    struct qh_wait *wait = world_wait(world, QH_WAIT_CO_MUTEX, 0, coroutine);

    wait->object = qh_raddr(mutex);
    wait->owner_coroutine = qh_raddr(holder);
}

static struct world *two_coroutines(void)
{
    struct world *world = world_quiet();

    world_coroutine(world, CO_ONE, "one");
    world_coroutine(world, CO_TWO, "two");
    wait_co_mutex(world, CO_ONE, MUTEX_A, CO_TWO);
    wait_co_mutex(world, CO_TWO, MUTEX_B, CO_ONE);
    return world;
}

/* A drain that such a coroutine keeps busy does not wait rightly. */
static void drain_behind_it(void **state)
{
    static struct qh_operand in_flight = { "in_flight", { 0 }, 1, true };

    for (int circle = 0; circle < 2; circle++) {
        struct world *world = two_coroutines();
        struct qh_wait *wait =
            world_wait(world, QH_WAIT_DRAIN, WORLD_MAIN_TID, 0);
        wait->function = "bdrv_drain_all_begin";
        wait->operands = &in_flight;
        wait->operand_count = 1;
        wait->owner_coroutine = qh_raddr(CO_ONE);
        if (!circle) {
            world->snapshot->waits[1].owner_coroutine = qh_raddr(0);
        }
        struct qh_findings *findings = world_diagnose(world);
        assert_int_equal(findings->count, circle);
        assert_int_equal(findings->note_count, !circle);
        qh_findings_destroy(findings);
        world_destroy(world);
    }
}

static void coroutines_alone(void **state)
{
    struct world *world = two_coroutines();

    struct qh_findings *findings = world_diagnose(world);
    assert_int_equal(findings->count, 1);
    assert_string_equal(findings->items[0].summary, "deadlock of 2 coroutines");
    assert_int_equal(findings->items[0].coroutine.value, CO_ONE);
    assert_int_equal(findings->items[0].tid, 0);
    qh_findings_destroy(findings);
    world_destroy(world);
}

static void assert_known(const struct world *world, const char *user,
                         const char *fixed_in)
{
    struct qh_findings *findings = world_diagnose(world);

    assert_int_equal(findings->count, 1);
    assert_string_equal(findings->items[0].rule, "lock.cycle");
    assert_string_equal(findings->items[0].user, user);
    assert_int_equal(findings->items[0].fixed_in_count, fixed_in ? 1 : 0);
    if (fixed_in) {
        assert_string_equal(findings->items[0].fixed_in[0], fixed_in);
    }
    qh_findings_destroy(findings);
}

/* The main thread drains with the graph lock held, and a request of that node
 * wants to read the graph. */
static void drain_under_the_graph_lock_is_known(void **state)
{
    struct world *world = world_quiet();
    struct qh_snapshot *s = world->snapshot;
    struct raddr reader = qh_raddr(CO_ONE);

    world_coroutine(world, CO_ONE, "blk_co_do_preadv");
    s->graph.has_writer = 1;
    s->graph.queue = &reader;
    s->graph.queue_count = 1;
    struct qh_wait *wait = world_wait(world, QH_WAIT_DRAIN, WORLD_MAIN_TID, 0);
    wait->object = qh_raddr(MUTEX_A);
    wait->owner_coroutine = reader;
    world_wait(world, QH_WAIT_GRAPH_READ, 0, CO_ONE)->owner_tid =
        WORLD_MAIN_TID;
    world_stack(world, &world->main->stack, "ppoll", "aio_poll",
                "bdrv_do_drained_begin", "job_dismiss", "main", NULL);
    assert_known(world, "graph-lock.drain", "10.1");
    world_destroy(world);
}

static void bql_in_a_poll_is_known(void **state)
{
    struct world *world = world_quiet();
    struct qh_wait *wait = world_wait(world, QH_WAIT_BQL, WORLD_MAIN_TID, 0);

    wait->object = qh_raddr(MUTEX_A);
    wait->owner_tid = WORLD_OTHER_TID;
    wait = world_wait(world, QH_WAIT_POLL, WORLD_OTHER_TID, 0);
    wait->object = qh_raddr(0x1000);
    wait->owner_tid = WORLD_MAIN_TID;
    world_stack(world, &world->other->stack, "ppoll", "aio_poll", "bdrv_flush",
                "migration_thread", NULL);
    assert_known(world, "bql.poll", NULL);
    world_destroy(world);
}

static void context_lock_is_known(void **state)
{
    struct world *world = abba();

    world_stack(world, &world->io0->stack, "futex_wait",
                "qemu_rec_mutex_lock_impl", "aio_context_acquire",
                "iothread_run", NULL);
    assert_known(world, "aio-context.lock", "8.2");
    world_destroy(world);
}

static void wait_mirror_op(struct world *world, uint64_t waiter,
                           uint64_t waited_for)
{
    struct qh_wait *wait = world_wait(world, QH_WAIT_CO_QUEUE, 0, waiter);

    wait->object = qh_raddr(waited_for + 8);
    wait->owner_coroutine = qh_raddr(waited_for);
}

static void mirror_operations_are_known(void **state)
{
    struct world *world = world_quiet();

    world_coroutine(world, CO_ONE, "mirror_co_read");
    struct qh_coroutine *two = world_coroutine(world, CO_TWO, "mirror_co_read");
    world_stack(world, &two->stack, "qemu_coroutine_switch",
                "qemu_co_queue_wait_impl", "mirror_wait_on_conflicts",
                "mirror_co_read", NULL);
    wait_mirror_op(world, CO_ONE, CO_TWO);
    wait_mirror_op(world, CO_TWO, CO_ONE);
    assert_known(world, "mirror.waiting-requests", "5.0");
    world_destroy(world);
}

/* Its event has come, though it has not seen it yet. */
static void runnable_thread_is_about_to_go_on(void **state)
{
    struct world *world = abba();

    world->other->state = QH_THREAD_RUNNABLE;
    world_assert_none(world, true);
    world_destroy(world);
}

static void unlocking_thread_may_end_it(void **state)
{
    struct world *world = abba();

    world_stack(world, &world->main->stack, "qemu_mutex_unlock_impl",
                "main_loop_wait", "main", NULL);
    world_assert_none(world, true);
    world_destroy(world);
}

static void perhaps_awake_is_strong(void **state)
{
    struct world *world = abba();

    world->io0->perhaps_awake = true;
    world_assert_finding(world, "lock.cycle", QH_STRONG);
    world_destroy(world);
}

static void cut_stack_is_strong(void **state)
{
    struct world *world = abba();

    world->main->stack.cut = "no CFI";
    world_assert_finding(world, "lock.cycle", QH_STRONG);
    world_destroy(world);
}

static void half_a_circle_is_none(void **state)
{
    struct world *world = world_quiet();

    world_wait_mutex(world, WORLD_IO0_TID, MUTEX_A, WORLD_OTHER_TID);
    world_assert_none(world, false);
    world_destroy(world);
}

static void circle_of_conditions_is_none(void **state)
{
    struct world *world = abba();

    world->snapshot->waits[1].kind = QH_WAIT_COND;
    world_assert_none(world, false);
    world_destroy(world);
}

static void own_lock_is_not_this_rules(void **state)
{
    struct world *world = world_quiet();

    world_wait_mutex(world, WORLD_IO0_TID, MUTEX_A, WORLD_IO0_TID);
    world_assert_none(world, false);
    world_destroy(world);
}

/* The order of the waits does not matter, a step taken in between does. */
static void confirmed_while_nobody_moves(void **state)
{
    struct world *world = abba(), *same = world_quiet();
    struct qh_findings *first = world_diagnose(world), *second;

    world_wait_mutex(same, WORLD_OTHER_TID, MUTEX_B, WORLD_IO0_TID);
    world_wait_mutex(same, WORLD_IO0_TID, MUTEX_A, WORLD_OTHER_TID);
    second = world_diagnose(same);
    qh_findings_confirm(first, second);
    assert_int_equal(second->items[0].samples, 2);
    qh_findings_destroy(second);

    world_stack(same, &same->other->stack, "futex_wait", "elsewhere", NULL);
    same->other->stack.frames[1].pc = qh_raddr(0x500000);
    second = world_diagnose(same);
    qh_findings_confirm(first, second);
    assert_int_equal(second->items[0].samples, 1);
    assert_true(second->unsettled);
    qh_findings_destroy(first);
    qh_findings_destroy(second);
    world_destroy(world);
    world_destroy(same);
}

/* Each one a finding, up to a bound; a big one told in part. */
static void many_are_bounded(void **state)
{
    struct world *world = world_quiet();

    for (uint64_t i = 0; i < 200; i++) {
        world_coroutine(world, CO_ONE + 64 * i, "one");
        wait_co_mutex(world, CO_ONE + 64 * i, MUTEX_A + 64 * i,
                      CO_ONE + 64 * (i ^ 1));
    }
    struct qh_findings *findings = world_diagnose(world);
    assert_int_equal(findings->count, 20);
    qh_findings_destroy(findings);
    for (uint64_t i = 0; i < 200; i++) {
        world->snapshot->waits[i].owner_coroutine =
            qh_raddr(CO_ONE + 64 * ((i + 1) % 200));
    }
    findings = world_diagnose(world);
    assert_int_equal(findings->count, 1);
    assert_int_equal(findings->items[0].evidence_count, 13);
    assert_string_equal(findings->items[0].evidence[12].what, "and 188 more");
    qh_findings_destroy(findings);
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_each_participant),
        cmocka_unit_test(coroutines_alone),
        cmocka_unit_test(drain_under_the_graph_lock_is_known),
        cmocka_unit_test(bql_in_a_poll_is_known),
        cmocka_unit_test(context_lock_is_known),
        cmocka_unit_test(mirror_operations_are_known),
        cmocka_unit_test(drain_behind_it),
        cmocka_unit_test(runnable_thread_is_about_to_go_on),
        cmocka_unit_test(unlocking_thread_may_end_it),
        cmocka_unit_test(perhaps_awake_is_strong),
        cmocka_unit_test(cut_stack_is_strong),
        cmocka_unit_test(half_a_circle_is_none),
        cmocka_unit_test(circle_of_conditions_is_none),
        cmocka_unit_test(own_lock_is_not_this_rules),
        cmocka_unit_test(confirmed_while_nobody_moves),
        cmocka_unit_test(many_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
