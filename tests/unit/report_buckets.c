/* Buckets of coroutines on snapshots written by hand.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/buckets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { IO0 = 0x1000, MAIN = 0x2000, MUTEX = 0x3000, CO = 0x10000 };

static struct qh_frame deep[] = { { .pc = { 10 }, .function = "yield" },
                                  { .pc = { 20 }, .function = "nbd_trip" } };
static struct qh_frame shallow[] = { { .pc = { 10 }, .function = "yield" } };
static struct qh_frame other[] = { { .pc = { 11 }, .function = "yield" },
                                   { .pc = { 20 }, .function = "nbd_trip" } };

static struct qh_coroutine *add(struct qh_snapshot *s, enum qh_wait_kind kind,
                                struct raddr object)
{
    struct qh_coroutine *one =
        qh_list_add(&s->arena, &s->coroutines, &s->coroutine_count,
                    &s->room.coroutines, sizeof(*one));
    struct qh_wait *wait = qh_list_add(&s->arena, &s->waits, &s->wait_count,
                                       &s->room.waits, sizeof(*wait));

    assert_non_null(one);
    assert_non_null(wait);
    *one = (struct qh_coroutine){
        .address = { CO + 16 * s->coroutine_count },
        .state = QH_CO_SUSPENDED,
        .context = { IO0 },
        .stack = { .frames = deep, .count = QH_COUNT(deep) },
    };
    *wait = (struct qh_wait){ .kind = kind,
                              .coroutine = one->address,
                              .object = object };
    return one;
}

/* Two alike, one with another pc, one with fewer frames, one elsewhere that
 * waits for something else, and three pooled. */
static struct qh_snapshot *world(void)
{
    struct qh_snapshot *s;

    assert_null(qh_snapshot_create(&s));
    for (uint64_t address = IO0; address <= MAIN; address += MAIN - IO0) {
        struct qh_context *context =
            qh_list_add(&s->arena, &s->contexts, &s->context_count,
                        &s->room.contexts, sizeof(*context));
        assert_non_null(context);
        context->address = qh_raddr(address);
        context->name = address == IO0 ? "iothread io0" : "main";
    }
    add(s, QH_WAIT_CO_MUTEX, qh_raddr(MUTEX));
    add(s, QH_WAIT_CO_MUTEX, qh_raddr(MUTEX))->stack.frames = other;
    add(s, QH_WAIT_CO_MUTEX, qh_raddr(MUTEX + 8));
    add(s, QH_WAIT_CO_MUTEX, qh_raddr(MUTEX))->stack =
        (struct qh_backtrace){ shallow, 1, "cut" };
    add(s, QH_WAIT_FD, qh_raddr(0))->context = qh_raddr(MAIN);
    for (int i = 0; i < 3; i++) {
        struct qh_coroutine *one = add(s, QH_WAIT_UNKNOWN, qh_raddr(0));
        one->state = QH_CO_POOLED;
        one->context = qh_raddr(0);
        s->wait_count--; /* pooled ones wait for nothing */
    }
    return s;
}

static void expect(const struct qh_co_filter *filter, enum qh_grouping by,
                   size_t count, const size_t *sizes)
{
    struct qh_snapshot *s = world();
    struct qh_co_buckets buckets;
    size_t shown = 0;

    assert_null(qh_co_buckets_make(s, filter, by, &buckets));
    assert_int_equal(buckets.count, count);
    for (size_t i = 0; i < count; i++) {
        const struct qh_co_bucket *bucket = &buckets.items[i];
        assert_int_equal(bucket->count, sizes[i]);
        for (size_t j = 0; j < bucket->count; j++) {
            assert_int_equal(buckets.bucket_of[bucket->members[j]], i);
            assert_true(!j || bucket->members[j] > bucket->members[j - 1]);
        }
        shown += bucket->count;
    }
    assert_int_equal(buckets.shown, shown);
    for (size_t i = 0; i < s->coroutine_count; i++) {
        assert_true(buckets.bucket_of[i] == SIZE_MAX ||
                    buckets.bucket_of[i] < count);
    }
    qh_co_buckets_deinit(&buckets);
    qh_snapshot_destroy(s);
}

static void test_by_stack(void **state)
{
    const struct qh_co_filter all = { .by_state = false };

    expect(&all, QH_GROUP_STACK, 5, (size_t[]){ 2, 1, 1, 1, 3 });
}

static void test_by_wait(void **state)
{
    const struct qh_co_filter all = { .by_state = false };

    expect(&all, QH_GROUP_WAIT, 4, (size_t[]){ 3, 1, 1, 3 });
}

static void test_apart(void **state)
{
    const struct qh_co_filter all = { .by_state = false };

    expect(&all, QH_GROUP_NONE, 8, (size_t[]){ 1, 1, 1, 1, 1, 1, 1, 1 });
}

static void test_filters(void **state)
{
    const struct qh_co_filter pooled = { .by_state = true,
                                         .state = QH_CO_POOLED };
    const struct qh_co_filter mutex = { .by_kind = true,
                                        .kind = QH_WAIT_CO_MUTEX };
    const struct qh_co_filter unknown = { .by_kind = true,
                                          .kind = QH_WAIT_UNKNOWN };
    const struct qh_co_filter io0 = { .context = "io0" };
    const struct qh_co_filter at = { .context = "0x2000" };
    const struct qh_co_filter nowhere = { .context = "0" };
    const struct qh_co_filter trip = { .function = "nbd_*",
                                       .context = "iothread io0" };

    expect(&pooled, QH_GROUP_STACK, 1, (size_t[]){ 3 });
    expect(&mutex, QH_GROUP_STACK, 3, (size_t[]){ 2, 1, 1 });
    expect(&unknown, QH_GROUP_STACK, 0, NULL);
    expect(&io0, QH_GROUP_WAIT, 2, (size_t[]){ 3, 1 });
    expect(&at, QH_GROUP_STACK, 1, (size_t[]){ 1 });
    expect(&nowhere, QH_GROUP_STACK, 0, NULL);
    expect(&trip, QH_GROUP_STACK, 2, (size_t[]){ 2, 1 });
}

/* What a bucket has in common is told, and what not. */
static void test_in_common(void **state)
{
    const struct qh_co_filter mutex = { .by_kind = true,
                                        .kind = QH_WAIT_CO_MUTEX };
    struct qh_snapshot *s = world();
    struct qh_co_buckets buckets;

    assert_null(qh_co_buckets_make(s, &mutex, QH_GROUP_STACK, &buckets));
    assert_true(buckets.items[0].same_stack);
    assert_false(buckets.items[0].same_object);
    assert_true(buckets.items[0].same_context);
    assert_int_equal(buckets.items[0].wait->object.value, MUTEX);
    qh_co_buckets_deinit(&buckets);
    assert_null(qh_co_buckets_make(s, &mutex, QH_GROUP_WAIT, &buckets));
    assert_false(buckets.items[0].same_stack);
    assert_true(buckets.items[0].same_object);
    qh_co_buckets_deinit(&buckets);
    qh_snapshot_destroy(s);
}

static void test_none(void **state)
{
    const struct qh_co_filter all = { .by_state = false };
    struct qh_co_buckets buckets;
    struct qh_snapshot *s;

    assert_null(qh_snapshot_create(&s));
    assert_null(qh_co_buckets_make(s, &all, QH_GROUP_STACK, &buckets));
    assert_int_equal(buckets.count, 0);
    qh_co_buckets_deinit(&buckets);
    qh_snapshot_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_stack),  cmocka_unit_test(test_by_wait),
        cmocka_unit_test(test_apart),     cmocka_unit_test(test_filters),
        cmocka_unit_test(test_in_common), cmocka_unit_test(test_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
