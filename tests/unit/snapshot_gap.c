/* What could not be read: noted once, bounded, and not when the target ends.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "snapshot/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct qh_snapshot *new_snapshot(void)
{
    struct qh_snapshot *snapshot = NULL;

    assert_null(qh_snapshot_create(&snapshot));
    return snapshot;
}

static void test_same_is_noted_once(void **state)
{
    struct qh_snapshot *snapshot = new_snapshot();

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_null(qh_snapshot_gap(snapshot, "timers", qh_raddr(1),
                                    "unreadable", NULL));
    }
    assert_int_equal(snapshot->gap_count, 1);
    assert_null(
        qh_snapshot_gap(snapshot, "timers", qh_raddr(2), "unreadable", "try"));
    assert_int_equal(snapshot->gap_count, 2);
    qh_snapshot_destroy(snapshot);
}

static void test_error_becomes_gap(void **state)
{
    struct qh_snapshot *snapshot = new_snapshot();

    (void)state;
    assert_null(qh_snapshot_gap_error(snapshot, "timers", NULL));
    assert_int_equal(snapshot->gap_count, 0);
    assert_null(qh_snapshot_gap_error(
        snapshot, "timers",
        qh_error_try(qh_error_at(qh_error_new(QH_ERR_UNREADABLE, "no memory"),
                                 qh_raddr(0x10)),
                     "look")));
    assert_int_equal(snapshot->gap_count, 1);
    assert_int_equal(snapshot->gaps[0].address.value, 0x10);
    assert_string_equal(snapshot->gaps[0].reason, "no memory");
    assert_string_equal(snapshot->gaps[0].advice, "look");
    qh_snapshot_destroy(snapshot);
}

/* A process that is gone is no process with parts missing. */
static void test_exit_is_no_gap(void **state)
{
    struct qh_snapshot *snapshot = new_snapshot();
    struct qh_error *error = qh_snapshot_gap_error(
        snapshot, "timers", qh_error_new(QH_ERR_EXITED, "it has exited"));

    (void)state;
    assert_non_null(error);
    assert_int_equal(error->code, QH_ERR_EXITED);
    assert_string_equal(error->message, "it has exited");
    assert_int_equal(snapshot->gap_count, 0);
    qh_error_destroy(error);
    qh_snapshot_destroy(snapshot);
}

static void test_there_is_an_end(void **state)
{
    struct qh_snapshot *snapshot = new_snapshot();

    (void)state;
    for (uint64_t i = 1; i <= 5000; i++) {
        assert_null(qh_snapshot_gap(snapshot, "coroutine", qh_raddr(i),
                                    "unreadable", NULL));
    }
    assert_int_equal(snapshot->gap_count, 1001);
    assert_int_equal(snapshot->gaps[999].address.value, 1000);
    assert_string_equal(snapshot->gaps[1000].what, "other parts");
    qh_snapshot_destroy(snapshot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_is_noted_once),
        cmocka_unit_test(test_error_becomes_gap),
        cmocka_unit_test(test_exit_is_no_gap),
        cmocka_unit_test(test_there_is_an_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
