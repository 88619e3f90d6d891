/* Unit tests: BHs, descriptors, and waking coroutines across threads.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <unistd.h>

#include "runtime_testing.h"

static void counts(void *opaque)
{
    ++*(int *)opaque;
}

static void a_bh_runs_once_however_often_scheduled(void **state)
{
    struct AioContext *ctx = qemu_get_aio_context();
    int count = 0;
    struct QEMUBH *bh = aio_bh_new(ctx, "counts", counts, &count);

    assert_false(aio_bh_pending(ctx));
    qemu_bh_schedule(bh);
    qemu_bh_schedule(bh);
    assert_true(aio_bh_pending(ctx));
    assert_true(aio_poll(ctx, true));
    assert_int_equal(count, 1);
    assert_false(aio_poll(ctx, false));
    qemu_bh_schedule(bh);
    assert_true(aio_poll(ctx, false));
    assert_int_equal(count, 2);
    qemu_bh_delete(bh);
}

static void a_deleted_bh_does_not_run(void **state)
{
    struct AioContext *ctx = qemu_get_aio_context();
    int count = 0;
    struct QEMUBH *bh = aio_bh_new(ctx, "counts", counts, &count);

    qemu_bh_schedule(bh);
    qemu_bh_delete(bh);
    assert_false(aio_bh_pending(ctx));
    aio_poll(ctx, false);
    assert_int_equal(count, 0);
}

static void oneshots_all_run(void **state)
{
    struct AioContext *ctx = qemu_get_aio_context();
    int count = 0;

    for (int i = 0; i < 5; i++) {
        aio_bh_schedule_oneshot(ctx, "counts", counts, &count);
    }
    assert_true(aio_poll(ctx, false));
    assert_int_equal(count, 5);
}

static void polls_inside(void *opaque)
{
    aio_poll(qemu_get_aio_context(), false);
    ++*(int *)opaque;
}

/* The inner poll serves what the outer one has taken and not yet run. */
static void bhs_nest(void **state)
{
    struct AioContext *ctx = qemu_get_aio_context();
    int count = 0;

    for (int i = 0; i < 4; i++) {
        aio_bh_schedule_oneshot(ctx, "polls_inside", polls_inside, &count);
    }
    assert_true(aio_poll(ctx, false));
    assert_int_equal(count, 4);
    assert_true(SIMPLEQ_EMPTY(&ctx->bh_slice_list));
}

static void reads_byte(void *opaque)
{
    int *fds = opaque;
    char byte;

    if (read(fds[0], &byte, 1) == 1) {
        fds[2]++;
    }
}

static void takes_itself_out(void *opaque)
{
    int *fds = opaque;

    reads_byte(opaque);
    aio_set_fd_handler(qemu_get_aio_context(), fds[0], NULL, NULL);
}

static void a_descriptor_s_handler_is_called_when_readable(void **state)
{
    struct AioContext *ctx = qemu_get_aio_context();
    int fds[3] = { 0 };

    assert_int_equal(pipe(fds), 0);
    aio_set_fd_handler(ctx, fds[0], reads_byte, fds);
    assert_false(aio_poll(ctx, false));
    assert_int_equal(write(fds[1], "xy", 2), 2);
    assert_true(aio_poll(ctx, true));
    assert_int_equal(fds[2], 1);
    aio_set_fd_handler(ctx, fds[0], takes_itself_out, fds);
    assert_true(aio_poll(ctx, true));
    assert_int_equal(fds[2], 2);
    assert_int_equal(write(fds[1], "z", 1), 1);
    assert_false(aio_poll(ctx, false));
    assert_null(LIST_FIRST(&ctx->deleted_aio_handlers));
    close(fds[0]);
    close(fds[1]);
}

/* A ball that is thrown between the main thread and an iothread. */
struct rally {
    struct Coroutine *co[2];
    struct AioContext *home[2];
    unsigned turns;
    unsigned wrong_thread;
    unsigned left;
};

#define TURNS_EACH 1000

/* Main and iothread take turns; after the last one nobody is woken. */
static void plays(struct rally *rally, int me)
{
    for (int turn = 1; turn <= TURNS_EACH; turn++) {
        qemu_coroutine_yield();
        rally->wrong_thread +=
            qemu_get_current_aio_context() != rally->home[me];
        rally->turns++;
        if (me == 0 || turn < TURNS_EACH) {
            aio_co_wake(rally->co[!me]);
        }
    }
    cfix_fetch_sub(&rally->left, 1u);
    aio_wait_kick();
}

static void plays_in_main(void *opaque)
{
    plays(opaque, 0);
}

static void plays_in_iothread(void *opaque)
{
    plays(opaque, 1);
}

static void aio_co_wake_goes_back_and_forth_between_threads(void **state)
{
    struct IOThread *io = iothread_create("t");
    struct rally rally = {
        .home = { qemu_get_aio_context(), io->ctx },
        .left = 2,
    };

    rally.co[0] = qemu_coroutine_create(plays_in_main, &rally);
    rally.co[1] = qemu_coroutine_create(plays_in_iothread, &rally);
    aio_co_schedule(io->ctx, rally.co[1]);
    qemu_coroutine_enter(rally.co[0]);
    /* A coroutine has a context to be woken in once it was entered. */
    while (cfix_load_acquire(&rally.co[1]->ctx) != io->ctx) {
        continue;
    }
    aio_co_wake(rally.co[0]);
    AIO_WAIT_WHILE(cfix_load(&rally.left) > 0);
    assert_int_equal(rally.wrong_thread, 0);
    iothread_destroy(io);
    assert_int_equal(rally.turns, 2 * TURNS_EACH);
}

static void adds_one(void *opaque)
{
    /* Only the home thread runs it, so plainly. */
    ++*(unsigned *)opaque;
}

struct scheduler {
    struct AioContext *ctx;
    unsigned *sum;
};

#define PUSHES 20000

static void *schedules_many(void *opaque)
{
    struct scheduler *scheduler = opaque;

    for (int i = 0; i < PUSHES; i++) {
        aio_bh_schedule_oneshot(scheduler->ctx, "adds_one", adds_one,
                                scheduler->sum);
    }
    return NULL;
}

/* None is lost on the lock-free list, and the loop never sleeps on one. */
static void bhs_of_three_threads_all_run(void **state)
{
    struct AioContext *ctx = qemu_get_aio_context();
    unsigned sum = 0;
    struct scheduler scheduler = { ctx, &sum };
    struct QemuThread threads[3];

    for (int i = 0; i < 3; i++) {
        qemu_thread_create(&threads[i], "push", schedules_many, &scheduler);
    }
    while (sum < 3 * PUSHES) {
        aio_poll(ctx, true);
    }
    for (int i = 0; i < 3; i++) {
        qemu_thread_join(&threads[i]);
    }
    assert_false(aio_poll(ctx, false));
    assert_int_equal(sum, 3 * PUSHES);
}

static void sets_flag(void *opaque)
{
    cfix_store((bool *)opaque, true);
}

static void *queues_for_the_monitor(void *opaque)
{
    aio_bh_schedule_oneshot(iohandler_get_aio_context(), "sets_flag", sets_flag,
                            opaque);
    return NULL;
}

static void the_main_loop_serves_both_contexts(void **state)
{
    struct QemuThread thread;
    bool flag = false;

    qemu_thread_create(&thread, "monitor", queues_for_the_monitor, &flag);
    while (!cfix_load(&flag)) {
        main_loop_wait(false);
    }
    qemu_thread_join(&thread);
    aio_bh_schedule_oneshot(iohandler_get_aio_context(), "sets_flag", sets_flag,
                            &flag);
    flag = false;
    /* A nested poll serves the one context only. */
    assert_false(aio_poll(qemu_get_aio_context(), false));
    assert_false(flag);
    main_loop_wait(false);
    assert_true(flag);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_main_loop(a_bh_runs_once_however_often_scheduled),
        with_main_loop(a_deleted_bh_does_not_run),
        with_main_loop(oneshots_all_run),
        with_main_loop(bhs_nest),
        with_main_loop(a_descriptor_s_handler_is_called_when_readable),
        with_main_loop(aio_co_wake_goes_back_and_forth_between_threads),
        with_main_loop(bhs_of_three_threads_all_run),
        with_main_loop(the_main_loop_serves_both_contexts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
