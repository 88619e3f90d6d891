/* graph.writer-unkicked, and context: the fault and every passing state.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define S_NS INT64_C(1000000000)

static void test_unkicked(void **state)
{
    struct world *world = world_graph();
    struct qh_findings *findings = world_diagnose(world);

    assert_int_equal(findings->count, 1);
    const struct qh_finding *finding = &findings->items[0];
    assert_string_equal(finding->rule, "graph.writer-unkicked");
    assert_null(finding->user);
    assert_int_equal(finding->certainty, QH_PROOF);
    assert_int_equal(finding->coroutine.value, 0);
    assert_int_equal(finding->tid, WORLD_MAIN_TID);
    assert_int_equal(finding->waiter, WORLD_MAIN_TID);
    assert_int_equal(finding->heals, QH_HEALS_NEVER);
    assert_int_equal(finding->heals_in_ns, QH_TIME_UNKNOWN);
    assert_int_equal(finding->evidence_count, 4);
    assert_true(strlen(finding->summary) <= 45);
    qh_findings_destroy(findings);
    world_destroy(world);
}

/* The twin, and states that are none of this rule's. */
static void test_no_such_wait(void **state)
{
    struct world *world = world_graph();
    struct qh_graph_lock *graph = &world->snapshot->graph;

    graph->readers = 1; /* there is a reader: a wait in order */
    world_assert_none(world, false);
    graph->readers = 0;
    graph->has_writer = 1;
    world_assert_none(world, false);
    graph->has_writer = 0;
    graph->num_waiters = 0;
    world_assert_none(world, false);
    graph->num_waiters = 1;
    graph->writer_tid = 0;
    world_assert_none(world, false);
    graph->writer_tid = 4711; /* no such thread */
    world_assert_none(world, false);
    graph->writer_tid = WORLD_MAIN_TID;
    graph->readable = false;
    world_assert_none(world, false);
    graph->readable = true;
    graph->present = false;
    world_assert_none(world, false);
    world_destroy(world);
}

/* The writer runs a callback, or waits for something else below it. */
static void test_not_in_its_own_poll(void **state)
{
    struct world *world = world_graph();

    world_stack(world, &world->main->stack, "ppoll", "aio_poll", "bdrv_drain",
                "aio_bh_call", "aio_bh_poll", "aio_poll", "bdrv_graph_wrlock",
                NULL);
    world_assert_none(world, false);
    world_stack(world, &world->main->stack, "pread64", "some_cb", "aio_bh_call",
                "aio_bh_poll", "aio_poll", "bdrv_graph_wrlock", NULL);
    world_assert_none(world, false);
    world_stack(world, &world->main->stack, "ppoll", "aio_poll",
                "bdrv_drain_all_begin", "bdrv_graph_wrlock", NULL);
    world_assert_none(world, false);
    world_destroy(world);
}

static void test_writer_not_asleep(void **state)
{
    struct world *world = world_graph();

    world->main->state = QH_THREAD_RUNNABLE;
    world_assert_none(world, true);
    world->main->state = QH_THREAD_IN_KERNEL;
    world_assert_finding(world, "graph.writer-unkicked", QH_STRONG);
    world_destroy(world);
}

/* A core was taken when its sleep may just have ended: then no proof. */
static void test_writer_perhaps_awake(void **state)
{
    struct world *world = world_graph();

    world->main->perhaps_awake = true;
    world_assert_finding(world, "graph.writer-unkicked", QH_STRONG);
    world_destroy(world);
}

/* Each step from the reader's leaving to the eventfd, held still. */
static void test_kick_on_its_way(void **state)
{
    static const char *const steps[] = { "bdrv_graph_co_rdunlock",
                                         "aio_wait_kick",
                                         "aio_bh_schedule_oneshot_full",
                                         "aio_bh_enqueue",
                                         "aio_notify",
                                         "event_notifier_set",
                                         "aio_co_schedule",
                                         "qemu_bh_schedule" };

    for (size_t i = 0; i < QH_COUNT(steps); i++) {
        struct world *world = world_graph();
        world_stack(world, &world->io0->stack, "write", steps[i],
                    "qcow2_open_entry", "coroutine_trampoline",
                    "qemu_aio_coroutine_enter", "aio_poll", NULL);
        world_assert_none(world, true);
        world_destroy(world);
    }
}

static void test_wake_is_queued(void **state)
{
    struct world *world = world_graph();
    struct qh_bh bh = { .address = qh_raddr(0x6000),
                        .callback = "dummy_bh_cb" };
    struct raddr coroutine = qh_raddr(0x7000);

    world->main_context->pending = &bh;
    world->main_context->pending_count = 1;
    world_assert_none(world, true);
    world->main_context->pending_count = 0;
    world->main_context->scheduled = &coroutine;
    world->main_context->scheduled_count = 1;
    world_assert_none(world, true);
    world->main_context->scheduled_count = 0;
    world->main_context->event_count = 1;
    world_assert_none(world, true);
    world->main_context->event_count = -1; /* a core has no counters */
    world_assert_finding(world, "graph.writer-unkicked", QH_PROOF);
    /* What waits in another context wakes nobody here. */
    world->io0_context->pending = &bh;
    world->io0_context->pending_count = 1;
    world_assert_finding(world, "graph.writer-unkicked", QH_PROOF);
    world_destroy(world);
}

static void test_unknown_context(void **state)
{
    struct world *world = world_graph();

    world->main->polls = qh_raddr(0);
    world_assert_finding(world, "graph.writer-unkicked", QH_PROOF);
    world->snapshot->main_context = qh_raddr(0);
    world_assert_finding(world, "graph.writer-unkicked", QH_STRONG);
    world_destroy(world);
}

/* A wake may be queued where it could not be read. */
static void test_unknown_work(void **state)
{
    struct world *world = world_graph();

    world->main_context->work_unknown = true;
    struct qh_findings *findings = world_diagnose(world);
    assert_int_equal(findings->count, 1);
    assert_int_equal(findings->items[0].certainty, QH_STRONG);
    for (size_t i = 0; i < findings->items[0].evidence_count; i++) {
        assert_null(strstr(findings->items[0].evidence[i].what, "nothing"));
    }
    qh_findings_destroy(findings);
    world_destroy(world);
}

static void assert_heals(const struct world *world, enum qh_heals heals,
                         int64_t in_ns)
{
    struct qh_findings *findings = world_diagnose(world);

    assert_int_equal(findings->count, 1);
    assert_string_equal(qh_heals_name(findings->items[0].heals),
                        qh_heals_name(heals));
    assert_int_equal(findings->items[0].heals_in_ns, in_ns);
    qh_findings_destroy(findings);
}

static void test_timer_ends_the_poll(void **state)
{
    struct world *world = world_graph();
    struct qh_timer *timer =
        world_timer(world, world->main_context->address, 30 * S_NS);

    world->main->timeout_ns = 60 * S_NS;
    assert_heals(world, QH_HEALS_TIMER, 30 * S_NS);
    world->main->timeout_ns = QH_TIME_UNKNOWN;
    assert_heals(world, QH_HEALS_TIMER, 30 * S_NS);
    timer->clock = QH_CLOCK_VIRTUAL; /* whose time is not known */
    assert_heals(world, QH_HEALS_TIMER, QH_TIME_UNKNOWN);
    timer->clock_enabled = false; /* and never comes */
    assert_heals(world, QH_HEALS_NEVER, QH_TIME_UNKNOWN);
    timer->clock_enabled = true;
    timer->context = world->io0_context->address; /* somebody else's */
    assert_heals(world, QH_HEALS_NEVER, QH_TIME_UNKNOWN);
    world_destroy(world);
}

static void test_timer_is_due(void **state)
{
    struct world *world = world_graph();
    struct qh_timer *timer =
        world_timer(world, world->main_context->address, 30 * S_NS);

    timer->expire_ns = world->snapshot->monotonic_ns;
    world->main->timeout_ns = 60 * S_NS;
    world_assert_none(world, true);
    world->main->timeout_ns = -1;
    world_assert_none(world, true);
    world_destroy(world);
}

static void test_timeout_alone(void **state)
{
    struct world *world = world_graph();

    world->main->timeout_ns = 60 * S_NS;
    assert_heals(world, QH_HEALS_TIMER, QH_TIME_UNKNOWN);
    world->main->last_ran_ns = world->snapshot->monotonic_ns - 20 * S_NS;
    assert_heals(world, QH_HEALS_TIMER, 40 * S_NS);
    world->main->last_ran_ns = world->snapshot->monotonic_ns - 61 * S_NS;
    world_assert_none(world, true);
    world_destroy(world);
}

static bool has_note(const struct world *world, const char *what, pid_t tid)
{
    struct qh_findings *findings = world_diagnose(world);
    bool found = false;

    for (size_t i = 0; i < findings->note_count; i++) {
        found |= !strcmp(findings->notes[i].what, what) &&
                 findings->notes[i].tid == tid;
    }
    qh_findings_destroy(findings);
    return found;
}

static void test_notes(void **state)
{
    struct world *world = world_quiet();

    assert_false(has_note(world, "kernel.stuck", WORLD_OTHER_TID));
    world->other->state = QH_THREAD_IN_KERNEL;
    world->other->blocked_in = "nfs_wait_on_request";
    assert_true(has_note(world, "kernel.stuck", WORLD_OTHER_TID));
    world->other->blocked_in = NULL;
    world->other->name = NULL;
    assert_true(has_note(world, "kernel.stuck", WORLD_OTHER_TID));

    assert_false(has_note(world, "graph.write-locked", WORLD_MAIN_TID));
    world->snapshot->graph.has_writer = 1;
    assert_true(has_note(world, "graph.write-locked", WORLD_MAIN_TID));
    world_destroy(world);
}

static void test_bql_note(void **state)
{
    struct world *world = world_quiet();

    world->snapshot->bql_owner = WORLD_MAIN_TID;
    assert_false(has_note(world, "bql.held-asleep", WORLD_MAIN_TID));
    world_stack(world, &world->other->stack, "futex_wait", "bql_lock_impl",
                NULL);
    assert_true(has_note(world, "bql.held-asleep", WORLD_MAIN_TID));
    world->main->timeout_ns = S_NS; /* others stand still so long */
    assert_true(has_note(world, "bql.held-asleep", WORLD_MAIN_TID));
    world->main->timeout_ns = S_NS - 1;
    assert_false(has_note(world, "bql.held-asleep", WORLD_MAIN_TID));
    world->main->timeout_ns = -1;
    world->main->state = QH_THREAD_RUNNABLE;
    assert_false(has_note(world, "bql.held-asleep", WORLD_MAIN_TID));
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unkicked),
        cmocka_unit_test(test_no_such_wait),
        cmocka_unit_test(test_not_in_its_own_poll),
        cmocka_unit_test(test_writer_not_asleep),
        cmocka_unit_test(test_writer_perhaps_awake),
        cmocka_unit_test(test_kick_on_its_way),
        cmocka_unit_test(test_wake_is_queued),
        cmocka_unit_test(test_unknown_context),
        cmocka_unit_test(test_unknown_work),
        cmocka_unit_test(test_timer_ends_the_poll),
        cmocka_unit_test(test_timer_is_due),
        cmocka_unit_test(test_timeout_alone),
        cmocka_unit_test(test_notes),
        cmocka_unit_test(test_bql_note),
    };

    return cmocka_run_group_tests_name("diagnose_graph", tests, NULL, NULL);
}
