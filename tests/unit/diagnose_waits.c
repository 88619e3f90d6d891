/* Rules on what threads wait for: each fault, its twin, each passing state.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose_world.h"
#include "diagnose/wait.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define S_NS INT64_C(1000000000)

/* Room for a wait's operands; a world lives as long as its test. */
static struct qh_operand operands[4];

static struct qh_wait *add_wait(struct world *world, enum qh_wait_kind kind,
                                pid_t tid, const char *function)
{
    struct qh_wait *wait = world_wait(world, kind, tid, 0);

    wait->function = function;
    return wait;
}

static void set_operand(struct qh_wait *wait, size_t index, const char *what,
                        int64_t value)
{
    operands[index] = (struct qh_operand){
        .what = what,
        .address = qh_raddr(0x7000 + 8 * index),
        .value = value,
        .known = true,
    };
    wait->operands = operands;
    if (wait->operand_count <= index) {
        wait->operand_count = index + 1;
    }
}

static enum qh_condition condition_of(const char *what, int64_t value)
{
    struct qh_wait wait = { .tid = 1 };

    set_operand(&wait, 0, what, value);
    return qh_wait_condition(&wait);
}

static void test_conditions(void **state)
{
    assert_int_equal(condition_of("done", 0), QH_CONDITION_OPEN);
    assert_int_equal(condition_of("done", 1), QH_CONDITION_MET);
    assert_int_equal(condition_of("in_progress", 1), QH_CONDITION_OPEN);
    assert_int_equal(condition_of("in_progress", 0), QH_CONDITION_MET);
    assert_int_equal(condition_of("in_flight", 3), QH_CONDITION_OPEN);
    assert_int_equal(condition_of("ret", -EINPROGRESS), QH_CONDITION_OPEN);
    assert_int_equal(condition_of("ret", 0), QH_CONDITION_MET);
    assert_int_equal(condition_of("refcnt", 2), QH_CONDITION_OPEN);
    assert_int_equal(condition_of("refcnt", 1), QH_CONDITION_MET);
    assert_int_equal(condition_of("status", 5), QH_CONDITION_OPEN);
    assert_int_equal(condition_of("status", 6), QH_CONDITION_MET);
    assert_int_equal(condition_of("drained_poll", 0), QH_CONDITION_UNKNOWN);
}

/* One that is open decides; one that is not known keeps it from being met. */
static void test_several_operands(void **state)
{
    struct qh_wait wait = { .tid = 1 };

    assert_int_equal(qh_wait_condition(&wait), QH_CONDITION_UNKNOWN);
    set_operand(&wait, 0, "in_flight", 0);
    set_operand(&wait, 1, "in_flight", 0);
    assert_int_equal(qh_wait_condition(&wait), QH_CONDITION_MET);
    assert_null(qh_wait_open_operand(&wait));
    operands[1].known = false;
    assert_int_equal(qh_wait_condition(&wait), QH_CONDITION_UNKNOWN);
    operands[0].value = 1;
    assert_int_equal(qh_wait_condition(&wait), QH_CONDITION_OPEN);
    assert_ptr_equal(qh_wait_open_operand(&wait), &operands[0]);
}

/* ---- wait.condition-met ---- */

static struct world *world_flush(struct qh_wait **ret)
{
    struct world *world = world_quiet();

    world_stack(world, &world->main->stack, "ppoll", "qemu_poll_ns",
                "fdmon_poll_wait", "aio_poll", "bdrv_poll_co", "bdrv_flush",
                "main_loop_wait", "main", NULL);
    *ret = add_wait(world, QH_WAIT_POLL, WORLD_MAIN_TID, "bdrv_flush");
    set_operand(*ret, 0, "in_progress", 0);
    return world;
}

static void test_condition_met(void **state)
{
    struct qh_wait *wait;
    struct world *world = world_flush(&wait);

    world_assert_finding(world, "wait.condition-met", QH_PROOF);
    operands[0].value = 1; /* it waits rightly */
    world_assert_none(world, false);
    operands[0].value = 0;
    operands[0].known = false;
    world_assert_none(world, false);
    operands[0].known = true;
    wait->late = true; /* read when the target ran on: look again */
    world_assert_none(world, true);
    wait->late = false;
    wait->kind = QH_WAIT_GRAPH_WRITE; /* has a rule of its own */
    world_assert_none(world, false);
    world_destroy(world);
}

static void test_condition_met_passing(void **state)
{
    static const char *const steps[] = {
        "aio_wait_kick", "bdrv_dec_in_flight", "blk_dec_in_flight",
        "aio_wait_bh",   "aio_notify",         "event_notifier_set",
        "aio_bh_enqueue"
    };
    struct qh_wait *wait;

    for (size_t i = 0; i < QH_COUNT(steps); i++) {
        struct world *world = world_flush(&wait);
        world_stack(world, &world->io0->stack, "write", steps[i], "some_co",
                    "coroutine_trampoline", "qemu_aio_coroutine_enter",
                    "aio_poll", NULL);
        world_assert_none(world, true);
        world_destroy(world);
    }
}

static void test_condition_met_on_its_way(void **state)
{
    struct qh_wait *wait;
    struct world *world = world_flush(&wait);
    struct qh_bh bh = { .address = qh_raddr(0x6000) };

    world->main->state = QH_THREAD_RUNNABLE;
    world_assert_none(world, true);
    world->main->state = QH_THREAD_BLOCKED;
    world->main->perhaps_awake = true;
    world_assert_finding(world, "wait.condition-met", QH_STRONG);
    world->main->perhaps_awake = false;
    world->main_context->event_count = 1;
    world_assert_none(world, true);
    world->main_context->event_count = 0;
    world->main_context->pending = &bh;
    world->main_context->pending_count = 1;
    bh.idle = true; /* the loop comes by */
    world_assert_none(world, true);
    world->main_context->pending_count = 0;
    /* It runs a callback: it is not this poll that it sleeps in. */
    world_stack(world, &world->main->stack, "read", "some_cb", "aio_bh_call",
                "aio_bh_poll", "aio_poll", "bdrv_poll_co", NULL);
    world_assert_none(world, false);
    world_destroy(world);
}

/* The coroutine that works for it runs: it may be about to kick. */
static void test_condition_met_worker_runs(void **state)
{
    struct world *world = world_wake_lost();
    struct qh_wait *wait =
        add_wait(world, QH_WAIT_POLL, WORLD_MAIN_TID, "bdrv_flush");

    world->sleeper->cleaner.interval_s = 600;
    set_operand(wait, 0, "in_progress", 0);
    wait->owner_coroutine = world->waiter->address;
    world->waiter->state = QH_CO_RUNNING;
    world_assert_none(world, true);
    world->waiter->state = QH_CO_POOLED;
    world_assert_finding(world, "wait.condition-met", QH_PROOF);
    world_destroy(world);
}

/* ---- lock.owner-gone ---- */

static struct world *world_locked(struct qh_wait **ret)
{
    struct world *world = world_quiet();

    *ret =
        add_wait(world, QH_WAIT_MUTEX, WORLD_MAIN_TID, "qemu_mutex_lock_impl");
    (*ret)->object = qh_raddr(0x9000);
    set_operand(*ret, 0, "__lock", 2);
    set_operand(*ret, 1, "__owner", 4711);
    world_stack(world, &world->main->stack, "futex_wait",
                "qemu_mutex_lock_impl", "some_fn", "main", NULL);
    return world;
}

static void test_owner_gone(void **state)
{
    struct qh_wait *wait;
    struct world *world = world_locked(&wait);

    world_assert_finding(world, "lock.owner-gone", QH_PROOF);
    wait->owner_tid = WORLD_MAIN_TID; /* the waiter itself */
    world_assert_finding(world, "lock.owner-gone", QH_PROOF);
    wait->owner_tid = WORLD_IO0_TID; /* who will unlock it */
    world_assert_none(world, false);
    wait->owner_tid = 0;
    operands[0].value = 0; /* unlocked: it is about to have it */
    world_assert_none(world, false);
    operands[0].value = 2;
    operands[1].value = 0; /* nobody has it yet */
    world_assert_none(world, false);
    operands[1].value = 4711;
    operands[1].known = false;
    world_assert_none(world, false);
    operands[1].known = true;
    wait->late = true;
    world_assert_none(world, true);
    wait->late = false;
    world->main->state = QH_THREAD_RUNNABLE;
    world_assert_none(world, true);
    world_destroy(world);
}

/* QEMU's issue 3144: throttle groups of several iothreads. */
static void test_owner_self_known(void **state)
{
    struct qh_wait *wait;
    struct world *world = world_locked(&wait);

    wait->owner_tid = WORLD_MAIN_TID;
    struct qh_findings *findings = world_diagnose(world);
    assert_null(findings->items[0].user);
    qh_findings_destroy(findings);
    world_stack(world, &world->main->stack, "futex_wait",
                "qemu_mutex_lock_impl", "throttle_group_restart_queue", NULL);
    findings = world_diagnose(world);
    assert_string_equal(findings->items[0].user, "throttle-group.lock");
    qh_findings_destroy(findings);
    world_destroy(world);
}

/* Two that wait for one mutex make one finding. */
static void test_owner_gone_once(void **state)
{
    struct qh_wait *wait;
    struct world *world = world_locked(&wait);
    struct qh_wait *other =
        add_wait(world, QH_WAIT_MUTEX, WORLD_IO0_TID, "qemu_mutex_lock_impl");

    other->object = qh_raddr(0x9000);
    other->operands = operands;
    other->operand_count = 2;
    world_assert_finding(world, "lock.owner-gone", QH_PROOF);
    world_destroy(world);
}

/* ---- kernel.stuck, rcu.stalled ---- */

static void test_kernel_stuck(void **state)
{
    struct qh_wait *wait;
    struct world *world = world_locked(&wait);

    wait->owner_tid = WORLD_OTHER_TID;
    world_assert_none(world, false);
    world->other->state = QH_THREAD_IN_KERNEL;
    world->other->blocked_in = "nfs_wait_on_request";
    world_assert_none(world, false); /* whether it ran is not known */
    world->other->switches = 17;
    world_assert_finding(world, "kernel.stuck", QH_STRONG);
    wait->owner_tid = WORLD_IO0_TID; /* nobody waits for it */
    world_assert_none(world, false);
    wait->kind = QH_WAIT_BQL;
    world->snapshot->bql_owner = WORLD_OTHER_TID;
    world_assert_finding(world, "kernel.stuck", QH_STRONG);
    world_destroy(world);
}

/* The same thread in another sleep is not the same finding. */
static void test_kernel_moves(void **state)
{
    struct qh_wait *wait;
    struct world *world = world_locked(&wait);

    wait->owner_tid = WORLD_OTHER_TID;
    world->other->state = QH_THREAD_IN_KERNEL;
    world->other->switches = 17;
    struct qh_findings *one = world_diagnose(world);
    world->other->switches = 18;
    struct qh_findings *two = world_diagnose(world);
    qh_findings_confirm(one, two);
    assert_null(qh_findings_settle(two));
    assert_int_equal(two->count, 0);
    qh_findings_destroy(one);
    qh_findings_destroy(two);
    world_destroy(world);
}

static void test_rcu_stalled(void **state)
{
    struct world *world = world_quiet();
    struct qh_wait *wait =
        add_wait(world, QH_WAIT_RCU, WORLD_OTHER_TID, "wait_for_readers");

    world_assert_none(world, false);
    wait->owner_tid = WORLD_IO0_TID;
    set_operand(wait, 0, "ctr", 5);
    world_assert_finding(world, "rcu.stalled", QH_STRONG);
    world->io0->state = QH_THREAD_RUNNABLE; /* it moves */
    world_assert_none(world, false);
    world->io0->state = QH_THREAD_BLOCKED;
    wait->late = true;
    world_assert_none(world, true);
    wait->late = false;
    /* It waits for the BQL: its holder is whom all wait for. */
    add_wait(world, QH_WAIT_BQL, WORLD_IO0_TID, "qemu_mutex_lock_impl");
    world_assert_none(world, false);
    world_destroy(world);
}

/* ---- sleep.wake-lost of other users ---- */

static void test_other_users(void **state)
{
    static const enum qh_sleep_user users[] = { QH_USER_BLOCK_COPY,
                                                QH_USER_CO_TIMEOUT };
    for (size_t i = 0; i < QH_COUNT(users); i++) {
        struct world *world = world_wake_lost();
        world->sleeper->user = users[i];
        world->sleeper->has_cleaner = false;
        world_assert_none(world, false);
        world->sleeper->asked_known = true;
        world_assert_none(world, false);
        world->sleeper->asked_to_wake = true;
        world_assert_finding(world, "sleep.wake-lost", QH_PROOF);
        world->sleeper->armed = QH_ARMED_PENDING; /* a wake that is not lost */
        world_assert_none(world, true);
        world->sleeper->armed = QH_ARMED_YES;
        world_stack(world, &world->other->stack,
                    i ? "qemu_co_timeout_entry" : "block_copy_call_cancel",
                    "some_fn", NULL);
        world_assert_none(world, true);
        world_destroy(world);
    }
}

/* ---- context ---- */

static void test_rightly(void **state)
{
    struct qh_wait *wait;
    struct world *world = world_flush(&wait);

    operands[0].value = 1;
    struct qh_findings *findings = world_diagnose(world);
    assert_int_equal(findings->note_count, 1);
    assert_string_equal(findings->notes[0].what, "wait.rightly");
    assert_non_null(strstr(findings->notes[0].text, "bdrv_flush"));
    assert_non_null(strstr(findings->notes[0].text, "in_progress = 1"));
    qh_findings_destroy(findings);
    world_destroy(world);
}

/* What it had submitted came back with the stop: the next one tells. */
static void test_perhaps_asleep(void **state)
{
    struct qh_wait *wait;
    struct world *world = world_flush(&wait);
    struct qh_thread *thread = world->main;

    operands[0].value = 1;
    thread->state = QH_THREAD_RUNNABLE;
    world_assert_none(world, false);
    thread->perhaps_asleep = true;
    world_assert_none(world, true);
    world_stack(world, &thread->stack, "main_loop_wait", "main", NULL);
    world_assert_none(world, false);
    world_destroy(world);
}

static const char *progress_of(struct world *world,
                               void (*move)(struct world *))
{
    static char told[128];
    struct qh_findings *one = world_diagnose(world);

    move(world);
    struct qh_findings *two = world_diagnose(world);
    qh_findings_confirm(one, two);
    assert_null(qh_findings_settle(two));
    told[0] = 0;
    for (size_t i = 0; i < two->note_count; i++) {
        if (!strncmp(two->notes[i].what, "progress.", 9)) {
            snprintf(told, sizeof(told), "%s: %s", two->notes[i].what,
                     two->notes[i].text);
        }
    }
    qh_findings_destroy(one);
    qh_findings_destroy(two);
    return told;
}

static void move_nothing(struct world *world)
{
}

static void move_thread(struct world *world)
{
    world_stack(world, &world->other->stack, "pread64", "worker_thread", NULL);
    world->other->state = QH_THREAD_RUNNABLE;
}

static void move_timer(struct world *world)
{
    world_timer(world, world->main_context->address, S_NS);
}

/* Beside a finding it is told whether anything moves. */
static void test_progress(void **state)
{
    struct world *world = world_wake_lost();

    assert_string_equal(progress_of(world, move_nothing),
                        "progress.none: nothing moved over 2 samples");
    assert_string_equal(progress_of(world, move_thread),
                        "progress.slow: 1 of 3 threads moved over 2 samples");
    assert_non_null(strstr(progress_of(world, move_timer), "queued"));
    world->sleeper->cleaner.interval_s = 600; /* no finding, no word */
    assert_string_equal(progress_of(world, move_thread), "");
    world_destroy(world);
}

/* ---- coroutine.orphan ---- */

static void test_orphan(void **state)
{
    struct world *world = world_quiet();
    struct qh_coroutine *coroutine =
        world_coroutine(world, 0x9000, "some_entry");

    coroutine->referred = QH_REFERRED_YES;
    world_assert_none(world, false);
    coroutine->referred = QH_REFERRED_UNKNOWN;
    world_assert_none(world, false);
    coroutine->referred = QH_REFERRED_PERHAPS_NOT; /* look again, in a stop */
    world_assert_none(world, true);
    coroutine->referred = QH_REFERRED_NO;
    world_assert_finding(world, "coroutine.orphan", QH_STRONG);
    coroutine->state = QH_CO_POOLED;
    world_assert_none(world, false);
    world_destroy(world);
}

/* Another place of the same coroutine is another finding. */
static void test_orphan_moves(void **state)
{
    struct world *world = world_quiet();
    struct qh_coroutine *coroutine =
        world_coroutine(world, 0x9000, "some_entry");

    coroutine->referred = QH_REFERRED_NO;
    struct qh_findings *first = world_diagnose(world);
    struct qh_findings *again = world_diagnose(world);
    qh_findings_confirm(first, again);
    assert_int_equal(again->items[0].samples, 2);
    qh_findings_destroy(again);
    coroutine->regs.dwarf[QH_REG_RSP] += 16;
    again = world_diagnose(world);
    qh_findings_confirm(first, again);
    assert_int_equal(again->items[0].samples, 1);
    qh_findings_destroy(again);
    qh_findings_destroy(first);
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_several_operands),
        cmocka_unit_test(test_condition_met),
        cmocka_unit_test(test_condition_met_passing),
        cmocka_unit_test(test_condition_met_on_its_way),
        cmocka_unit_test(test_condition_met_worker_runs),
        cmocka_unit_test(test_owner_gone),
        cmocka_unit_test(test_owner_gone_once),
        cmocka_unit_test(test_owner_self_known),
        cmocka_unit_test(test_kernel_stuck),
        cmocka_unit_test(test_kernel_moves),
        cmocka_unit_test(test_rcu_stalled),
        cmocka_unit_test(test_orphan),
        cmocka_unit_test(test_orphan_moves),
        cmocka_unit_test(test_other_users),
        cmocka_unit_test(test_rightly),
        cmocka_unit_test(test_perhaps_asleep),
        cmocka_unit_test(test_progress),
    };

    return cmocka_run_group_tests_name("diagnose_waits", tests, NULL, NULL);
}
