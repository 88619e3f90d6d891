/* Stopping a process: everything stands, and goes on as if nothing had been.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target_help.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct child child;

static int setup(void **state)
{
    child = child_start(NULL, "threads", NULL);
    return 0;
}

static int teardown(void **state)
{
    child_end(&child);
    return 0;
}

/* The threads that sleep are asleep: only then has a stop something to spoil.
 */
static void await_rest(void)
{
    await_state(child.pid, child.facts.tids[POLLER], 'S');
    await_state(child.pid, child.facts.tids[WAITER], 'S');
    await_state(child.pid, child.facts.tids[SLEEPER], 'S');
    await_state(child.pid, child.pid, 'S');
}

static void test_all_stand_then_go_on(void **state)
{
    struct qh_target *target = open_live(child.pid);
    size_t count = 0;

    await_rest();
    assert_fine(qh_target_stop(target));
    const struct qh_task *tasks = qh_target_tasks(target, &count);
    assert_int_equal(count, 1 + CHILD_THREADS);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(tasks[i].stop, QH_TASK_STOPPED);
        assert_true(tasks[i].regs.known >> QH_REG_RIP & 1);
        assert_int_not_equal(tasks[i].fs_base, 0);
        assert_non_null(qh_target_mapping_at(
            target, qh_raddr(tasks[i].regs.dwarf[QH_REG_RSP])));
        assert_true(i == 0 || tasks[i].tid > tasks[i - 1].tid);
        assert_int_equal(thread_state(child.pid, tasks[i].tid), 't');
    }
    /* The spinner has CPUs enough to count, and does not. */
    uint64_t before = child_number(target, child.facts.counter);
    usleep(20000);
    assert_int_equal(child_number(target, child.facts.counter), before);
    qh_target_resume(target);
    await_change(child.pid, child.facts.counter, before);
    await_rest();
    assert_true(qh_target_pause_ns(target) >= 20000000);
    qh_target_destroy(target);
    child_order(&child, 'p');
    assert_int_equal(child_poked(&child), 0);
}

static void test_names_and_waits(void **state)
{
    struct qh_target *target = open_live(child.pid);

    await_rest();
    assert_fine(qh_target_stop(target));
    const struct qh_task *poller = task_of(target, child.facts.tids[POLLER]);
    assert_non_null(poller);
    assert_string_equal(poller->name, "po) ller");
    assert_int_equal(poller->state, 'S');
    assert_int_equal(poller->orig_rax, 271); /* ppoll */
    assert_string_equal(qh_target_process(target)->name, "target_child");
    qh_target_destroy(target);
}

static void test_destroying_resumes(void **state)
{
    struct qh_target *target = open_live(child.pid);

    assert_fine(qh_target_stop(target));
    uint64_t before = child_number(target, child.facts.counter);
    qh_target_destroy(target);
    await_change(child.pid, child.facts.counter, before);
    assert_int_equal(thread_tracer(child.pid, child.pid), 0);
}

static void test_group_stop_stays(void **state)
{
    struct qh_target *target = open_live(child.pid);
    int status = 0;

    assert_int_equal(kill(child.pid, SIGSTOP), 0);
    assert_int_equal(waitpid(child.pid, &status, WUNTRACED), child.pid);
    assert_true(WIFSTOPPED(status));
    uint64_t before = child_number(target, child.facts.counter);
    for (unsigned round = 0; round < 20; round++) {
        assert_fine(qh_target_stop(target));
        const struct qh_task *task = task_of(target, child.facts.tids[SPINNER]);
        assert_int_equal(task->stop, QH_TASK_STOPPED);
        assert_int_equal(task->state, 'T');
        qh_target_resume(target);
        await_state(child.pid, child.pid, 'T');
        for (unsigned i = 0; i < CHILD_THREADS; i++) {
            await_state(child.pid, child.facts.tids[i], 'T');
        }
    }
    usleep(20000);
    assert_int_equal(child_peek(child.pid, child.facts.counter), before);
    qh_target_destroy(target);
    assert_int_equal(kill(child.pid, SIGCONT), 0);
    await_change(child.pid, child.facts.counter, before);
}

static void test_a_signal_in_the_stop_comes_once(void **state)
{
    struct qh_target *target = open_live(child.pid);

    assert_fine(qh_target_stop(target));
    assert_int_equal(kill(child.pid, SIGUSR1), 0);
    usleep(5000);
    assert_int_equal(child_number(target, child.facts.signals), 0);
    qh_target_resume(target);
    await_change(child.pid, child.facts.signals, 0);
    assert_fine(qh_target_stop(target));
    qh_target_resume(target);
    assert_int_equal(child_peek(child.pid, child.facts.signals), 1);
    qh_target_destroy(target);
}

static void send_signals(unsigned count)
{
    for (unsigned i = 0; i < count;) {
        if (sigqueue(child.pid, SIGRTMIN, (union sigval){ 0 }) == 0) {
            i++;
        } else if (errno != EAGAIN) {
            _exit(1);
        }
    }
    _exit(0);
}

static void await_signals(uint64_t count)
{
    for (unsigned i = 0; i < 20000; i++) {
        if (child_peek(child.pid, child.facts.signals + 8) == count) {
            break;
        }
        usleep(1000);
    }
    assert_int_equal(child_peek(child.pid, child.facts.signals + 8), count);
}

/* Real-time signals queue: one lost or doubled shows in the sum. Some threads
 * stop because one is being delivered, not because they were asked to. */
static void test_no_signal_is_lost(void **state)
{
    enum { SIGNALS = 20000 };
    struct qh_target *target = open_live(child.pid);
    unsigned stops = 0;
    pid_t sender = fork();

    if (sender == 0) {
        send_signals(SIGNALS);
    }
    while (waitpid(sender, NULL, WNOHANG) == 0) {
        assert_fine(qh_target_stop(target));
        qh_target_resume(target);
        stops++;
    }
    assert_true(stops > 3);
    await_signals(SIGNALS);
    qh_target_destroy(target);
}

/* A tracer that is killed in the middle of anything. */
static void stop_for_ever(void)
{
    struct qh_target *target = NULL;

    if (qh_target_open_live(child.pid, NULL, &target)) {
        _exit(1);
    }
    for (;;) {
        if (qh_target_stop(target)) {
            _exit(2);
        }
        qh_target_resume(target);
    }
}

static void kill_after(unsigned us)
{
    int status = 0;
    pid_t stopper = fork();

    if (stopper == 0) {
        stop_for_ever();
    }
    usleep(us);
    kill(stopper, SIGKILL);
    assert_int_equal(waitpid(stopper, &status, 0), stopper);
    assert_true(WIFSIGNALED(status)); /* it did not fail by itself */
}

static void test_killed_at_any_instant(void **state)
{
    enum { ROUNDS = 30, SIGNALS = 20000 };
    pid_t sender = fork();

    if (sender == 0) {
        send_signals(SIGNALS);
    }
    srandom(7);
    for (unsigned round = 0; round < ROUNDS; round++) {
        kill_after(2000 + (unsigned)(random() % 20000));
        uint64_t before = child_peek(child.pid, child.facts.counter);
        await_change(child.pid, child.facts.counter, before);
        assert_int_equal(thread_tracer(child.pid, child.facts.tids[POLLER]), 0);
    }
    assert_int_equal(waitpid(sender, NULL, 0), sender);
    await_signals(SIGNALS);
    await_rest();
    child_order(&child, 'p');
    child_poked(&child);
}

static void test_killed_while_group_stopped(void **state)
{
    assert_int_equal(kill(child.pid, SIGSTOP), 0);
    assert_int_equal(waitpid(child.pid, NULL, WUNTRACED), child.pid);
    uint64_t before = child_peek(child.pid, child.facts.counter);
    srandom(11);
    for (unsigned round = 0; round < 10; round++) {
        kill_after(2000 + (unsigned)(random() % 20000));
        await_state(child.pid, child.pid, 'T');
        await_state(child.pid, child.facts.tids[SPINNER], 'T');
    }
    assert_int_equal(child_peek(child.pid, child.facts.counter), before);
    assert_int_equal(kill(child.pid, SIGCONT), 0);
    await_change(child.pid, child.facts.counter, before);
}

static void test_exits_meanwhile(void **state)
{
    struct qh_target *target = open_live(child.pid);
    char byte;

    assert_int_equal(kill(child.pid, SIGKILL), 0);
    assert_int_equal(waitpid(child.pid, NULL, 0), child.pid);
    assert_code(qh_target_stop(target), QH_ERR_EXITED);
    assert_code(qh_target_read(target, qh_raddr(child.facts.counter), &byte, 1),
                QH_ERR_EXITED);
    qh_target_destroy(target);
}

static void test_killed_while_stopped(void **state)
{
    struct qh_target *target = open_live(child.pid);
    int status = 0;

    assert_fine(qh_target_stop(target));
    assert_int_equal(kill(child.pid, SIGKILL), 0);
    qh_target_resume(target);
    qh_target_destroy(target);
    assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
    assert_true(WIFSIGNALED(status));
}

/* With a bound of ten seconds, being waited for would show. */
static const struct qh_live_options patient = { .stop_bound_ns =
                                                    INT64_C(10000000000) };

static void test_state_d_is_not_waited_for(void **state)
{
    struct child forker = child_start(NULL, "vfork", NULL);
    struct qh_target *target = NULL;

    await_state(forker.pid, forker.facts.tids[WAITER], 'D');
    assert_fine(qh_target_open_live(forker.pid, &patient, &target));
    assert_fine(qh_target_stop(target));
    const struct qh_task *task = task_of(target, forker.facts.tids[WAITER]);
    assert_int_equal(task->stop, QH_TASK_IN_KERNEL);
    assert_int_equal(task->state, 'D');
    assert_int_equal(task->orig_rax, 58); /* vfork */
    assert_true(task->regs.known >> QH_REG_RSP & 1);
    assert_false(task->regs.known >> QH_REG_RBX & 1);
    assert_int_equal(task_of(target, forker.facts.tids[SPINNER])->stop,
                     QH_TASK_STOPPED);
    assert_int_equal(thread_tracer(forker.pid, forker.facts.tids[WAITER]), 0);
    qh_target_resume(target);
    assert_true(qh_target_pause_ns(target) < INT64_C(5000000000));
    child_order(&forker, 'r');
    await_state(forker.pid, forker.facts.tids[WAITER], 'S');
    qh_target_destroy(target);
    child_end(&forker);
}

/* Threads that enter state D in the moment between the look and the order to
 * stop. Such a one cannot be detached at once; it is when it comes out, though
 * this process lives on. */
static void test_the_abandoned_are_let_go(void **state)
{
    enum { STOPS = 1000, WANTED = 3 };
    struct child forker = child_start(NULL, "vforks", NULL);
    struct qh_target *target = open_live(forker.pid);
    unsigned seen = 0;

    for (unsigned i = 0; i < STOPS && seen < WANTED; i++) {
        size_t count = 0;
        assert_fine(qh_target_stop(target));
        const struct qh_task *tasks = qh_target_tasks(target, &count);
        qh_target_resume(target);
        for (size_t n = 0; n < count; n++) {
            if (tasks[n].stop == QH_TASK_IN_KERNEL &&
                thread_tracer(forker.pid, tasks[n].tid) > 0) {
                seen++;
                await_untraced(forker.pid, tasks[n].tid);
            }
        }
    }
    print_message("%u threads had to be abandoned\n", seen);
    qh_target_destroy(target);
    child_end(&forker);
    if (!seen) {
        skip();
    }
}

static volatile sig_atomic_t suspensions;

static void count_suspension(int signal)
{
    suspensions++;
}

/* Ctrl-Z in the middle of a stop suspends qhang when the target runs again. */
static void test_suspended_only_after_the_stop(void **state)
{
    struct sigaction count = { .sa_handler = count_suspension }, before;
    struct qh_target *target = open_live(child.pid);

    suspensions = 0;
    assert_int_equal(sigaction(SIGTSTP, &count, &before), 0);
    assert_fine(qh_target_stop(target));
    raise(SIGTSTP);
    assert_int_equal(suspensions, 0);
    qh_target_resume(target);
    assert_int_equal(suspensions, 1);
    raise(SIGTSTP);
    assert_int_equal(suspensions, 2);
    assert_int_equal(sigaction(SIGTSTP, &before, NULL), 0);
    qh_target_destroy(target);
}

/* In the heap and beside it; 0 where a sanitizer has it. */
static size_t memory_in_use(void)
{
    const struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

/* A watch stops or looks at its process for months. */
static void test_no_memory_is_kept(void **state)
{
    enum { TIMES = 200, WARM = 20, MOST_BYTES = 32768 };
    QH_CLEANUP(qh_target_guard) struct qh_target *target = open_live(child.pid);
    size_t before = 0;

    for (int i = 0; i < TIMES; i++) {
        qh_target_leave_running(target, i % 2 != 0);
        assert_fine(qh_target_stop(target));
        qh_target_resume(target);
        if (i == WARM) {
            before = memory_in_use();
        }
    }
    assert_in_range(memory_in_use(), 0, before + MOST_BYTES);
}

int main(void)
{
#define WITH_CHILD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_CHILD(test_all_stand_then_go_on),
        WITH_CHILD(test_names_and_waits),
        WITH_CHILD(test_destroying_resumes),
        WITH_CHILD(test_group_stop_stays),
        WITH_CHILD(test_a_signal_in_the_stop_comes_once),
        WITH_CHILD(test_no_signal_is_lost),
        WITH_CHILD(test_killed_at_any_instant),
        WITH_CHILD(test_killed_while_group_stopped),
        WITH_CHILD(test_exits_meanwhile),
        WITH_CHILD(test_killed_while_stopped),
        WITH_CHILD(test_suspended_only_after_the_stop),
        WITH_CHILD(test_no_memory_is_kept),
        cmocka_unit_test(test_state_d_is_not_waited_for),
        cmocka_unit_test(test_the_abandoned_are_let_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
