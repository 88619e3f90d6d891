/* A miniature of QEMU's monitor: commands, and the coroutine that runs them.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VICTIMS_QMP_H
#define VICTIMS_QMP_H

/*
 * monitor/qmp.c and qapi/qmp-dispatch.c: one coroutine in iohandler_ctx waits
 * for requests; for each it queues a BH there, which calls the command in the
 * main thread outside of coroutines, and is parked in qmp_dispatch meanwhile.
 * While a command waits in a nested aio_poll, iohandler_ctx does not run, so
 * no other command does.
 */
#include <stdbool.h>

struct AioContext;
struct BlockDriverState;

struct QmpCommand {
    const char *name;
    void (*fn)(void *opaque);
};

/* Lies in the frame of qmp_dispatch. */
struct QmpDispatchBH {
    const struct QmpCommand *cmd;
    void *args;
    struct Coroutine *co;
};

/* Starts and ends the dispatcher.  Main thread; end only when it is idle. */
void qmp_start(void);
void qmp_stop(void);

/* Sends a request; the one before it must have returned.  Any thread but the
 * main one.  `args` must live until it returns. */
void qmp_send(const struct QmpCommand *cmd, void *args);

/* Whether the last one sent has returned; the second waits for that. */
bool qmp_returned(void);
void qmp_wait_returned(void);

/* The name of the last one sent; NULL if there was none. */
const char *qmp_last_command(void);

/* An eventfd, readable from the return of the last command sent until the
 * next one is. */
int qmp_returned_fd(void);

/* The arguments of both commands.  blockdev-add stores the node that it has
 * opened into `bs`. */
struct qmp_node {
    const char *node_name;
    struct AioContext *ctx;
    unsigned long interval;
    struct BlockDriverState *bs;
};

/* Opens the node; closes it. */
extern const struct QmpCommand qmp_blockdev_add_command;
extern const struct QmpCommand qmp_blockdev_del_command;

#endif
