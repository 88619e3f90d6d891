/* Unit tests: the wait loop, the fixed sleep and the fixed graph lock.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "co_sleep.h"
#include "graph_lock.h"
#include "runtime_testing.h"

#define ROUNDS 3000
#define HOUR_NS (3600 * INT64_C(1000000000))

static void sets_and_kicks(void *opaque)
{
    cfix_store((bool *)opaque, true);
    aio_wait_kick();
}

static void a_wait_ends_when_kicked_from_another_thread(void **state)
{
    struct IOThread *io = iothread_create("t");

    for (int i = 0; i < ROUNDS; i++) {
        bool done = false;

        aio_bh_schedule_oneshot(io->ctx, "sets_and_kicks", sets_and_kicks,
                                &done);
        AIO_WAIT_WHILE(!cfix_load(&done));
    }
    assert_int_equal(global_aio_wait.num_waiters, 0);
    iothread_destroy(io);
}

static void a_kick_with_nobody_waiting_does_nothing(void **state)
{
    aio_wait_kick();
    assert_false(aio_bh_pending(qemu_get_aio_context()));
}

struct sleeper {
    struct QemuCoSleep w;
    int64_t ns;
    unsigned rounds;
    unsigned slept;
    unsigned done;
};

static void sleeps(void *opaque)
{
    struct sleeper *sleeper = opaque;

    for (unsigned i = 0; i < sleeper->rounds; i++) {
        qemu_co_sleep_ns_wakeable(&sleeper->w, QEMU_CLOCK_REALTIME,
                                  sleeper->ns);
        cfix_fetch_add(&sleeper->slept, 1u);
        aio_wait_kick();
    }
    cfix_store(&sleeper->done, 1u);
    aio_wait_kick();
}

static void a_sleeper_is_parked_as_observers_expect(void **state)
{
    struct sleeper sleeper = { .ns = HOUR_NS, .rounds = 1 };
    struct Coroutine *co = qemu_coroutine_create(sleeps, &sleeper);
    struct QEMUTimer *ts;

    qemu_coroutine_enter(co);
    assert_ptr_equal(sleeper.w.to_wake, co);
    assert_string_equal(co->scheduled, "qemu_co_sleep_ns");
    ts = qemu_get_aio_context()->tlg.tl[QEMU_CLOCK_REALTIME]->active_timers;
    assert_non_null(ts);
    assert_ptr_equal(ts->opaque, &sleeper.w);
    qemu_co_sleep_wake(&sleeper.w);
    assert_int_equal(sleeper.done, 1);
    assert_null(sleeper.w.to_wake);
    assert_null(
        qemu_get_aio_context()->tlg.tl[QEMU_CLOCK_REALTIME]->active_timers);
}

static void a_sleep_ends_with_its_timer(void **state)
{
    struct sleeper sleeper = { .ns = 1000000, .rounds = 3 };
    int64_t begin = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    qemu_coroutine_enter(qemu_coroutine_create(sleeps, &sleeper));
    AIO_WAIT_WHILE(!cfix_load(&sleeper.done));
    assert_true(qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - begin >= 3000000);
}

static void wakes_before_a_sleep_end_it_at_once_and_count_as_one(void **state)
{
    struct sleeper sleeper = { .ns = HOUR_NS, .rounds = 2 };

    qemu_co_sleep_wake(&sleeper.w);
    qemu_co_sleep_wake(&sleeper.w);
    qemu_coroutine_enter(qemu_coroutine_create(sleeps, &sleeper));
    assert_int_equal(sleeper.slept, 1);
    qemu_co_sleep_wake(&sleeper.w);
    assert_int_equal(sleeper.slept, 2);
    assert_int_equal(sleeper.done, 1);
}

static void ends_a_sleep_too_late(void *opaque)
{
    struct sleeper *sleeper = opaque;
    struct QEMUTimer *ts =
        qemu_get_aio_context()->tlg.tl[QEMU_CLOCK_REALTIME]->active_timers;

    /* What the loop would do if the timer were due at this very moment: its
     * sleeper has been taken already. */
    ts->cb(ts->opaque);
    assert_ptr_equal(ts->opaque, &sleeper->w);
}

/* Inside of a coroutine a wake only hands the sleeper over; it runs later. */
static void wakes_and_lets_the_timer_expire(void *opaque)
{
    struct sleeper *sleeper = opaque;

    qemu_co_sleep_wake(&sleeper->w);
    ends_a_sleep_too_late(sleeper);
}

static void a_late_timer_leaves_nothing_for_the_next_sleep(void **state)
{
    struct sleeper sleeper = { .ns = HOUR_NS, .rounds = 2 };

    qemu_coroutine_enter(qemu_coroutine_create(sleeps, &sleeper));
    qemu_coroutine_enter(
        qemu_coroutine_create(wakes_and_lets_the_timer_expire, &sleeper));
    assert_int_equal(sleeper.slept, 1);
    qemu_co_sleep_wake(&sleeper.w);
    assert_int_equal(sleeper.slept, 2);
}

/* The race of the seed, for real: each sleep is an hour, so one lost wake
 * stops the test. */
static void no_wake_from_another_thread_is_lost(void **state)
{
    struct IOThread *io = iothread_create("t");
    struct sleeper sleeper = { .ns = HOUR_NS, .rounds = ROUNDS };

    aio_co_schedule(io->ctx, qemu_coroutine_create(sleeps, &sleeper));
    for (unsigned i = 0; i < ROUNDS; i++) {
        qemu_co_sleep_wake(&sleeper.w);
        AIO_WAIT_WHILE(cfix_load(&sleeper.slept) <= i);
    }
    AIO_WAIT_WHILE(!cfix_load(&sleeper.done));
    iothread_destroy(io);
}

struct graph {
    int value;
    int copy;
    unsigned torn;
    unsigned reads;
    bool stop;
    unsigned left;
};

static void reads_graph(void *opaque)
{
    struct graph *graph = opaque;
    struct QemuCoSleep pause = { NULL };

    while (!cfix_load(&graph->stop)) {
        bdrv_graph_co_rdlock();
        if (graph->value != graph->copy) {
            cfix_fetch_add(&graph->torn, 1u);
        }
        cfix_fetch_add(&graph->reads, 1u);
        bdrv_graph_co_rdunlock();
        qemu_co_sleep_ns_wakeable(&pause, QEMU_CLOCK_REALTIME, 50000);
    }
    cfix_fetch_sub(&graph->left, 1u);
    aio_wait_kick();
}

static void the_graph_lock_keeps_readers_and_writer_apart(void **state)
{
    struct IOThread *io[2] = { iothread_create("0"), iothread_create("1") };
    struct graph graph = { .left = 3 };

    for (int i = 0; i < 3; i++) {
        struct AioContext *home = i < 2 ? io[i]->ctx : qemu_get_aio_context();

        aio_co_schedule(home, qemu_coroutine_create(reads_graph, &graph));
    }
    AIO_WAIT_WHILE(cfix_load(&graph.reads) < 3);
    for (int i = 0; i < 500; i++) {
        bdrv_graph_wrlock();
        graph.value++;
        graph.copy++;
        bdrv_graph_wrunlock();
    }
    cfix_store(&graph.stop, true);
    AIO_WAIT_WHILE(cfix_load(&graph.left) > 0);
    assert_int_equal(bdrv_graph_reader_count(), 0);
    iothread_destroy(io[0]);
    iothread_destroy(io[1]);
    assert_int_equal(graph.torn, 0);
    assert_int_equal(graph.value, 500);
}

static void reads_and_yields(void *opaque)
{
    bdrv_graph_co_rdlock();
    note(opaque, 'r');
    qemu_coroutine_yield();
    bdrv_graph_co_rdunlock();
    note(opaque, 'u');
}

/* A reader that comes while the lock is held for writing stands in line until
 * the writer lets go. */
static void a_reader_queues_behind_the_writer(void **state)
{
    struct journal j = { 0 };
    struct Coroutine *co = qemu_coroutine_create(reads_and_yields, &j);

    bdrv_graph_wrlock();
    qemu_coroutine_enter(co);
    assert_string_equal(j.text, "");
    assert_int_equal(bdrv_graph_reader_count(), 0);
    bdrv_graph_wrunlock();
    assert_string_equal(j.text, "r");
    assert_int_equal(bdrv_graph_reader_count(), 1);
    qemu_coroutine_enter(co);
    assert_string_equal(j.text, "ru");
    assert_int_equal(bdrv_graph_reader_count(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_main_loop(a_wait_ends_when_kicked_from_another_thread),
        with_main_loop(a_kick_with_nobody_waiting_does_nothing),
        with_main_loop(a_sleeper_is_parked_as_observers_expect),
        with_main_loop(a_sleep_ends_with_its_timer),
        with_main_loop(wakes_before_a_sleep_end_it_at_once_and_count_as_one),
        with_main_loop(a_late_timer_leaves_nothing_for_the_next_sleep),
        with_main_loop(no_wake_from_another_thread_is_lost),
        with_main_loop(the_graph_lock_keeps_readers_and_writer_apart),
        with_main_loop(a_reader_queues_behind_the_writer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
