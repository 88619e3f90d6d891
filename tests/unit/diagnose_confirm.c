/* Two samples of a live target: what stays is a finding.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define S_NS INT64_C(1000000000)

/* Diagnoses `world` a second time, `earlier` before it. */
static struct qh_findings *confirmed(const struct qh_findings *earlier,
                                     const struct world *world)
{
    struct qh_findings *later = world_diagnose(world);

    qh_findings_confirm(earlier, later);
    return later;
}

static void settle(struct qh_findings *findings)
{
    assert_null(qh_findings_settle(findings));
}

static void test_same_twice(void **state)
{
    struct world *worlds[] = { world_wake_lost(), world_erased(),
                               world_graph() };

    for (size_t i = 0; i < QH_COUNT(worlds); i++) {
        struct world *world = worlds[i];
        struct qh_findings *first = world_diagnose(world);
        assert_false(qh_findings_settled(first));
        /* Time goes on; nothing else does. */
        world->snapshot->monotonic_ns += S_NS / 5;
        if (world->sleeper) {
            world->sleeper->left_ns -= S_NS / 5;
        }
        struct qh_findings *second = confirmed(first, world);
        assert_true(qh_findings_settled(second));
        assert_int_equal(second->samples, 2);
        settle(second);
        assert_int_equal(second->count, 1);
        assert_int_equal(second->items[0].samples, 2);
        qh_findings_destroy(first);
        qh_findings_destroy(second);
        world_destroy(world);
    }
}

static void test_gone_in_the_second(void **state)
{
    struct world *world = world_wake_lost();
    struct qh_findings *first = world_diagnose(world);

    world->sleeper->cleaner.interval_s = 600;
    struct qh_findings *second = confirmed(first, world);
    assert_int_equal(second->count, 0);
    assert_true(second->unsettled);
    assert_false(qh_findings_settled(second));
    struct qh_findings *third = confirmed(second, world);
    assert_true(qh_findings_settled(third));
    settle(third);
    assert_int_equal(third->count, 0);
    assert_int_equal(third->note_count, 0);
    qh_findings_destroy(first);
    qh_findings_destroy(second);
    qh_findings_destroy(third);
    world_destroy(world);
}

/* New in the second sample: the third may confirm it. */
static void test_new_in_the_second(void **state)
{
    struct world *world = world_wake_lost();

    world->sleeper->cleaner.interval_s = 600;
    struct qh_findings *first = world_diagnose(world);
    world->sleeper->cleaner.interval_s = 0;
    struct qh_findings *second = confirmed(first, world);
    assert_int_equal(second->count, 1);
    assert_false(qh_findings_settled(second));
    struct qh_findings *third = confirmed(second, world);
    assert_true(qh_findings_settled(third));
    assert_int_equal(third->items[0].samples, 2);
    assert_int_equal(third->samples, 3);
    qh_findings_destroy(first);
    qh_findings_destroy(second);
    qh_findings_destroy(third);
    world_destroy(world);
}

/* The same place at another time is another hang: it did move. */
static void assert_moved(struct world *world, void (*move)(struct world *))
{
    struct qh_findings *first = world_diagnose(world);

    move(world);
    struct qh_findings *second = confirmed(first, world);
    assert_int_equal(second->count, 1);
    assert_int_equal(second->items[0].samples, 1);
    assert_false(qh_findings_settled(second));
    settle(second);
    assert_int_equal(second->count, 0);
    assert_int_equal(second->note_count, 1);
    assert_string_equal(second->notes[0].what, "samples.unsettled");
    qh_findings_destroy(first);
    qh_findings_destroy(second);
    world_destroy(world);
}

static void move_timer(struct world *world)
{
    world->sleeper->expire_ns += S_NS;
}

static void move_caller(struct world *world)
{
    world->main->stack.frames[5].pc = qh_raddr(0x666);
}

static void move_waiter(struct world *world)
{
    world->sleeper->cleaner.waiter_tid = WORLD_OTHER_TID;
}

static void test_moved(void **state)
{
    assert_moved(world_wake_lost(), move_timer);
    assert_moved(world_erased(), move_timer);
    assert_moved(world_graph(), move_caller);
    assert_moved(world_wake_lost(), move_waiter);
}

/* A rule that is surer comes first, whatever order the rules have. */
static void test_order(void **state)
{
    struct world *world = world_erased();
    struct qh_snapshot *s = world->snapshot;

    world_stack(world, &world->main->stack, "ppoll", "aio_poll",
                "bdrv_graph_wrlock", "main", NULL);
    s->graph.writer_tid = WORLD_MAIN_TID;
    world->sleeper->to_wake = qh_raddr(0x4444);
    world->sleeper->armed = QH_ARMED_OTHER;
    struct qh_findings *findings = world_diagnose(world);
    assert_int_equal(findings->count, 2);
    assert_int_equal(findings->items[0].certainty, QH_PROOF);
    assert_string_equal(findings->items[0].rule, "graph.writer-unkicked");
    assert_int_equal(findings->items[1].certainty, QH_STRONG);
    qh_findings_destroy(findings);
    world_destroy(world);
}

static void test_destroy_null(void **state)
{
    qh_findings_destroy(NULL);
}

/* Work that grows with the square of what a target claims would not end
 * within the limit of this test. */
static void test_as_many_as_a_target_claims(void **state)
{
    enum { MANY = 20000 };
    struct world *world = world_erased();
    struct qh_snapshot *s = world->snapshot;
    struct qh_coroutine *coroutines =
        qh_arena_alloc(&s->arena, MANY * sizeof(*coroutines));
    struct qh_sleeper *sleepers =
        qh_arena_alloc(&s->arena, MANY * sizeof(*sleepers));

    assert_true(coroutines && sleepers);
    for (size_t i = 0; i < MANY; i++) {
        coroutines[i] = *world->cleaner;
        coroutines[i].address = qh_raddr(0x100000 + 0x100 * i);
        sleepers[i] = *world->sleeper;
        sleepers[i].coroutine = coroutines[i].address;
        sleepers[i].has_cleaner = false;
        /* Not the surest first. */
        sleepers[i].armed = i % 2 ? QH_ARMED_NO : QH_ARMED_OTHER;
    }
    s->coroutines = coroutines;
    s->sleepers = sleepers;
    s->coroutine_count = s->sleeper_count = MANY;
    assert_null(qh_snapshot_order(s));
    struct qh_findings *findings = world_diagnose(world);
    assert_int_equal(findings->count, MANY);
    assert_int_equal(findings->items[0].certainty, QH_PROOF);
    assert_int_equal(findings->items[0].coroutine.value, 0x100100);
    assert_int_equal(findings->items[MANY / 2 - 1].certainty, QH_PROOF);
    assert_int_equal(findings->items[MANY / 2].certainty, QH_STRONG);
    assert_int_equal(findings->items[MANY / 2].coroutine.value, 0x100000);
    qh_findings_destroy(findings);
    world_destroy(world);
}

/* Nobody was stopped for this one. */
static struct world *unstopped(struct world *world)
{
    world->snapshot->unstopped = true;
    world->main->switches = 7;
    world->io0->switches = 3;
    return world;
}

static void test_unstopped_is_no_proof(void **state)
{
    struct world *worlds[] = { world_wake_lost(), world_erased(),
                               world_graph() };

    for (size_t i = 0; i < QH_COUNT(worlds); i++) {
        struct qh_findings *first = world_diagnose(unstopped(worlds[i]));
        assert_int_equal(first->count, 1);
        assert_int_equal(first->items[0].certainty, QH_STRONG);
        /* Another thread may run as it likes. */
        worlds[i]->io0->switches++;
        struct qh_findings *second = confirmed(first, worlds[i]);
        assert_int_equal(second->items[0].samples, 2);
        qh_findings_destroy(first);
        qh_findings_destroy(second);
        world_destroy(worlds[i]);
    }
}

static void run_waiter(struct world *world)
{
    world->main->switches++;
}

/* The waiter has run between the samples: that were two waits. */
static void test_unstopped_waiter_ran(void **state)
{
    struct world *worlds[] = { world_wake_lost(), world_erased(),
                               world_graph() };

    for (size_t i = 0; i < QH_COUNT(worlds); i++) {
        assert_moved(unstopped(worlds[i]), run_waiter);
    }
}

/* Memory that was changing is enough only where a thread is seen to wait. */
static void test_unstopped_and_torn(void **state)
{
    struct world *world = unstopped(world_erased());

    world->snapshot->torn = true;
    world_assert_finding(world, "sleep.erased", QH_STRONG);
    world->sleeper->cleaner.waiter_tid = 0;
    world_assert_none(world, true);
    world->snapshot->torn = false;
    world_assert_finding(world, "sleep.erased", QH_STRONG);
    world->other->state = QH_THREAD_RUNNABLE; /* perhaps the waker */
    world->other->stack.count = 0;
    world_assert_none(world, true);
    world_destroy(world);
}

/* What was there before the stop, and confirmed, and is there no more. */
static void test_cured_by_the_stop(void **state)
{
    struct world *world = unstopped(world_wake_lost());
    struct qh_findings *first = world_diagnose(world);
    struct qh_findings *before = confirmed(first, world);

    world->snapshot->unstopped = false;
    struct qh_findings *after = world_diagnose(world);
    assert_null(qh_findings_note_cured(before, after));
    assert_int_equal(after->note_count, 0);
    qh_findings_destroy(after);

    world->sleeper->cleaner.interval_s = 600;
    after = world_diagnose(world);
    assert_null(qh_findings_note_cured(first, after)); /* seen once only */
    assert_int_equal(after->note_count, 0);
    assert_null(qh_findings_note_cured(before, after));
    assert_int_equal(after->note_count, 1);
    assert_string_equal(after->notes[0].what, "stop.changed");
    assert_int_equal(after->notes[0].tid, WORLD_MAIN_TID);
    assert_non_null(strstr(after->notes[0].text, "sleep.wake-lost"));
    qh_findings_destroy(after);
    qh_findings_destroy(before);
    qh_findings_destroy(first);
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_twice),
        cmocka_unit_test(test_gone_in_the_second),
        cmocka_unit_test(test_new_in_the_second),
        cmocka_unit_test(test_moved),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_destroy_null),
        cmocka_unit_test(test_as_many_as_a_target_claims),
        cmocka_unit_test(test_unstopped_is_no_proof),
        cmocka_unit_test(test_unstopped_waiter_ran),
        cmocka_unit_test(test_unstopped_and_torn),
        cmocka_unit_test(test_cured_by_the_stop),
    };

    return cmocka_run_group_tests_name("diagnose_confirm", tests, NULL, NULL);
}
