/* Looking at a process without stopping it: who sleeps shows where, who runs
 * shows nothing, and nothing is touched.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target_help.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct qh_live_options left_running = { .leave_running = true };
static struct child child;

static int setup(void **state)
{
    child = child_start(NULL, "threads", NULL);
    await_state(child.pid, child.facts.tids[POLLER], 'S');
    await_state(child.pid, child.facts.tids[WAITER], 'S');
    await_state(child.pid, child.facts.tids[SLEEPER], 'S');
    await_state(child.pid, child.pid, 'S');
    /* Until then it may be on its way out of the barrier. */
    await_change(child.pid, child.facts.counter, 0);
    return 0;
}

static int teardown(void **state)
{
    child_end(&child);
    return 0;
}

static struct qh_target *open_running(pid_t pid)
{
    struct qh_target *target = NULL;

    assert_fine(qh_target_open_live(pid, &left_running, &target));
    return target;
}

/* A copy, for after the target is closed. */
static struct qh_task task_now(struct qh_target *target, pid_t tid)
{
    assert_fine(qh_target_stop(target));
    qh_target_resume(target);
    const struct qh_task *task = task_of(target, tid);
    assert_non_null(task);
    return *task;
}

/* A thread that got to no CPU to be stopped is let go when it has. */
static void await_let_go(void)
{
    for (size_t i = 0; i < CHILD_THREADS; i++) {
        await_untraced(child.pid, child.facts.tids[i]);
    }
}

/* What a sleeper shows is what ptrace says of it. */
static void test_sleepers(void **state)
{
    const pid_t tids[] = { child.pid, child.facts.tids[POLLER],
                           child.facts.tids[WAITER],
                           child.facts.tids[SLEEPER] };

    for (size_t i = 0; i < QH_COUNT(tids); i++) {
        struct qh_target *target = open_running(child.pid);
        struct qh_task seen = task_now(target, tids[i]);
        assert_true(qh_target_process(target)->unstopped);
        qh_target_destroy(target);
        target = open_live(child.pid);
        struct qh_task stopped = task_now(target, tids[i]);
        assert_false(qh_target_process(target)->unstopped);
        qh_target_destroy(target);
        await_let_go();

        assert_int_equal(seen.stop, QH_TASK_STOPPED);
        assert_true(seen.unstopped);
        assert_int_not_equal(seen.switches, 0);
        assert_int_equal(seen.orig_rax, stopped.orig_rax);
        assert_int_equal(seen.fs_base, stopped.fs_base);
        assert_int_equal(seen.regs.dwarf[QH_REG_RSP],
                         stopped.regs.dwarf[QH_REG_RSP]);
        assert_int_equal(seen.regs.dwarf[QH_REG_RIP],
                         stopped.regs.dwarf[QH_REG_RIP]);
        assert_int_equal(seen.regs.dwarf[QH_REG_RDI],
                         stopped.regs.dwarf[QH_REG_RDI]);
        assert_false(seen.regs.known >> QH_REG_RBX & 1);
        assert_false(seen.regs.known >> QH_REG_RAX & 1);
    }
}

/* Of a look that has not met the spinner in one of its short sleeps, which it
 * takes a few thousand times a second. */
static struct qh_task spinner_awake(struct qh_target *target)
{
    enum { MANY = 1000 };

    for (int i = 0; i < MANY; i++) {
        struct qh_task task = task_now(target, child.facts.tids[SPINNER]);
        if (task.stop == QH_TASK_RUNNING) {
            return task;
        }
        assert_int_equal(task.stop, QH_TASK_STOPPED);
    }
    fail_msg("the spinner is asleep in each of %d looks", MANY);
    return (struct qh_task){ 0 };
}

/* The spinner has no registers, but its thread-local variables are found. */
static void test_runner(void **state)
{
    struct qh_target *target = open_running(child.pid);
    struct qh_task seen = spinner_awake(target);

    qh_target_destroy(target);
    target = open_live(child.pid);
    struct qh_task stopped = task_now(target, child.facts.tids[SPINNER]);
    qh_target_destroy(target);
    assert_int_equal(seen.regs.known, 0);
    assert_int_equal(seen.orig_rax, -1);
    assert_int_equal(seen.fs_base, stopped.fs_base);
}

/* One that has run in between looks asleep at both ends. */
static void test_who_ran_meanwhile(void **state)
{
    struct qh_target *target = open_running(child.pid);

    assert_fine(qh_target_stop(target));
    assert_int_equal(task_of(target, child.pid)->stop, QH_TASK_STOPPED);
    child_order(&child, 'p'); /* read by the main thread, and answered */
    child_poked(&child);
    await_state(child.pid, child.pid, 'S');
    qh_target_resume(target);
    assert_int_equal(task_of(target, child.pid)->stop, QH_TASK_RUNNING);
    assert_int_equal(task_of(target, child.pid)->regs.known, 0);
    assert_int_equal(task_of(target, child.facts.tids[WAITER])->stop,
                     QH_TASK_STOPPED);
    qh_target_destroy(target);
}

static void read_at(struct qh_target *target, uint64_t address)
{
    uint64_t value;

    assert_fine(qh_target_read(target, qh_raddr(address), &value, 8));
}

/* A group stop, by the child's parent, is what makes sure that nothing moves.
 */
static void test_changed_pages(void **state)
{
    struct qh_target *target = open_running(child.pid);
    size_t still, pages;
    int status;

    assert_int_equal(kill(child.pid, SIGSTOP), 0);
    assert_int_equal(waitpid(child.pid, &status, WUNTRACED), child.pid);
    await_state(child.pid, child.facts.tids[SPINNER], 'T');
    assert_fine(qh_target_stop(target));
    read_at(target, child.facts.pattern);
    read_at(target, child.facts.pattern + PAGE_BYTES);
    qh_target_resume(target);
    assert_int_equal(qh_target_changed_pages(target, &still), 0);
    assert_true(still >= 2);

    assert_int_equal(kill(child.pid, SIGCONT), 0);
    assert_fine(qh_target_stop(target));
    read_at(target, child.facts.pattern);
    read_at(target, child.facts.counter);
    uint64_t before = child_peek(child.pid, child.facts.counter);
    await_change(child.pid, child.facts.counter, before);
    qh_target_resume(target);
    assert_true(qh_target_changed_pages(target, &pages) >= 1);
    assert_int_equal(pages, still);
    qh_target_destroy(target);
}

/* The child is a child of this process: a stop of it would show here. */
static void test_nothing_is_stopped(void **state)
{
    struct qh_target *target = open_running(child.pid);
    int status;

    for (unsigned round = 0; round < 50; round++) {
        assert_fine(qh_target_stop(target));
        for (unsigned i = 0; i < CHILD_THREADS; i++) {
            pid_t tid = child.facts.tids[i];
            char now = thread_state(child.pid, tid);
            assert_int_equal(thread_tracer(child.pid, tid), 0);
            assert_true(now == 'S' || now == 'R');
        }
        uint64_t before = child_peek(child.pid, child.facts.counter);
        await_change(child.pid, child.facts.counter, before);
        qh_target_resume(target);
    }
    assert_int_equal(qh_target_pause_ns(target), 0);
    assert_int_equal(waitpid(child.pid, &status, WNOHANG | WUNTRACED), 0);
    qh_target_destroy(target);
}

/* First a look, then a stop, of the same target. */
static void test_both_ways(void **state)
{
    struct qh_target *target = open_live(child.pid);
    pid_t tid = child.facts.tids[SPINNER];

    qh_target_leave_running(target, true);
    spinner_awake(target);
    qh_target_leave_running(target, false);
    struct qh_task task = task_now(target, tid);
    assert_int_equal(task.stop, QH_TASK_STOPPED);
    assert_false(task.unstopped);
    assert_true(qh_target_pause_ns(target) > 0);
    qh_target_destroy(target);
}

/* State D, which no stop gets hold of, shows where it is, too. */
static void test_state_d(void **state)
{
    struct child forker = child_start(NULL, "vfork", NULL);
    struct qh_target *target = open_running(forker.pid);
    pid_t tid = forker.facts.tids[WAITER];

    await_state(forker.pid, tid, 'D');
    struct qh_task task = task_now(target, tid);
    assert_int_equal(task.stop, QH_TASK_STOPPED);
    assert_int_equal(task.state, 'D');
    assert_int_equal(task.orig_rax, 58); /* vfork */
    assert_true(task.regs.known >> QH_REG_RSP & 1);
    assert_int_not_equal(task.fs_base, 0);
    child_order(&forker, 'r');
    await_state(forker.pid, tid, 'S');
    qh_target_destroy(target);
    child_end(&forker);
}

static void test_exits_meanwhile(void **state)
{
    struct qh_target *target = open_running(child.pid);
    int status;

    assert_fine(qh_target_stop(target));
    assert_int_equal(kill(child.pid, SIGKILL), 0);
    assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
    qh_target_resume(target);
    assert_code(qh_target_stop(target), QH_ERR_EXITED);
    qh_target_destroy(target);
}

int main(void)
{
#define WITH_CHILD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_CHILD(test_sleepers),           WITH_CHILD(test_runner),
        WITH_CHILD(test_who_ran_meanwhile),  WITH_CHILD(test_changed_pages),
        WITH_CHILD(test_nothing_is_stopped), WITH_CHILD(test_both_ways),
        WITH_CHILD(test_exits_meanwhile),    cmocka_unit_test(test_state_d),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
