/* How a process came to its end, before and after it was waited for.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target_help.h"

#include "target/live.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* A process that runs until its input ends; the other end is `*ret_pipe`. */
static pid_t start(int *ret_pipe, int status)
{
    int pipes[2];
    char byte;

    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        close(pipes[1]);
        _exit(read(pipes[0], &byte, 1) == 0 ? status : 99);
    }
    close(pipes[0]);
    *ret_pipe = pipes[1];
    return pid;
}

/* Until it has ended; it stays to be waited for. */
static void await_end(pid_t pid)
{
    siginfo_t info;

    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static void assert_ending(const struct qh_target *target, int how, int number)
{
    const struct qh_ending ending = qh_target_ending(target);

    assert_int_equal(ending.how, how);
    assert_int_equal(ending.number, number);
}

/* By then only a kernel of 6.15 or later knows; none tells anything wrong. */
static void assert_ending_if_told(const struct qh_target *target, int how,
                                  int number)
{
    if (qh_target_ending(target).how == QH_ENDING_UNKNOWN) {
        print_message("the kernel does not tell of one that is gone\n");
        return;
    }
    assert_ending(target, how, number);
}

static void test_exited(void **state)
{
    int order;
    pid_t pid = start(&order, 7);
    QH_CLEANUP(qh_target_guard) struct qh_target *target = open_live(pid);

    assert_true(qh_live_open_pidfd(target->live));
    close(order);
    assert_ending(target, QH_ENDING_EXITED, 7);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_ending_if_told(target, QH_ENDING_EXITED, 7);
}

static void test_killed(void **state)
{
    int order;
    pid_t pid = start(&order, 7);
    QH_CLEANUP(qh_target_guard) struct qh_target *target = open_live(pid);

    assert_true(qh_live_open_pidfd(target->live));
    assert_int_equal(kill(pid, SIGKILL), 0);
    await_end(pid);
    assert_ending(target, QH_ENDING_KILLED, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_ending_if_told(target, QH_ENDING_KILLED, SIGKILL);
    close(order);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exited),
        cmocka_unit_test(test_killed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
