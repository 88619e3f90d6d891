/* The pulse of a main loop: what is suspicious, and what is not.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "watch/pulse.h"

#define S INT64_C(1000000000)
#define AFTER (5 * S)
#define HOME 0x7000
#define DEEPER 0x6000

static struct qh_reading at(uint64_t sp, uint64_t switches)
{
    return (struct qh_reading){ .state = 'S',
                                .switches = switches,
                                .call = 271,
                                .sp = sp,
                                .pc = 0x1234,
                                .permitted = true };
}

/* Readings once a second for so long; gives the suspicion at the end. */
static enum qh_suspicion feed(struct qh_pulse *pulse, int64_t from_s,
                              int64_t seconds, struct qh_reading reading,
                              uint64_t switches_each)
{
    int64_t now = from_s * S;

    for (int64_t i = 0; i <= seconds; i++) {
        now = (from_s + i) * S;
        qh_pulse_feed(pulse, &reading, now);
        reading.switches += switches_each;
    }
    return qh_pulse_suspicion(pulse, now, AFTER);
}

static void test_idle_at_home(void **state)
{
    struct qh_pulse pulse = { .home_sp = HOME };

    assert_int_equal(feed(&pulse, 0, 4, at(HOME, 1), 0), QH_SUSPICION_NONE);
    assert_int_equal(feed(&pulse, 5, 1, at(HOME, 1), 0), QH_SUSPICION_IDLE);
    assert_int_equal(qh_pulse_stalled_ns(&pulse, 6 * S), 0);
    assert_true(qh_pulse_is_home(&pulse));
}

static void test_turns_at_home(void **state)
{
    struct qh_pulse pulse = { .home_sp = HOME };

    assert_int_equal(feed(&pulse, 0, 60, at(HOME, 1), 3), QH_SUSPICION_NONE);
}

static void test_stands_still_elsewhere(void **state)
{
    struct qh_pulse pulse = { .home_sp = HOME };

    feed(&pulse, 0, 9, at(HOME, 1), 0);
    assert_int_equal(feed(&pulse, 10, 4, at(DEEPER, 2), 0), QH_SUSPICION_NONE);
    assert_int_equal(feed(&pulse, 15, 0, at(DEEPER, 2), 0),
                     QH_SUSPICION_STALLED);
    assert_int_equal(qh_pulse_stalled_ns(&pulse, 15 * S), 5 * S);
}

static void test_turns_elsewhere(void **state)
{
    struct qh_pulse pulse = { .home_sp = HOME };

    assert_int_equal(feed(&pulse, 0, 5, at(DEEPER, 1), 2), QH_SUSPICION_TURNS);
}

/* Until a look has told, an idle loop cannot be told from a stuck one. */
static void test_home_not_known(void **state)
{
    struct qh_pulse pulse = { .home_sp = 0 };

    assert_int_equal(feed(&pulse, 0, 5, at(HOME, 1), 0), QH_SUSPICION_STALLED);
    assert_false(qh_pulse_is_home(&pulse));
}

static void test_runs(void **state)
{
    struct qh_pulse pulse = { .home_sp = HOME };
    struct qh_reading running = at(0, 1);

    running.state = 'R';
    running.call = -1;
    assert_int_equal(feed(&pulse, 0, 60, running, 0), QH_SUSPICION_NONE);
    assert_int_equal(qh_pulse_stalled_ns(&pulse, 60 * S), 0);
}

/* A debugger, or SIGSTOP. */
static void test_stopped(void **state)
{
    struct qh_pulse pulse = { .home_sp = HOME };
    struct qh_reading stopped = at(DEEPER, 1);

    stopped.state = 't';
    assert_int_equal(feed(&pulse, 0, 60, stopped, 0), QH_SUSPICION_NONE);
}

/* A diagnosis stops it: the call is another by its number, and it has been
 * woken, but it is where it was. */
static void test_after_a_stop(void **state)
{
    struct qh_pulse pulse = { .home_sp = HOME };
    struct qh_reading restarted = at(DEEPER, 3);

    feed(&pulse, 0, 5, at(DEEPER, 1), 0);
    restarted.call = 219;
    qh_pulse_feed(&pulse, &restarted, 6 * S);
    assert_int_equal(qh_pulse_stalled_ns(&pulse, 6 * S), 6 * S);
    assert_int_equal(qh_pulse_suspicion(&pulse, 6 * S, AFTER),
                     QH_SUSPICION_TURNS);
}

/* Where the kernel does not show it, only one that has not moved is where it
 * was. */
static void test_place_not_shown(void **state)
{
    struct qh_pulse pulse = { .home_sp = HOME };

    assert_int_equal(feed(&pulse, 0, 60, at(0, 1), 1), QH_SUSPICION_NONE);
    assert_int_equal(feed(&pulse, 61, 6, at(0, 99), 0), QH_SUSPICION_STALLED);
}

/* Learning it: a main thread with that stack, innermost first. */
static uint64_t learn(const char *const functions[], size_t count,
                      struct raddr polls)
{
    struct qh_pulse pulse = { .home_sp = 0 };
    struct qh_frame frames[8] = { 0 };
    struct qh_thread thread = { .tid = 1,
                                .state = QH_THREAD_BLOCKED,
                                .polls = polls,
                                .stack = { frames, count, NULL } };
    const struct qh_snapshot snapshot = { .pid = 1,
                                          .threads = &thread,
                                          .thread_count = 1 };

    for (size_t i = 0; i < count; i++) {
        frames[i].function = functions[i];
        frames[i].sp = qh_raddr(HOME + i);
    }
    qh_pulse_learn(&pulse, &snapshot);
    return pulse.home_sp;
}

#define LEARN(...)                                                             \
    learn((const char *const[]){ __VA_ARGS__ },                                \
          QH_COUNT(((const char *const[]){ __VA_ARGS__ })), qh_raddr(0))

static void test_learns_home(void **state)
{
    assert_int_equal(LEARN("ppoll", "qemu_poll_ns", "os_host_main_loop_wait",
                           "main_loop_wait", "main"),
                     HOME);
    assert_int_equal(LEARN("ppoll", "qemu_poll_ns", "main_loop_wait", "main"),
                     HOME);
    assert_int_equal(LEARN("ppoll", "main_loop_wait", "main"), HOME);
}

static void test_learns_nothing_else(void **state)
{
    assert_int_equal(LEARN("ppoll", "main"), 0);
    assert_int_equal(LEARN("main_loop_wait", "main"), 0);
    assert_int_equal(LEARN("ppoll", "qemu_poll_ns", "fdmon_poll_wait",
                           "aio_poll", "main_loop_wait", "main"),
                     0);
    assert_int_equal(LEARN("futex", "qemu_mutex_lock_impl", "aio_bh_call",
                           "os_host_main_loop_wait", "main_loop_wait"),
                     0);
    assert_int_equal(learn((const char *const[]){ "ppoll", "qemu_poll_ns",
                                                  "main_loop_wait" },
                           3, qh_raddr(1)),
                     0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle_at_home),
        cmocka_unit_test(test_turns_at_home),
        cmocka_unit_test(test_stands_still_elsewhere),
        cmocka_unit_test(test_turns_elsewhere),
        cmocka_unit_test(test_home_not_known),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_after_a_stop),
        cmocka_unit_test(test_place_not_shown),
        cmocka_unit_test(test_learns_home),
        cmocka_unit_test(test_learns_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
