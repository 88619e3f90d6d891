/* AIO_WAIT_WHILE: the main thread waits, running its own loop meanwhile.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_RUNTIME_AIO_WAIT_H
#define CFIX_RUNTIME_AIO_WAIT_H

#include "atomics.h"
#include "runtime/aio.h"
#include "runtime/main_loop.h"

/* include/block/aio-wait.h: how many waits are going on. */
struct AioWait {
    unsigned num_waiters;
};

extern struct AioWait global_aio_wait;

/*
 * Makes a waiter look at its condition again, if there is one.  To be called
 * after the change that could end a wait; any thread.  It schedules a BH that
 * does nothing (dummy_bh_cb) in the main context.
 */
void aio_wait_kick(void);

/*
 * Runs the main context until `cond` is false.  In the main thread, outside of
 * coroutines.  Whoever changes what `cond` reads must then call
 * aio_wait_kick(): num_waiters is raised before `cond` is first read, and read
 * by the kick after the change, both sequentially consistent, so one of the
 * two sees the other, provided that `cond` and the change are sequentially
 * consistent too.
 */
#define AIO_WAIT_WHILE(cond)                                                   \
    do {                                                                       \
        cfix_fetch_add(&global_aio_wait.num_waiters, 1u);                      \
        while (cond) {                                                         \
            aio_poll(qemu_get_aio_context(), true);                            \
        }                                                                      \
        cfix_fetch_sub(&global_aio_wait.num_waiters, 1u);                      \
    } while (0)

#endif
