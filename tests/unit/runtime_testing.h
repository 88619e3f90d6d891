/* What the runtime's unit tests share.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef UNIT_RUNTIME_TESTING_H
#define UNIT_RUNTIME_TESTING_H

/* In the order in which cmocka.h wants them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "atomics.h"
#include "runtime/aio_wait.h"
#include "runtime/iothread.h"
#include "runtime/main_loop.h"

/*
 * An assertion that fails leaves the test by longjmp, so it may stand only in
 * the test function itself, never in a coroutine or another thread: those note
 * what they see, and the test looks at it afterwards.
 */

/* A journal of single letters, written by one thread at a time. */
struct journal {
    char text[64];
    unsigned length;
};

static inline void note(struct journal *journal, char letter)
{
    if (journal->length + 1 < sizeof(journal->text)) {
        journal->text[journal->length++] = letter;
    }
}

/* Fixtures: a main loop, and everything gone again afterwards. */
static inline int setup_main_loop(void **state)
{
    qemu_init_main_loop();
    return 0;
}

static inline int teardown_main_loop(void **state)
{
    unsigned in_use;
    unsigned pooled;

    qemu_cleanup_main_loop();
    qemu_coroutine_pool_drain();
    qemu_coroutine_census(&in_use, &pooled);
    assert_int_equal(in_use, 0);
    assert_int_equal(pooled, 0);
    return 0;
}

#define with_main_loop(f)                                                      \
    cmocka_unit_test_setup_teardown(f, setup_main_loop, teardown_main_loop)

#endif
