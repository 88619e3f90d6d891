/* Checked programs: wakers against a sleeper and its timer.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "atomics.h"
#include "check/programs.h"
#include "check/runtime.h"
#include "co_sleep.h"

/* After the sources' own header, whose names this prefixes. */
#include "check/subject.h"

/*
 * All are variations of the cache cleaner: a coroutine that sleeps until told
 * to stop, in a thread with a loop, and others that tell it.  What is told is
 * stored and loaded relaxed: that it is seen must be the primitive's doing.
 */
#define LONG_NS INT64_C(600000000000)

static const struct sleep_subject *subject;
static struct QemuCoSleep sleeps[2];
static struct QemuCoSleep *w;
static int told[2];
static unsigned parked;
static unsigned done[2];

static void begin(const void *which)
{
    subject = which;
    w = &sleeps[0];
    check_name(QEMU_CO_SLEEP_PENDING, "PENDING");
}

static void tell(int which, int what)
{
    cfix_store_relaxed(&told[which], what);
    subject->wake(w);
}

/* --- wake: one sleep without a timer, one wake --- */

static void sleeps_once(void *arg)
{
    subject->sleep(w);
    check_claim(cfix_load_relaxed(&told[0]),
                "the sleeper sees what was done before the wake");
}

static void tells(void *arg)
{
    tell(0, 1);
}

static void setup_wake(const void *which)
{
    begin(which);
    check_coroutine(check_home("sleeper", NULL, 1), "sleeper", sleeps_once,
                    NULL);
    check_thread("waker", tells, NULL);
}

static void end_unarmed(const void *which)
{
    check_claim(!w->to_wake, "to_wake is NULL when all is over");
}

/* --- wake-timer, split-wake: the same with a timer --- */

static void sleeps_until_told(void *arg)
{
    while (!cfix_load_relaxed(&told[0])) {
        subject->sleep_ns(w, LONG_NS);
    }
}

static void setup_wake_timer(const void *which)
{
    begin(which);
    check_coroutine(check_home("sleeper", NULL, 1), "sleeper",
                    sleeps_until_told, NULL);
    check_thread("waker", tells, NULL);
}

/* --- timer: nobody wakes --- */

static void sleeps_for_a_time(void *arg)
{
    subject->sleep_ns(w, LONG_NS);
    subject->sleep_ns(w, LONG_NS);
}

static void setup_timer(const void *which)
{
    begin(which);
    check_coroutine(check_home("sleeper", NULL, 1), "sleeper",
                    sleeps_for_a_time, NULL);
}

/* --- two-wakers --- */

static void sleeps_until_told_twice(void *arg)
{
    while (!cfix_load_relaxed(&told[0]) || !cfix_load_relaxed(&told[1])) {
        subject->sleep_ns(w, LONG_NS);
    }
}

static void tells_too(void *arg)
{
    tell(1, 1);
}

static void setup_two_wakers(const void *which)
{
    begin(which);
    check_timer_budget(1);
    check_coroutine(check_home("sleeper", NULL, 1), "sleeper",
                    sleeps_until_told_twice, NULL);
    check_thread("waker", tells, NULL);
    check_thread("second waker", tells_too, NULL);
}

/* --- rearm: two rounds on one QemuCoSleep --- */

static void sleeps_for_two_rounds(void *arg)
{
    for (int round = 1; round <= 2; round++) {
        while (cfix_load_relaxed(&told[0]) < round) {
            subject->sleep_ns(w, LONG_NS);
        }
        cfix_store(&done[round - 1], 1u);
    }
}

static void tells_for_two_rounds(void *arg)
{
    for (int round = 1; round <= 2; round++) {
        tell(0, round);
        check_await(&done[round - 1]);
    }
}

static void setup_rearm(const void *which)
{
    begin(which);
    check_coroutine(check_home("sleeper", NULL, 1), "sleeper",
                    sleeps_for_two_rounds, NULL);
    check_thread("waker", tells_for_two_rounds, NULL);
}

/* --- teardown: told to stop, waited for, given up; and once more --- */

static void sleeps_until_stopped(void *arg)
{
    int round = *(const int *)arg;
    struct QemuCoSleep *mine = &sleeps[round];

    while (!cfix_load_relaxed(&told[round])) {
        subject->sleep_ns(mine, LONG_NS);
    }
    /* The wake may still be at work, but must not touch this any more once it
     * has scheduled the sleeper; what it does not schedule, it has left. */
    cfix_store(&done[round], 1u);
}

static void stops_two_in_turn(void *arg)
{
    static const int rounds[2] = { 0, 1 };
    struct AioContext *home = arg;

    for (int round = 0; round < 2; round++) {
        if (round > 0) {
            check_coroutine(home, "next sleeper", sleeps_until_stopped,
                            (void *)&rounds[round]);
        }
        w = &sleeps[round];
        tell(round, 1);
        check_await(&done[round]);
        check_forget(w, sizeof(*w));
    }
}

static void setup_teardown(const void *which)
{
    static const int first = 0;
    struct AioContext *home;

    begin(which);
    check_timer_budget(1);
    home = check_home("sleeper", NULL, 2);
    check_coroutine(home, "sleeper", sleeps_until_stopped, (void *)&first);
    check_thread("waker", stops_two_in_turn, home);
}

/* --- handover: nobody touches w once the sleeper is scheduled --- */

static void sleeps_once_and_gives_up(void *arg)
{
    subject->sleep_ns(w, LONG_NS);
    if (!check_entered_by_timer()) {
        /* The one wake that there is has ended this sleep, parked or not. */
        check_forget(w, sizeof(*w));
    }
}

static void setup_handover(const void *which)
{
    begin(which);
    check_timer_budget(0);
    check_coroutine(check_home("sleeper", NULL, 1), "sleeper",
                    sleeps_once_and_gives_up, NULL);
    check_thread("waker", tells, NULL);
}

/* --- late-timer: it leaves nothing for the next sleep --- */

static void sleeps_once_with_timer(void *arg)
{
    subject->sleep_ns(w, LONG_NS);
    if (check_entered_by_timer()) {
        cfix_store(&done[0], 1u);
    }
}

static void setup_late_timer(const void *which)
{
    begin(which);
    check_coroutine(check_home("sleeper", NULL, 1), "sleeper",
                    sleeps_once_with_timer, NULL);
    check_thread("waker", tells, NULL);
}

static void end_late_timer(const void *which)
{
    check_claim(done[0] || !w->to_wake,
                "a wake that ended a sleep is not left for the next one");
}

/* --- upgrade: the sleeper was parked by older code --- */

static void was_parked_by_older_code(void *arg)
{
    struct Coroutine *co = qemu_coroutine_self();

    co->scheduled = "qemu_co_sleep_ns";
    w->to_wake = co;
    cfix_store(&parked, 1u);
    qemu_coroutine_yield();
    check_claim(!cfix_load(&w->to_wake),
                "a parked sleeper is handed over with to_wake == NULL");
}

static void upgrades_and_tells(void *arg)
{
    check_await(&parked);
    tell(0, 1);
}

static void setup_upgrade(const void *which)
{
    begin(which);
    check_coroutine(check_home("sleeper", NULL, 1), "sleeper",
                    was_parked_by_older_code, NULL);
    check_thread("waker", upgrades_and_tells, NULL);
}

const struct sleep_program sleep_programs[] = {
    { { "wake", "one sleep without a timer, one wake", setup_wake, end_unarmed,
        true },
      { CHECK_NONE, CHECK_DEADLOCK, CHECK_DEADLOCK, CHECK_NONE, CHECK_NONE } },
    { { "wake-timer", "a wake must not need the timer's help", setup_wake_timer,
        NULL, true },
      { CHECK_NONE, CHECK_HEALS_BY_TIMER, CHECK_HEALS_BY_TIMER, CHECK_NONE,
        CHECK_NONE } },
    { { "split-wake", "with the timer's help at least, the sleeper goes on",
        setup_wake_timer, NULL, false },
      { CHECK_NONE, CHECK_DEADLOCK, CHECK_NONE, CHECK_NONE, CHECK_NONE } },
    { { "timer", "two sleeps that their timers end", setup_timer, end_unarmed,
        false },
      { CHECK_NONE, CHECK_NONE, CHECK_NONE, CHECK_NONE, CHECK_NONE } },
    { { "two-wakers", "waker, second waker, sleeper and timer",
        setup_two_wakers, NULL, true },
      { CHECK_NONE, CHECK_HEALS_BY_TIMER, CHECK_HEALS_BY_TIMER, CHECK_NONE,
        CHECK_NONE } },
    { { "rearm", "two rounds of sleep and wake on one QemuCoSleep", setup_rearm,
        NULL, true },
      { CHECK_NONE, CHECK_HEALS_BY_TIMER, CHECK_HEALS_BY_TIMER, CHECK_NONE,
        CHECK_NONE } },
    { { "teardown", "two sleepers in turn, stopped and given up",
        setup_teardown, NULL, true },
      { CHECK_NONE, CHECK_HEALS_BY_TIMER, CHECK_HEALS_BY_TIMER, CHECK_NONE,
        CHECK_NONE } },
    { { "handover", "a sleeper that was woken may free its QemuCoSleep",
        setup_handover, NULL, true },
      { CHECK_NONE, CHECK_HEALS_BY_TIMER, CHECK_HEALS_BY_TIMER, CHECK_NONE,
        CHECK_NONE } },
    { { "late-timer", "a timer that expires late leaves nothing behind",
        setup_late_timer, end_late_timer, false },
      { CHECK_NONE, CHECK_ABORT, CHECK_NONE, CHECK_NONE, CHECK_NONE } },
    { { "upgrade", "a sleeper parked by the faulty code survives the wake",
        setup_upgrade, NULL, false },
      { CHECK_NONE, CHECK_NONE, CHECK_NONE, CHECK_CLAIM, CHECK_NONE } },
    { { NULL } },
};
