/* A miniature of QEMU's monitor: commands, and the coroutine that runs them.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "atomics.h"
#include "block.h"
#include "monitor.h"
#include "runtime/main_loop.h"
#include "watch.h"

static struct Coroutine *qmp_dispatcher_co;
static const struct QmpCommand *request_cmd;
static void *request_args;
static bool qmp_dispatcher_co_busy = true;
static bool shutting_down;
static int returned_fd = -1;

static void do_qmp_dispatch_bh(void *opaque)
{
    struct QmpDispatchBH *data = opaque;

    data->cmd->fn(data->args);
    aio_co_wake(data->co);
}

static __attribute__((noinline)) void qmp_dispatch(const struct QmpCommand *cmd,
                                                   void *args)
{
    struct QmpDispatchBH data = {
        .cmd = cmd,
        .args = args,
        .co = qemu_coroutine_self(),
    };

    aio_bh_schedule_oneshot(iohandler_get_aio_context(), "do_qmp_dispatch_bh",
                            do_qmp_dispatch_bh, &data);
    qemu_coroutine_yield();
}

/*
 * Between commands it says so, first on returned_fd, then in
 * qmp_dispatcher_co_busy, and does nothing more but yield: so a sender that
 * sees it not busy may wake it, and its request is looked at only after that
 * wake.
 */
static void await_request(void)
{
    const uint64_t one = 1;

    if (write(returned_fd, &one, sizeof(one)) != sizeof(one)) {
        cfix_die("write to an eventfd");
    }
    /* Pairs with the load in qmp_returned. */
    cfix_store_release(&qmp_dispatcher_co_busy, false);
    qemu_coroutine_yield();
}

static void monitor_qmp_dispatcher_co(void *opaque)
{
    for (;;) {
        const struct QmpCommand *cmd;

        await_request();
        if (shutting_down) {
            break;
        }
        /* The wake that brought us here came after the request. */
        cmd = request_cmd;
        monitor_pop_request();
        qmp_dispatch(cmd, request_args);
        monitor_resume();
    }
    qmp_dispatcher_co = NULL;
}

void qmp_start(void)
{
    returned_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (returned_fd < 0) {
        cfix_die("eventfd");
    }
    qmp_dispatcher_co = qemu_coroutine_create(monitor_qmp_dispatcher_co, NULL);
    qemu_aio_coroutine_enter(iohandler_get_aio_context(), qmp_dispatcher_co);
}

void qmp_stop(void)
{
    shutting_down = true;
    aio_co_wake(qmp_dispatcher_co);
    while (qmp_dispatcher_co) {
        main_loop_wait(true);
    }
    close(returned_fd);
}

static __attribute__((noinline)) void
handle_qmp_command(const struct QmpCommand *cmd, void *args)
{
    monitor_suspend();
    monitor_push_request();
    request_args = args;
    request_cmd = cmd;
    cfix_store_release(&qmp_dispatcher_co_busy, true);
    aio_co_wake(qmp_dispatcher_co);
}

void qmp_send(const struct QmpCommand *cmd, void *args)
{
    uint64_t earlier;

    if (!qmp_returned()) {
        watch_fail("%s sent while another command runs", cmd->name);
    }
    /* Only that of this command is to be seen. */
    (void)!read(returned_fd, &earlier, sizeof(earlier));
    handle_qmp_command(cmd, args);
}

bool qmp_returned(void)
{
    return !cfix_load_acquire(&qmp_dispatcher_co_busy);
}

static bool returned(void *opaque)
{
    return qmp_returned();
}

void qmp_wait_returned(void)
{
    watch_until("a command's return", returned, NULL);
}

const char *qmp_last_command(void)
{
    return request_cmd ? request_cmd->name : NULL;
}

int qmp_returned_fd(void)
{
    return returned_fd;
}

static void qmp_blockdev_add(void *opaque)
{
    struct qmp_node *node = opaque;

    node->bs = bdrv_open(node->node_name, node->ctx, node->interval);
}

static void qmp_blockdev_del(void *opaque)
{
    struct qmp_node *node = opaque;
    struct BlockDriverState *bs = bdrv_find_node(node->node_name);

    if (!bs) {
        watch_fail("blockdev-del: no node called %s", node->node_name);
    }
    bdrv_unref(bs);
    /* Also keeps the call above from being a tail call, and so this frame. */
    node->bs = NULL;
}

const struct QmpCommand qmp_blockdev_add_command = {
    .name = "blockdev-add",
    .fn = qmp_blockdev_add,
};

const struct QmpCommand qmp_blockdev_del_command = {
    .name = "blockdev-del",
    .fn = qmp_blockdev_del,
};
