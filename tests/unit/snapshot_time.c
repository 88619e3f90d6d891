/* Times that a target may claim: what does not fit is unknown, not wrong.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "snapshot/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_sums(void **state)
{
    (void)state;
    assert_int_equal(qh_time_add(600, -1), 599);
    assert_int_equal(qh_time_sub(600, 601), -1);
    assert_int_equal(qh_time_sub(INT64_MAX, INT64_MAX), 0);
}

static void test_unknown_stays_unknown(void **state)
{
    (void)state;
    assert_int_equal(qh_time_add(QH_TIME_UNKNOWN, 1), QH_TIME_UNKNOWN);
    assert_int_equal(qh_time_add(1, QH_TIME_UNKNOWN), QH_TIME_UNKNOWN);
    assert_int_equal(qh_time_sub(QH_TIME_UNKNOWN, -1), QH_TIME_UNKNOWN);
    assert_int_equal(qh_time_sub(-1, QH_TIME_UNKNOWN), QH_TIME_UNKNOWN);
}

static void test_what_does_not_fit_is_unknown(void **state)
{
    (void)state;
    assert_int_equal(qh_time_add(INT64_MAX, 1), QH_TIME_UNKNOWN);
    assert_int_equal(qh_time_sub(INT64_MAX, -1), QH_TIME_UNKNOWN);
    assert_int_equal(qh_time_sub(-2, INT64_MAX), QH_TIME_UNKNOWN);
}

static void test_left(void **state)
{
    struct qh_snapshot snapshot = { .monotonic_ns = 5 };

    (void)state;
    assert_int_equal(qh_snapshot_left_ns(&snapshot, QH_CLOCK_REALTIME, 7), 2);
    assert_int_equal(qh_snapshot_left_ns(&snapshot, QH_CLOCK_VIRTUAL, 7),
                     QH_TIME_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_unknown_stays_unknown),
        cmocka_unit_test(test_what_does_not_fit_is_unknown),
        cmocka_unit_test(test_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
