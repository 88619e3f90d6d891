/* IOThread: a thread that does nothing but run one AioContext.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_RUNTIME_IOTHREAD_H
#define CFIX_RUNTIME_IOTHREAD_H

#include <stdbool.h>

#include "runtime/aio.h"
#include "runtime/thread.h"

/*
 * iothread.c.  The thread's comm is "IO <id>", its context's source.name
 * "IO <id> aio-context".  QEMU keeps the id in the object tree; it is a member
 * here.
 */
struct IOThread {
    char *id;
    struct QemuThread thread;
    struct AioContext *ctx;
    /* Set when the thread has made `ctx` its own. */
    struct QemuEvent init_done_ev;
    bool stopping;
    bool running;
    int thread_id;
};

/* `id` is copied.  Returns when the thread runs its loop's first round. */
struct IOThread *iothread_create(const char *id);

/* Stops the thread after the round it is in, joins and frees it.  Nothing may
 * be pending or parked in its context. */
void iothread_destroy(struct IOThread *iothread);

#endif
