/* Unit tests: coroutines are entered, yield, end, and are used again.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime_testing.h"

static struct journal journal;

static void yields_twice(void *opaque)
{
    note(opaque, 'a');
    qemu_coroutine_yield();
    note(opaque, 'b');
    qemu_coroutine_yield();
    note(opaque, 'c');
}

static void enter_resumes_where_it_yielded(void **state)
{
    struct journal j = { 0 };
    struct Coroutine *co = qemu_coroutine_create(yields_twice, &j);

    assert_string_equal(j.text, "");
    qemu_coroutine_enter(co);
    note(&j, '1');
    qemu_coroutine_enter(co);
    note(&j, '2');
    qemu_coroutine_enter(co);
    assert_string_equal(j.text, "a1b2c");
}

struct seen {
    struct Coroutine *self;
    struct Coroutine *caller;
    struct AioContext *ctx;
    bool in_coroutine;
};

static void sees(void *opaque)
{
    struct seen *seen = opaque;

    seen->self = qemu_coroutine_self();
    seen->caller = seen->self->caller;
    seen->ctx = seen->self->ctx;
    seen->in_coroutine = qemu_in_coroutine();
    qemu_coroutine_yield();
}

static void a_running_coroutine_knows_itself(void **state)
{
    struct seen seen = { 0 };
    struct Coroutine *leader = qemu_coroutine_self();
    struct Coroutine *co = qemu_coroutine_create(sees, &seen);

    assert_false(qemu_in_coroutine());
    qemu_coroutine_enter(co);
    assert_ptr_equal(seen.self, co);
    assert_ptr_equal(seen.caller, leader);
    assert_ptr_equal(seen.ctx, qemu_get_aio_context());
    assert_true(seen.in_coroutine);
    /* Suspended: nobody has entered it. */
    assert_null(co->caller);
    assert_ptr_equal(qemu_coroutine_self(), leader);
    qemu_coroutine_enter(co);
}

static void enters_another(void *opaque)
{
    note(&journal, '(');
    qemu_coroutine_enter(opaque);
    note(&journal, ')');
}

static void coroutines_nest(void **state)
{
    struct Coroutine *inner = qemu_coroutine_create(yields_twice, &journal);
    struct Coroutine *outer = qemu_coroutine_create(enters_another, inner);

    journal = (struct journal){ 0 };
    qemu_coroutine_enter(outer);
    assert_string_equal(journal.text, "(a)");
    qemu_coroutine_enter(inner);
    qemu_coroutine_enter(inner);
    assert_string_equal(journal.text, "(a)bc");
}

static void wakes_another(void *opaque)
{
    note(&journal, '[');
    aio_co_wake(opaque);
    note(&journal, ']');
}

/* aio_co_wake inside a coroutine: not before that one yields or ends. */
static void a_wake_in_a_coroutine_waits_for_its_yield(void **state)
{
    struct Coroutine *woken = qemu_coroutine_create(yields_twice, &journal);

    journal = (struct journal){ 0 };
    qemu_coroutine_enter(woken);
    qemu_coroutine_enter(qemu_coroutine_create(wakes_another, woken));
    assert_string_equal(journal.text, "a[]b");
    qemu_coroutine_enter(woken);
}

static void returns_at_once(void *opaque)
{
}

static void ended_ones_are_pooled_and_used_again(void **state)
{
    struct Coroutine *first = qemu_coroutine_create(returns_at_once, NULL);
    unsigned in_use;
    unsigned pooled;

    qemu_coroutine_enter(first);
    qemu_coroutine_census(&in_use, &pooled);
    assert_int_equal(in_use, 0);
    assert_int_equal(pooled, 1);
    assert_ptr_equal(qemu_coroutine_create(returns_at_once, NULL), first);
    qemu_coroutine_census(&in_use, &pooled);
    assert_int_equal(in_use, 1);
    assert_int_equal(pooled, 0);
    qemu_coroutine_enter(first);
}

/* More than fit into the thread's own pool (two batches of 128). */
#define MANY 600

static void many_overflow_into_the_global_pool(void **state)
{
    static struct Coroutine *cos[MANY];
    static struct journal silent;
    unsigned in_use;
    unsigned pooled;

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++) {
            cos[i] = qemu_coroutine_create(yields_twice, &silent);
            qemu_coroutine_enter(cos[i]);
        }
        qemu_coroutine_census(&in_use, &pooled);
        assert_int_equal(in_use, MANY);
        assert_int_equal(pooled, 0);
        for (int i = 0; i < MANY; i++) {
            qemu_coroutine_enter(cos[i]);
            qemu_coroutine_enter(cos[i]);
        }
        qemu_coroutine_census(&in_use, &pooled);
        assert_int_equal(in_use, 0);
        assert_int_equal(pooled, MANY);
    }
}

static void uses_its_stack(void *opaque)
{
    volatile char much[900 * 1024];
    unsigned *sum = opaque;

    for (size_t i = 0; i < sizeof(much); i += 512) {
        much[i] = (char)(i / 512);
    }
    qemu_coroutine_yield();
    for (size_t i = 0; i < sizeof(much); i += 512) {
        *sum += (unsigned char)much[i] == (unsigned char)(i / 512);
    }
}

static void nearly_a_mebibyte_of_stack_can_be_used(void **state)
{
    unsigned sum[2] = { 0, 0 };
    struct Coroutine *a = qemu_coroutine_create(uses_its_stack, &sum[0]);
    struct Coroutine *b = qemu_coroutine_create(uses_its_stack, &sum[1]);

    qemu_coroutine_enter(a);
    qemu_coroutine_enter(b);
    qemu_coroutine_enter(a);
    qemu_coroutine_enter(b);
    assert_int_equal(sum[0], 900 * 1024 / 512);
    assert_int_equal(sum[1], 900 * 1024 / 512);
}

static void *pools_and_ends(void *opaque)
{
    struct Coroutine *co = qemu_coroutine_create(returns_at_once, NULL);

    qemu_aio_coroutine_enter(opaque, co);
    return NULL;
}

static void a_thread_s_pool_goes_with_it(void **state)
{
    struct QemuThread thread;
    unsigned in_use;
    unsigned pooled;

    qemu_thread_create(&thread, "pool", pools_and_ends, qemu_get_aio_context());
    qemu_thread_join(&thread);
    qemu_coroutine_census(&in_use, &pooled);
    assert_int_equal(in_use, 0);
    assert_int_equal(pooled, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_main_loop(enter_resumes_where_it_yielded),
        with_main_loop(a_running_coroutine_knows_itself),
        with_main_loop(coroutines_nest),
        with_main_loop(a_wake_in_a_coroutine_waits_for_its_yield),
        with_main_loop(ended_ones_are_pooled_and_used_again),
        with_main_loop(many_overflow_into_the_global_pool),
        with_main_loop(nearly_a_mebibyte_of_stack_can_be_used),
        with_main_loop(a_thread_s_pool_goes_with_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
