/* Unit tests: timers run when due, in order, once.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime_testing.h"

static struct journal journal;
static int64_t hour_ns = 3600 * INT64_C(1000000000);

static struct QEMUTimerList *realtime(void)
{
    return qemu_get_aio_context()->tlg.tl[QEMU_CLOCK_REALTIME];
}

static void notes(void *opaque)
{
    note(&journal, *(const char *)opaque);
}

/* How many timers are armed, each not before the one in front of it. */
static int count_sorted(void)
{
    const struct QEMUTimer *ts = realtime()->active_timers;
    int count = 0;

    for (; ts; ts = ts->next) {
        if (ts->next && ts->next->expire_time < ts->expire_time) {
            return -1;
        }
        count++;
    }
    return count;
}

static void the_list_is_sorted_whatever_the_order_of_arming(void **state)
{
    static const int order[] = { 3, 1, 4, 0, 2, 5, 2 };
    enum { N = sizeof(order) / sizeof(order[0]) };
    struct QEMUTimer ts[N];

    for (int i = 0; i < N; i++) {
        timer_init(&ts[i], realtime(), notes, NULL);
        timer_mod_ns(&ts[i], hour_ns + order[i]);
        assert_int_equal(count_sorted(), i + 1);
    }
    /* Equal times: the one armed first stays in front. */
    assert_ptr_equal(ts[4].next, &ts[6]);
    timer_mod_ns(&ts[3], hour_ns + 9);
    assert_int_equal(count_sorted(), N);
    assert_ptr_equal(realtime()->active_timers, &ts[1]);
    for (int i = 0; i < N; i++) {
        timer_del(&ts[i]);
        assert_int_equal(ts[i].expire_time, -1);
        assert_int_equal(count_sorted(), N - 1 - i);
    }
}

static void due_ones_run_in_order_and_once(void **state)
{
    char names[] = "abc";
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    struct QEMUTimer ts[3];

    journal = (struct journal){ 0 };
    for (int i = 0; i < 3; i++) {
        timer_init(&ts[i], realtime(), notes, &names[i]);
    }
    timer_mod_ns(&ts[1], now - 1);
    timer_mod_ns(&ts[2], now + hour_ns);
    timer_mod_ns(&ts[0], now - 2);
    assert_int_equal(aio_compute_timeout(qemu_get_aio_context()), 0);
    assert_true(timerlist_run_timers(realtime()));
    assert_string_equal(journal.text, "ab");
    assert_false(timer_pending(&ts[0]));
    assert_true(timer_pending(&ts[2]));
    assert_false(timerlist_run_timers(realtime()));
    timer_del(&ts[2]);
}

static void the_deadline_is_that_of_the_first(void **state)
{
    struct QEMUTimer ts;
    int64_t before;
    int64_t left;

    assert_int_equal(aio_compute_timeout(qemu_get_aio_context()), -1);
    timer_init(&ts, realtime(), notes, NULL);
    before = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    timer_mod_ns(&ts, before + hour_ns);
    left = aio_compute_timeout(qemu_get_aio_context());
    assert_true(left <= hour_ns);
    assert_true(left >=
                before + hour_ns - qemu_clock_get_ns(QEMU_CLOCK_REALTIME));
    timer_del(&ts);
}

static void a_disabled_clock_s_timers_never_run(void **state)
{
    struct AioContext *ctx = qemu_get_aio_context();
    struct QEMUTimer ts;

    journal = (struct journal){ 0 };
    timer_init(&ts, ctx->tlg.tl[QEMU_CLOCK_VIRTUAL], notes, NULL);
    timer_mod_ns(&ts, 0);
    assert_int_equal(aio_compute_timeout(ctx), -1);
    assert_false(timerlistgroup_run_timers(&ctx->tlg));
    assert_string_equal(journal.text, "");
    timer_del(&ts);
}

static void sets_flag(void *opaque)
{
    cfix_store((bool *)opaque, true);
    aio_wait_kick();
}

/* The loop sleeps without limit, then another thread arms a timer for it. */
static void arming_from_another_thread_wakes_the_loop(void **state)
{
    struct IOThread *io = iothread_create("t");
    struct QEMUTimer ts;
    bool fired = false;

    timer_init(&ts, io->ctx->tlg.tl[QEMU_CLOCK_REALTIME], sets_flag, &fired);
    timer_mod_ns(&ts, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + 1000000);
    AIO_WAIT_WHILE(!cfix_load(&fired));
    assert_false(timer_pending(&ts));
    iothread_destroy(io);
}

static void the_sooner_of_two_timeouts(void **state)
{
    assert_int_equal(qemu_soonest_timeout(-1, -1), -1);
    assert_int_equal(qemu_soonest_timeout(-1, 5), 5);
    assert_int_equal(qemu_soonest_timeout(5, -1), 5);
    assert_int_equal(qemu_soonest_timeout(3, 5), 3);
    assert_int_equal(qemu_soonest_timeout(5, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_main_loop(the_list_is_sorted_whatever_the_order_of_arming),
        with_main_loop(due_ones_run_in_order_and_once),
        with_main_loop(the_deadline_is_that_of_the_first),
        with_main_loop(a_disabled_clock_s_timers_never_run),
        with_main_loop(arming_from_another_thread_wakes_the_loop),
        cmocka_unit_test(the_sooner_of_two_timeouts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
