/* Errors: their facts, their advice, and the one for which there is no memory.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/base.h"

static void test_facts(void **state)
{
    QH_CLEANUP(qh_error_guard)
    struct qh_error *error = qh_error_new(QH_ERR_UNREADABLE, "no %s", "bytes");

    error = qh_error_at(error, qh_raddr(0x1234));
    error = qh_error_tid(error, 77);
    error = qh_error_path(error, "/one");
    error = qh_error_path(error, "/two");
    assert_int_equal(error->code, QH_ERR_UNREADABLE);
    assert_string_equal(error->message, "no bytes");
    assert_true(error->has_address);
    assert_int_equal(error->address.value, 0x1234);
    assert_int_equal(error->tid, 77);
    assert_string_equal(error->path, "/two");
    assert_int_equal(error->errnum, 0);
}

static void test_errno(void **state)
{
    QH_CLEANUP(qh_error_guard)
    struct qh_error *error =
        qh_error_errno(QH_ERR_SYSTEM, ENOENT, "cannot open %d", 5);

    assert_int_equal(error->errnum, ENOENT);
    assert_string_equal(error->message,
                        "cannot open 5: No such file or directory");
}

static void test_advice(void **state)
{
    QH_CLEANUP(qh_error_guard)
    struct qh_error *error = qh_error_new(QH_ERR_PERMISSION, "no");

    assert_non_null(strstr(qh_error_advice(error), "sudo"));
    error = qh_error_try(error, "wait %d s", 1);
    error = qh_error_try(error, "wait %d s", 2);
    assert_string_equal(qh_error_advice(error), "wait 2 s");
}

/* Every code has a name of its own and some advice. */
static void test_codes(void **state)
{
    static const enum qh_error_code codes[] = {
#define CODE(code, name, advice) code,
        QH_ERROR_CODES(CODE)
#undef CODE
    };

    for (size_t i = 0; i < QH_COUNT(codes); i++) {
        QH_CLEANUP(qh_error_guard)
        struct qh_error *error = qh_error_new(codes[i], "x");
        assert_true(strlen(qh_error_advice(error)) > 0);
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(qh_error_code_name(codes[i]),
                                    qh_error_code_name(codes[k]));
        }
    }
}

/* It is one object for all: nothing may be written into it or freed. */
static void test_no_memory(void **state)
{
    struct qh_error *error = qh_error_no_memory();

    error = qh_error_at(error, qh_raddr(1));
    error = qh_error_tid(error, 1);
    error = qh_error_passing(error);
    error = qh_error_path(error, "/x");
    error = qh_error_try(error, "x");
    assert_ptr_equal(error, qh_error_no_memory());
    assert_int_equal(error->code, QH_ERR_MEMORY);
    assert_false(error->has_address);
    assert_false(error->passing);
    assert_null(error->path);
    assert_null(error->advice);
    qh_error_destroy(error);
    qh_error_destroy(error);
    qh_error_destroy(NULL);
    assert_string_equal(error->message, "out of memory");
}

static void test_gone(void **state)
{
    static const enum qh_error_code gone[] = { QH_ERR_EXITED,
                                               QH_ERR_NO_PROCESS };
    struct qh_error *error = qh_error_new(QH_ERR_REFUSED, "x");

    assert_false(qh_error_is_gone(error));
    assert_false(qh_error_is_gone(NULL));
    qh_error_destroy(error);
    for (size_t i = 0; i < QH_COUNT(gone); i++) {
        error = qh_error_new(gone[i], "x");
        assert_true(qh_error_is_gone(error));
        qh_error_destroy(error);
    }
}

static struct qh_error *fail_if(bool fails, unsigned *reached)
{
    QH_TRY(fails ? qh_error_new(QH_ERR_ABSENT, "x") : NULL);
    (*reached)++;
    return NULL;
}

static void test_try(void **state)
{
    unsigned reached = 0;
    QH_CLEANUP(qh_error_guard) struct qh_error *error = fail_if(true, &reached);

    assert_non_null(error);
    assert_int_equal(reached, 0);
    assert_null(fail_if(false, &reached));
    assert_int_equal(reached, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts),     cmocka_unit_test(test_errno),
        cmocka_unit_test(test_advice),    cmocka_unit_test(test_codes),
        cmocka_unit_test(test_no_memory), cmocka_unit_test(test_try),
        cmocka_unit_test(test_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
