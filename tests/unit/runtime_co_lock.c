/* Unit tests: CoMutex excludes and is fair, CoQueue wakes in order.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/co_lock.h"
#include "runtime_testing.h"

static struct CoMutex mutex;
static struct CoQueue queue;
static struct journal journal;

static void locks_and_yields(void *opaque)
{
    char name = *(const char *)opaque;

    qemu_co_mutex_lock(&mutex);
    note(&journal, name);
    qemu_coroutine_yield();
    note(&journal, (char)(name - 'a' + 'A'));
    qemu_co_mutex_unlock(&mutex);
}

static void waiters_get_the_mutex_in_order(void **state)
{
    static const char names[] = "abcd";
    struct Coroutine *co[4];

    journal = (struct journal){ 0 };
    qemu_co_mutex_init(&mutex);
    for (int i = 0; i < 4; i++) {
        co[i] = qemu_coroutine_create(locks_and_yields, (void *)&names[i]);
        qemu_coroutine_enter(co[i]);
        assert_int_equal(mutex.locked, i + 1);
    }
    assert_string_equal(journal.text, "a");
    assert_ptr_equal(mutex.holder, co[0]);
    assert_ptr_equal(mutex.ctx, qemu_get_aio_context());
    assert_int_equal(co[0]->locks_held, 1);
    assert_int_equal(co[1]->locks_held, 0);
    for (int i = 0; i < 4; i++) {
        assert_ptr_equal(mutex.holder, co[i]);
        qemu_coroutine_enter(co[i]);
        assert_int_equal(mutex.locked, 3 - i);
    }
    assert_string_equal(journal.text, "aAbBcCdD");
    assert_null(mutex.holder);
    assert_int_equal(mutex.sequence, 3);
    qemu_co_mutex_destroy(&mutex);
}

/* What coroutines of several threads count together, without atomics. */
struct tally {
    unsigned long count;
    unsigned left;
};

#define COUNTS 3000
#define COUNTERS 6

static void counts_under_the_mutex(void *opaque)
{
    struct tally *tally = opaque;

    for (int i = 0; i < COUNTS; i++) {
        qemu_co_mutex_lock(&mutex);
        tally->count++;
        qemu_co_mutex_unlock(&mutex);
    }
    cfix_fetch_sub(&tally->left, 1u);
    aio_wait_kick();
}

static void the_mutex_excludes_across_threads(void **state)
{
    struct IOThread *io[2] = { iothread_create("0"), iothread_create("1") };
    struct tally tally = { .left = COUNTERS };

    qemu_co_mutex_init(&mutex);
    for (int i = 0; i < COUNTERS; i++) {
        struct AioContext *home =
            i % 3 == 2 ? qemu_get_aio_context() : io[i % 3]->ctx;

        aio_co_schedule(home,
                        qemu_coroutine_create(counts_under_the_mutex, &tally));
    }
    AIO_WAIT_WHILE(cfix_load(&tally.left) > 0);
    iothread_destroy(io[0]);
    iothread_destroy(io[1]);
    assert_int_equal(tally.count, COUNTS * COUNTERS);
    assert_int_equal(mutex.locked, 0);
    qemu_co_mutex_destroy(&mutex);
}

static void queues(void *opaque)
{
    qemu_co_queue_wait_impl(&queue, NULL);
    note(&journal, *(const char *)opaque);
}

static void the_queue_wakes_in_order(void **state)
{
    static const char names[] = "abcd";

    journal = (struct journal){ 0 };
    qemu_co_queue_init(&queue);
    assert_true(qemu_co_queue_empty(&queue));
    assert_false(qemu_co_queue_next(&queue));
    for (int i = 0; i < 4; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(queues, (void *)&names[i]));
    }
    assert_true(qemu_co_queue_next(&queue));
    assert_string_equal(journal.text, "a");
    qemu_co_queue_restart_all(&queue);
    assert_string_equal(journal.text, "abcd");
    assert_true(qemu_co_queue_empty(&queue));
}

static void waits_for_b(void *opaque)
{
    bool *b = opaque;

    qemu_co_mutex_lock(&mutex);
    while (!*b) {
        note(&journal, 'w');
        qemu_co_queue_wait_impl(&queue, CO_MUTEX_LOCKABLE(&mutex));
        note(&journal, mutex.holder == qemu_coroutine_self() ? 'h' : '!');
    }
    qemu_co_mutex_unlock(&mutex);
}

static void sets_b(void *opaque)
{
    bool *b = opaque;

    qemu_co_mutex_lock(&mutex);
    *b = true;
    qemu_co_queue_restart_all(&queue);
    note(&journal, 's');
    qemu_co_mutex_unlock(&mutex);
}

/* The waiter drops the mutex, or the other could never set the condition, and
 * has it again when it goes on. */
static void waiting_drops_the_mutex_and_takes_it_back(void **state)
{
    bool b = false;

    journal = (struct journal){ 0 };
    qemu_co_mutex_init(&mutex);
    qemu_co_queue_init(&queue);
    qemu_coroutine_enter(qemu_coroutine_create(waits_for_b, &b));
    assert_int_equal(mutex.locked, 0);
    qemu_coroutine_enter(qemu_coroutine_create(sets_b, &b));
    assert_string_equal(journal.text, "wsh");
    assert_int_equal(mutex.locked, 0);
    qemu_co_mutex_destroy(&mutex);
}

/* A mail box that one thread fills and another empties. */
struct mailbox {
    unsigned full;
    unsigned sent;
    unsigned received;
    unsigned left;
};

#define LETTERS 2000

static void sends(void *opaque)
{
    struct mailbox *box = opaque;

    for (int i = 0; i < LETTERS; i++) {
        qemu_co_mutex_lock(&mutex);
        while (box->full) {
            qemu_co_queue_wait_impl(&queue, CO_MUTEX_LOCKABLE(&mutex));
        }
        box->full = 1;
        box->sent++;
        qemu_co_queue_restart_all(&queue);
        qemu_co_mutex_unlock(&mutex);
    }
    cfix_fetch_sub(&box->left, 1u);
    aio_wait_kick();
}

static void receives(void *opaque)
{
    struct mailbox *box = opaque;

    for (int i = 0; i < LETTERS; i++) {
        qemu_co_mutex_lock(&mutex);
        while (!box->full) {
            qemu_co_queue_wait_impl(&queue, CO_MUTEX_LOCKABLE(&mutex));
        }
        box->full = 0;
        box->received++;
        qemu_co_queue_restart_all(&queue);
        qemu_co_mutex_unlock(&mutex);
    }
    cfix_fetch_sub(&box->left, 1u);
    aio_wait_kick();
}

static void no_restart_is_lost_between_threads(void **state)
{
    struct IOThread *io[2] = { iothread_create("0"), iothread_create("1") };
    struct mailbox box = { .left = 2 };

    qemu_co_mutex_init(&mutex);
    qemu_co_queue_init(&queue);
    aio_co_schedule(io[0]->ctx, qemu_coroutine_create(sends, &box));
    aio_co_schedule(io[1]->ctx, qemu_coroutine_create(receives, &box));
    AIO_WAIT_WHILE(cfix_load(&box.left) > 0);
    iothread_destroy(io[0]);
    iothread_destroy(io[1]);
    assert_int_equal(box.sent, LETTERS);
    assert_int_equal(box.received, LETTERS);
    qemu_co_mutex_destroy(&mutex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_main_loop(waiters_get_the_mutex_in_order),
        with_main_loop(the_mutex_excludes_across_threads),
        with_main_loop(the_queue_wakes_in_order),
        with_main_loop(waiting_drops_the_mutex_and_takes_it_back),
        with_main_loop(no_restart_is_lost_between_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
