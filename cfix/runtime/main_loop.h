/* The main thread's loop over its two AioContexts.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_RUNTIME_MAIN_LOOP_H
#define CFIX_RUNTIME_MAIN_LOOP_H

#include <stdbool.h>

#include "runtime/aio.h"

/*
 * util/main-loop.c.  The main thread serves qemu_aio_context (block layer) and
 * iohandler_ctx (monitor).  A nested aio_poll, as in AIO_WAIT_WHILE, runs only
 * the first: while the main thread waits there, nothing of the monitor's moves.
 */

/* Makes both contexts; the calling thread becomes the main thread.  Once. */
void qemu_init_main_loop(void);

/* The reverse, when all iothreads are gone and nothing is pending. */
void qemu_cleanup_main_loop(void);

struct AioContext *qemu_get_aio_context(void);
struct AioContext *iohandler_get_aio_context(void);

/* One round: waits unless `nonblocking`, then serves both. */
void main_loop_wait(bool nonblocking);

/* Makes main_loop_wait() come round.  Any thread. */
void qemu_notify_event(void);

#endif
