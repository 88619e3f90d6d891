/* monitor.suspended: the fault, and what is rightly suspended.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { DISPATCHER = 0x9000 };

static struct qh_coroutine *dispatcher_of(struct world *world)
{
    struct qh_snapshot *snapshot = world->snapshot;

    return &snapshot->coroutines[snapshot->coroutine_count - 1];
}

static struct qh_monitor *add_monitor(struct world *world, const char *chardev,
                                      int32_t suspended)
{
    struct qh_snapshot *snapshot = world->snapshot;
    struct qh_monitor *monitor = qh_list_add(
        &snapshot->arena, &snapshot->monitors, &snapshot->monitor_count,
        &snapshot->room.monitors, sizeof(*monitor));

    assert_non_null(monitor);
    *monitor = (struct qh_monitor){
        .address = qh_raddr(0x9100 * snapshot->monitor_count),
        .chardev = chardev,
        .suspended = suspended,
        .suspended_address = qh_raddr(0x9140),
        .requests_address = qh_raddr(0x9200),
    };
    return monitor;
}

/* A monitor that is suspended, its queue empty, and the dispatcher rests. */
static struct world *world_suspended(void)
{
    struct world *world = world_quiet();

    add_monitor(world, "charmonitor", 1);
    world->snapshot->qmp_dispatcher = qh_raddr(DISPATCHER);
    world->snapshot->qmp_busy_address = qh_raddr(0x9300);
    world_coroutine(world, DISPATCHER, "monitor_qmp_dispatcher_co");
    world_stack(world, &dispatcher_of(world)->stack, "qemu_coroutine_switch",
                "qemu_coroutine_yield", "monitor_qmp_dispatcher_co",
                "coroutine_trampoline", NULL);
    return world;
}

static void test_suspended(void **state)
{
    struct world *world = world_suspended();
    struct qh_monitor *monitor = &world->snapshot->monitors[0];

    world_assert_finding(world, "monitor.suspended", QH_PROOF);
    monitor->suspended = 0;
    world_assert_none(world, false);
    monitor->suspended = -1; /* as deaf */
    world_assert_finding(world, "monitor.suspended", QH_PROOF);
    monitor->suspended = 2; /* left behind twice */
    world_assert_finding(world, "monitor.suspended", QH_PROOF);
    monitor->requests = 1; /* it will be resumed with that one */
    world_assert_none(world, false);
    world_destroy(world);
}

static void test_evidence(void **state)
{
    struct world *world = world_suspended();
    struct qh_findings *findings = world_diagnose(world);

    assert_int_equal(findings->count, 1);
    assert_int_equal(findings->items[0].heals, QH_HEALS_NEVER);
    assert_int_equal(qh_finding_kick(&findings->items[0]), QH_KICK_NONE);
    assert_non_null(strstr(findings->items[0].evidence[0].what, "charmonitor"));
    qh_findings_destroy(findings);
    world->snapshot->monitors[0].chardev = NULL;
    world_assert_finding(world, "monitor.suspended", QH_PROOF);
    world_destroy(world);
}

/* Of several, those that are left behind, in one finding. */
static void test_several(void **state)
{
    struct world *world = world_suspended();

    add_monitor(world, "fine", 0);
    add_monitor(world, "waits", 1)->requests = 1;
    struct qh_findings *one = world_diagnose(world);
    assert_int_equal(one->count, 1);
    assert_int_equal(one->items[0].evidence_count, 3);
    add_monitor(world, "second", 1);
    struct qh_findings *two = world_diagnose(world);
    assert_int_equal(two->count, 1);
    assert_int_equal(two->items[0].evidence_count, 5);
    assert_non_null(strstr(two->items[0].evidence[2].what, "second"));
    assert_true(two->items[0].fingerprint != one->items[0].fingerprint);
    qh_findings_destroy(two);
    qh_findings_destroy(one);
    world_destroy(world);
}

/* Whoever serves its request resumes it. */
static void test_served(void **state)
{
    struct world *world = world_suspended();
    struct qh_snapshot *snapshot = world->snapshot;

    snapshot->qmp_busy = true;
    world_assert_none(world, false);
    snapshot->qmp_busy = false;
    dispatcher_of(world)->state = QH_CO_RUNNING;
    world_assert_none(world, false);
    dispatcher_of(world)->state = QH_CO_SUSPENDED;
    world_stack(world, &dispatcher_of(world)->stack, "qemu_coroutine_switch",
                "qemu_coroutine_yield", "qmp_dispatch", "monitor_qmp_dispatch",
                "monitor_qmp_dispatcher_co", "coroutine_trampoline", NULL);
    world_assert_none(world, false);
    world_destroy(world);
}

/* What is not known proves nothing. */
static void test_unknown(void **state)
{
    struct world *world = world_suspended();

    world->snapshot->qmp_dispatcher = qh_raddr(0); /* it has ended */
    world_assert_none(world, false);
    world->snapshot->qmp_dispatcher = qh_raddr(DISPATCHER + 8);
    world_assert_none(world, false);
    world->snapshot->qmp_dispatcher = qh_raddr(DISPATCHER);
    world->snapshot->qmp_busy_address = qh_raddr(0); /* was not read */
    world_assert_none(world, false);
    world->snapshot->qmp_busy_address = qh_raddr(0x9300);
    dispatcher_of(world)->stack = (struct qh_backtrace){ .count = 0 };
    world_assert_none(world, false);
    world_destroy(world);

    world = world_suspended();
    world->other->stack.cut = "unreadable";
    world_assert_finding(world, "monitor.suspended", QH_STRONG);
    world_destroy(world);
}

/* Without a stop, only while the process stands still. */
static void test_unstopped(void **state)
{
    struct world *world = world_suspended();

    world->snapshot->unstopped = true;
    world_assert_finding(world, "monitor.suspended", QH_STRONG);
    world->snapshot->torn = true;
    world_assert_none(world, true);
    world_destroy(world);
}

static void test_passing(void **state)
{
    static const char *const steps[] = {
        "handle_qmp_command",
        "monitor_suspend",
        "monitor_resume",
        "monitor_qmp_event",
        "monitor_qmp_cleanup_queue_and_resume",
        "monitor_qmp_dispatcher_co",
        "qmp_dispatcher_co_wake",
        "monitor_data_destroy",
        "monitor_cleanup",
    };

    for (size_t i = 0; i < QH_COUNT(steps); i++) {
        struct world *world = world_suspended();
        world_stack(world, &world->other->stack, steps[i], "tcp_chr_read",
                    "main_loop_wait", "main", NULL);
        world_assert_none(world, true);
        world_destroy(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suspended), cmocka_unit_test(test_evidence),
        cmocka_unit_test(test_several),   cmocka_unit_test(test_served),
        cmocka_unit_test(test_unknown),   cmocka_unit_test(test_unstopped),
        cmocka_unit_test(test_passing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
