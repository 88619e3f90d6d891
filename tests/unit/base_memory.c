/* Growing arrays, arenas and guards.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

static void test_array(void **state)
{
    QH_CLEANUP(qh_free_guard) uint32_t *items = NULL;
    size_t capacity = 0;

    for (uint32_t i = 0; i < 5000; i++) {
        assert_null(qh_array_reserve(&items, &capacity, i + 1, sizeof(*items)));
        assert_true(capacity > i);
        items[i] = i * 3;
    }
    for (uint32_t i = 0; i < 5000; i++) {
        assert_int_equal(items[i], i * 3);
    }
}

/* What cannot be had is an error, and leaves all as it was. */
static void test_array_too_large(void **state)
{
    QH_CLEANUP(qh_free_guard) uint64_t *items = NULL;
    size_t capacity = 0;

    assert_null(qh_array_reserve(&items, &capacity, 3, sizeof(*items)));
    const uint64_t *before = items;
    size_t capacity_before = capacity;
    const size_t counts[] = { SIZE_MAX, SIZE_MAX / 2 + 1, SIZE_MAX / 8 };
    for (size_t i = 0; i < QH_COUNT(counts); i++) {
        struct qh_error *error =
            qh_array_reserve(&items, &capacity, counts[i], sizeof(*items));
        assert_ptr_equal(error, qh_error_no_memory());
        assert_ptr_equal(items, before);
        assert_int_equal(capacity, capacity_before);
    }
}

static void test_arena(void **state)
{
    struct qh_arena arena = { 0 };
    unsigned char *all[300];

    for (size_t i = 0; i < QH_COUNT(all); i++) {
        size_t bytes = i * 37 % 5000;
        all[i] = qh_arena_alloc(&arena, bytes);
        assert_non_null(all[i]);
        assert_int_equal((uintptr_t)all[i] % _Alignof(max_align_t), 0);
        for (size_t k = 0; k < bytes; k++) {
            assert_int_equal(all[i][k], 0);
        }
        memset(all[i], (int)i, bytes);
    }
    for (size_t i = 0; i < QH_COUNT(all); i++) {
        for (size_t k = 0; k < i * 37 % 5000; k++) {
            assert_int_equal(all[i][k], (unsigned char)i);
        }
    }
    unsigned char *large = qh_arena_alloc(&arena, 1 << 20);
    assert_non_null(large);
    memset(large, 1, 1 << 20);
    assert_null(qh_arena_alloc(&arena, SIZE_MAX));
    assert_null(qh_arena_alloc(&arena, SIZE_MAX / 2 + 1));
    qh_arena_deinit(&arena);
    assert_null(arena.blocks);
}

static void test_strings(void **state)
{
    struct qh_arena arena = { 0 };

    assert_null(qh_arena_strdup(&arena, NULL));
    assert_string_equal(qh_arena_strdup(&arena, ""), "");
    assert_string_equal(qh_arena_strdup(&arena, "coroutine"), "coroutine");
    assert_string_equal(qh_arena_printf(&arena, "%d %s", 7, "s"), "7 s");
    qh_arena_deinit(&arena);
}

static void test_list(void **state)
{
    struct qh_arena arena = { 0 };
    struct pair {
        uint64_t a, b;
    } *pairs = NULL;
    size_t count = 0, capacity = 0;

    for (uint64_t i = 0; i < 2000; i++) {
        struct pair *pair =
            qh_list_add(&arena, &pairs, &count, &capacity, sizeof(*pair));
        assert_ptr_equal(pair, &pairs[i]);
        assert_int_equal(count, i + 1);
        assert_int_equal(pair->a, 0);
        assert_int_equal(pair->b, 0);
        *pair = (struct pair){ i, ~i };
    }
    for (uint64_t i = 0; i < 2000; i++) {
        assert_true(pairs[i].a == i && pairs[i].b == ~i);
    }
    qh_arena_deinit(&arena);
}

static void test_guards(void **state)
{
    QH_CLEANUP(qh_close_guard) int other = open("/dev/null", O_RDONLY);
    int kept = -1;
    {
        QH_CLEANUP(qh_close_guard) int closed = dup(other);
        QH_CLEANUP(qh_close_guard) int none = -1;
        QH_CLEANUP(qh_free_guard) void *memory = malloc(10);
        assert_true(closed >= 0 && none < 0 && memory);
        kept = closed; /* gone with the scope */
    }
    assert_int_equal(fcntl(kept, F_GETFD), -1);
}

static void test_zeros(void **state)
{
    unsigned char bytes[9] = { 0 };

    assert_true(qh_memory_is_zero(NULL, 0));
    assert_true(qh_memory_is_zero(bytes, sizeof(bytes)));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = 1;
        assert_false(qh_memory_is_zero(bytes, sizeof(bytes)));
        assert_true(qh_memory_is_zero(bytes, i));
        bytes[i] = 0;
    }
}

static void test_addresses(void **state)
{
    struct raddr a = qh_raddr(UINT64_MAX);

    assert_int_equal(qh_raddr_add(a, 2).value, 1);
    assert_true(qh_raddr_equal(a, qh_raddr(UINT64_MAX)));
    assert_false(qh_raddr_equal(a, qh_raddr(0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_array),
        cmocka_unit_test(test_array_too_large),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_guards),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
