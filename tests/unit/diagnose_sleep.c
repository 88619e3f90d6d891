/* sleep.wake-lost and sleep.erased: the fault, its twin, every passing state.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define S_NS INT64_C(1000000000)

static void test_wake_lost(void **state)
{
    struct world *world = world_wake_lost();
    struct qh_findings *findings = world_diagnose(world);

    assert_int_equal(findings->count, 1);
    const struct qh_finding *finding = &findings->items[0];
    assert_string_equal(finding->rule, "sleep.wake-lost");
    assert_string_equal(finding->user, "qcow2.cache-clean-timer");
    assert_int_equal(finding->certainty, QH_PROOF);
    assert_int_equal(finding->coroutine.value,
                     world->sleeper->coroutine.value);
    assert_int_equal(finding->tid, WORLD_IO0_TID);
    assert_int_equal(finding->waiter, WORLD_MAIN_TID);
    assert_int_equal(finding->heals, QH_HEALS_TIMER);
    assert_int_equal(finding->heals_in_ns, 579 * S_NS);
    assert_true(strlen(finding->summary) <= 45);
    assert_int_equal(finding->fixed_in_count, 2);
    assert_string_equal(finding->fixed_in[0], "10.0.13");
    assert_string_equal(finding->fixed_in[1], "11.1");
    assert_false(findings->unsettled);
    qh_findings_destroy(findings);
    world_destroy(world);
}

static const struct qh_evidence *evidence_at(const struct qh_finding *finding,
                                             struct raddr address)
{
    for (size_t i = 0; i < finding->evidence_count; i++) {
        if (qh_raddr_equal(finding->evidence[i].address, address)) {
            return &finding->evidence[i];
        }
    }
    fail_msg("no evidence at %#llx", (unsigned long long)address.value);
    return NULL;
}

static void test_wake_lost_evidence(void **state)
{
    struct world *world = world_wake_lost();
    struct qh_findings *findings = world_diagnose(world);
    const struct qh_finding *finding = &findings->items[0];
    const struct qh_sleeper *sleeper = world->sleeper;

    assert_int_equal(finding->evidence_count, 4);
    assert_string_equal(
        evidence_at(finding, sleeper->cleaner.interval_address)->value, "0");
    assert_string_equal(evidence_at(finding, sleeper->wake)->value,
                        "0x7f8e280039c0");
    assert_string_equal(evidence_at(finding, sleeper->timer)->value,
                        "2579000000000");
    assert_string_equal(evidence_at(finding, sleeper->timer)->what,
                        "timer 579 s ahead, first on io0's list");
    qh_findings_destroy(findings);
    world_destroy(world);
}

static void test_twin_not_told_to_stop(void **state)
{
    struct world *world = world_wake_lost();

    world->sleeper->cleaner.interval_s = 600;
    world_assert_none(world, false);
    world_destroy(world);
}

static void test_nobody_waits(void **state)
{
    struct world *world = world_wake_lost();

    world->sleeper->cleaner.waiter_count = 0;
    world_assert_none(world, false);
    world_destroy(world);
}

static void test_another_sleeps(void **state)
{
    struct world *world = world_wake_lost();

    world->sleeper->cleaner.timer_co = qh_raddr(0x1234);
    world_assert_none(world, false);
    world_destroy(world);
}

static void test_unreadable_cleaner(void **state)
{
    struct world *world = world_wake_lost();

    world->sleeper->has_cleaner = false;
    world_assert_none(world, false);
    world_destroy(world);
}

static void test_unknown_user(void **state)
{
    struct world *world = world_wake_lost();

    world->sleeper->user = QH_USER_UNKNOWN;
    world_assert_none(world, false);
    world_destroy(world);
}

/* A thread or a coroutine inside the wake: it is on its way. */
static void test_inside_wake(void **state)
{
    static const char *const inside[] = { "qemu_co_sleep_wake",
                                          "co_sleep_cb" };

    for (size_t i = 0; i < QH_COUNT(inside); i++) {
        struct world *lost = world_wake_lost();
        struct world *erased = world_erased();
        world_stack(lost, &lost->other->stack, "wait_here", inside[i],
                    "worker_thread", NULL);
        world_stack(erased, &erased->other->stack, "wait_here", inside[i],
                    "worker_thread", NULL);
        world_assert_none(lost, true);
        world_assert_none(erased, true);
        world_destroy(lost);
        world_destroy(erased);
    }
}

static void test_inlined_wake_counts(void **state)
{
    struct world *world = world_erased();

    world_stack(world, &world->io0->stack, "qemu_co_sleep_wake", "co_sleep_cb",
                "timerlist_run_timers", "aio_poll", NULL);
    world->io0->stack.frames[0].is_inline = true;
    world->io0->state = QH_THREAD_RUNNABLE;
    world_assert_none(world, true);
    world_destroy(world);
}

/* The wake of a coroutine that has run on since is no wake any more. */
static void test_delivered_wake_is_over(void **state)
{
    struct world *world = world_wake_lost();

    world_stack(world, &world->other->stack, "pread64", "some_coroutine",
                "coroutine_trampoline", "qemu_aio_coroutine_enter",
                "qemu_co_sleep_wake", "co_sleep_cb", "timerlist_run_timers",
                NULL);
    world_assert_finding(world, "sleep.wake-lost", QH_PROOF);
    world_destroy(world);
}

static void test_second_stopper_on_its_way(void **state)
{
    struct world *world = world_wake_lost();

    world_stack(world, &world->other->stack, "qemu_co_mutex_lock",
                "cache_clean_timer_co_locked_del_and_wait", NULL);
    world_assert_none(world, true);
    world_destroy(world);
}

static void test_waiter_runnable(void **state)
{
    struct world *lost = world_wake_lost(), *erased = world_erased();

    lost->main->state = QH_THREAD_RUNNABLE;
    erased->main->state = QH_THREAD_RUNNABLE;
    world_assert_none(lost, true);
    world_assert_none(erased, true);
    world_destroy(lost);
    world_destroy(erased);
}

static void test_waiting_coroutine_scheduled(void **state)
{
    struct world *world = world_wake_lost();

    world->waiter->scheduled = "aio_co_schedule";
    world_assert_none(world, true);
    world_destroy(world);
}

static void test_waiting_coroutine_only(void **state)
{
    struct world *world = world_wake_lost();

    world->sleeper->cleaner.waiter_tid = 0;
    world_assert_finding(world, "sleep.wake-lost", QH_PROOF);
    world->sleeper->cleaner.waiters[0] = qh_raddr(0x9999);
    world_assert_finding(world, "sleep.wake-lost", QH_STRONG);
    world_destroy(world);
}

static void test_sleeper_not_parked(void **state)
{
    static const enum qh_coroutine_state awake[] = { QH_CO_RUNNING,
                                                     QH_CO_ENTERED };

    for (size_t i = 0; i < QH_COUNT(awake); i++) {
        struct world *lost = world_wake_lost(), *erased = world_erased();
        lost->cleaner->state = awake[i];
        erased->cleaner->state = awake[i];
        world_assert_none(lost, true);
        world_assert_none(erased, true);
        world_destroy(lost);
        world_destroy(erased);
    }
}

static void test_already_scheduled(void **state)
{
    static const char *const marks[] = { NULL, "aio_co_schedule" };

    for (size_t i = 0; i < QH_COUNT(marks); i++) {
        struct world *world = world_erased();
        world->cleaner->scheduled = marks[i];
        world_assert_none(world, false);
        world_destroy(world);
    }
}

/* The sentinel of the fixed primitive: the wake is being delivered. */
static void test_sentinel(void **state)
{
    struct world *world = world_erased();

    world->sleeper->to_wake = qh_raddr(1);
    world->sleeper->armed = QH_ARMED_PENDING;
    world_assert_none(world, true);
    world_destroy(world);
}

static void test_timer_due(void **state)
{
    struct world *world = world_wake_lost();

    world->sleeper->left_ns = 0;
    world_assert_none(world, true); /* due this instant */
    world->sleeper->left_ns = -10 * S_NS;
    world->io0->state = QH_THREAD_RUNNABLE;
    world_assert_none(world, true); /* its thread is about to serve it */
    world->io0->state = QH_THREAD_BLOCKED;
    world_assert_finding(world, "sleep.wake-lost", QH_PROOF);
    world_stack(world, &world->io0->stack, "timerlist_run_timers", "aio_poll",
                NULL);
    world_assert_none(world, true); /* it is being served */
    world_destroy(world);
}

static void test_timer_of_core(void **state)
{
    struct world *world = world_wake_lost();
    struct qh_findings *findings;

    world->snapshot->kind = QH_TARGET_CORE;
    world->sleeper->left_ns = -1;
    findings = world_diagnose(world);
    assert_int_equal(findings->count, 1);
    assert_int_equal(findings->items[0].heals, QH_HEALS_TIMER);
    assert_int_equal(findings->items[0].heals_in_ns, QH_TIME_UNKNOWN);
    qh_findings_destroy(findings);
    world_destroy(world);
}

static enum qh_heals heals_of(const struct world *world, int64_t *ret_in_ns)
{
    struct qh_findings *findings = world_diagnose(world);

    assert_int_equal(findings->count, 1);
    enum qh_heals heals = findings->items[0].heals;
    *ret_in_ns = findings->items[0].heals_in_ns;
    qh_findings_destroy(findings);
    return heals;
}

static void test_heals(void **state)
{
    struct world *world = world_wake_lost();
    int64_t in_ns;

    world->sleeper->left_ns = QH_TIME_UNKNOWN;
    assert_int_equal(heals_of(world, &in_ns), QH_HEALS_TIMER);
    assert_int_equal(in_ns, QH_TIME_UNKNOWN);
    world->sleeper->timer_linked = false;
    /* Armed, so it is on a list, but on none that could be read. */
    assert_int_equal(heals_of(world, &in_ns), QH_HEALS_UNKNOWN);
    world->sleeper->expire_ns = QH_TIME_UNKNOWN;
    assert_int_equal(heals_of(world, &in_ns), QH_HEALS_NEVER);
    assert_int_equal(in_ns, QH_TIME_UNKNOWN);
    world->sleeper->timer = qh_raddr(0);
    assert_int_equal(heals_of(world, &in_ns), QH_HEALS_UNKNOWN);
    world_destroy(world);

    world = world_wake_lost();
    world->io0_context->tid = 0; /* its iothread has ended */
    assert_int_equal(heals_of(world, &in_ns), QH_HEALS_UNKNOWN);
    world_destroy(world);
}

/* The sleeper may be running, for all that is known of its thread. */
static void test_home_got_no_cpu(void **state)
{
    struct world *lost = world_wake_lost(), *erased = world_erased();

    lost->io0->state = erased->io0->state = QH_THREAD_RUNNABLE;
    world_assert_finding(lost, "sleep.wake-lost", QH_PROOF);
    world_assert_finding(erased, "sleep.erased", QH_PROOF);
    lost->io0->stack.count = erased->io0->stack.count = 0;
    world_assert_none(lost, true);
    world_assert_none(erased, true);
    world_destroy(lost);
    world_destroy(erased);
}

/* Any other may be the waker, held up in the middle of it. */
static void test_runnable_got_no_cpu(void **state)
{
    struct world *world = world_erased();

    world->other->stack.count = 0;
    world->other->state = QH_THREAD_RUNNABLE;
    world_assert_none(world, true);
    world->other->name = "iou-wrk-100";
    world_assert_finding(world, "sleep.erased", QH_PROOF);
    world->other->name = "other";
    world->snapshot->unstopped = true;
    world_assert_finding(world, "sleep.erased", QH_STRONG);
    world_destroy(world);
}

static void test_unseen_thread_lowers_certainty(void **state)
{
    struct world *world = world_wake_lost();

    world->other->stack.count = 0;
    world->other->state = QH_THREAD_IN_KERNEL;
    world_assert_finding(world, "sleep.wake-lost", QH_STRONG);
    world->other->name = "iou-wrk-100";
    world_assert_finding(world, "sleep.wake-lost", QH_PROOF);
    world_destroy(world);

    world = world_erased();
    world->other->stack.cut = "no CFI";
    world_assert_finding(world, "sleep.erased", QH_STRONG);
    world->other->role = QH_ROLE_VCPU; /* generated code */
    world_assert_finding(world, "sleep.erased", QH_PROOF);
    world_destroy(world);
}

static void test_erased(void **state)
{
    struct world *world = world_erased();
    struct qh_findings *findings = world_diagnose(world);

    assert_int_equal(findings->count, 1);
    const struct qh_finding *finding = &findings->items[0];
    assert_string_equal(finding->rule, "sleep.erased");
    assert_string_equal(finding->user, "qcow2.cache-clean-timer");
    assert_int_equal(finding->certainty, QH_PROOF);
    assert_int_equal(finding->heals, QH_HEALS_NEVER);
    assert_int_equal(finding->heals_in_ns, QH_TIME_UNKNOWN);
    assert_int_equal(finding->tid, WORLD_IO0_TID);
    assert_int_equal(finding->waiter, WORLD_MAIN_TID);
    assert_true(strlen(finding->summary) <= 45);
    assert_string_equal(evidence_at(finding, world->sleeper->wake)->value,
                        "0x0");
    qh_findings_destroy(findings);
    world_destroy(world);
}

static void test_erased_unknown_user(void **state)
{
    struct world *world = world_erased();
    struct qh_findings *findings;

    world->sleeper->user = QH_USER_UNKNOWN;
    world->sleeper->has_cleaner = false;
    world->sleeper->timer_linked = false;
    world->sleeper->expire_ns = QH_TIME_UNKNOWN;
    findings = world_diagnose(world);
    assert_int_equal(findings->count, 1);
    assert_null(findings->items[0].user);
    assert_int_equal(findings->items[0].waiter, 0);
    assert_int_equal(findings->items[0].heals, QH_HEALS_NEVER);
    qh_findings_destroy(findings);
    world_destroy(world);
}

static void test_names_another(void **state)
{
    struct world *world = world_erased();

    world->sleeper->to_wake = qh_raddr(0x4444);
    world->sleeper->armed = QH_ARMED_OTHER;
    world_assert_finding(world, "sleep.erased", QH_STRONG);
    world_destroy(world);
}

static void test_unknown_wake(void **state)
{
    struct world *world = world_erased();

    world->sleeper->armed = QH_ARMED_UNKNOWN;
    world_assert_none(world, false);
    world->sleeper->armed = QH_ARMED_NO;
    world->sleeper->wake = qh_raddr(0);
    world_assert_none(world, false);
    world_destroy(world);
}

static void test_lists_do_not_fit(void **state)
{
    struct world *world = world_erased();

    world->sleeper->coroutine = qh_raddr(0x8888); /* no such coroutine */
    world_assert_none(world, false);
    world_destroy(world);

    world = world_erased();
    world->cleaner->context = qh_raddr(0x8888); /* no such context */
    world->cleaner->stack.count = 0;
    world->sleeper->cleaner.waiter_tid = 4711; /* no such thread */
    world_assert_finding(world, "sleep.erased", QH_STRONG);
    world_destroy(world);
}

static void test_empty_snapshot(void **state)
{
    struct world *world = calloc(1, sizeof(*world));

    assert_non_null(world);
    assert_null(qh_snapshot_create(&world->snapshot));
    world_assert_none(world, false);
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wake_lost),
        cmocka_unit_test(test_wake_lost_evidence),
        cmocka_unit_test(test_twin_not_told_to_stop),
        cmocka_unit_test(test_nobody_waits),
        cmocka_unit_test(test_another_sleeps),
        cmocka_unit_test(test_unreadable_cleaner),
        cmocka_unit_test(test_unknown_user),
        cmocka_unit_test(test_inside_wake),
        cmocka_unit_test(test_inlined_wake_counts),
        cmocka_unit_test(test_delivered_wake_is_over),
        cmocka_unit_test(test_second_stopper_on_its_way),
        cmocka_unit_test(test_waiter_runnable),
        cmocka_unit_test(test_waiting_coroutine_scheduled),
        cmocka_unit_test(test_waiting_coroutine_only),
        cmocka_unit_test(test_sleeper_not_parked),
        cmocka_unit_test(test_already_scheduled),
        cmocka_unit_test(test_sentinel),
        cmocka_unit_test(test_timer_due),
        cmocka_unit_test(test_timer_of_core),
        cmocka_unit_test(test_heals),
        cmocka_unit_test(test_home_got_no_cpu),
        cmocka_unit_test(test_runnable_got_no_cpu),
        cmocka_unit_test(test_unseen_thread_lowers_certainty),
        cmocka_unit_test(test_erased),
        cmocka_unit_test(test_erased_unknown_user),
        cmocka_unit_test(test_names_another),
        cmocka_unit_test(test_unknown_wake),
        cmocka_unit_test(test_lists_do_not_fit),
        cmocka_unit_test(test_empty_snapshot),
    };

    return cmocka_run_group_tests_name("diagnose_sleep", tests, NULL, NULL);
}
