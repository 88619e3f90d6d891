/* Functions that a coroutine waits in, and what they wait for.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A row names a function that yields, the kind of its wait and the variable
 * that points to (or is) the object. Those of a coroutine that stands in a
 * CoQueue are told by who queued it. The QEMU file is beside each row; names as
 * of 10.2. A build that calls something otherwise has a wait without object.
 */
#include "qemu/co_wait.h"

#include <string.h>

/* Whoever put the coroutine into a CoQueue. */
static const struct qh_co_row queue_rows[] = {
    /* block/graph-lock.c */
    { "bdrv_graph_co_rdlock", QH_WAIT_GRAPH_READ, NULL, false, { { 0 } } },
    /* block/throttle-groups.c */
    { "throttle_group_co_io_limits_intercept",
      QH_WAIT_THROTTLE,
      "tgm",
      false,
      { { "pending reads", QH_F_TGM_READS },
        { "pending writes", QH_F_TGM_WRITES },
        { "throttle_state", QH_F_TGM_STATE },
        { "restart_pending", QH_F_TGM_RESTARTS } } },
    /* block/block-backend.c */
    { "blk_wait_while_drained",
      QH_WAIT_DRAIN,
      "blk",
      false,
      { { "quiesce_counter", QH_F_BLK_QUIESCE } } },
    /* block/nbd.c: no slot is free for one more request */
    { "nbd_co_send_request", QH_WAIT_NBD, "s", false, { { 0 } } },
};

static const struct qh_co_row yield_rows[] = {
    /* util/qemu-coroutine-io.c */
    { "yield_until_fd_readable",
      QH_WAIT_FD,
      "data",
      true,
      { { "fd", QH_F_FD_YIELD_FD } } },
    /* io/channel.c */
    { "qio_channel_yield",
      QH_WAIT_FD,
      "ioc",
      false,
      { { "read_coroutine", QH_F_CHANNEL_READER },
        { "write_coroutine", QH_F_CHANNEL_WRITER } } },
    /* util/thread-pool.c */
    { "thread_pool_submit_co",
      QH_WAIT_AIO,
      "tpc",
      true,
      { { "ret", QH_F_WORKER_RET } } },
    /* block/linux-aio.c */
    { "laio_co_submit",
      QH_WAIT_AIO,
      "laiocb",
      true,
      { { "ret", QH_F_LAIO_RET } } },
    /* block/io_uring.c */
    { "luring_co_submit",
      QH_WAIT_AIO,
      "req",
      true,
      { { "ret", QH_F_LURING_RET } } },
    /* block/io.c: a driver's AIOCB */
    { "bdrv_driver_preadv",
      QH_WAIT_AIO,
      "co",
      true,
      { { "ret", QH_F_COMPLETION_RET } } },
    { "bdrv_driver_pwritev",
      QH_WAIT_AIO,
      "co",
      true,
      { { "ret", QH_F_COMPLETION_RET } } },
    { "bdrv_co_flush",
      QH_WAIT_AIO,
      "co",
      true,
      { { "ret", QH_F_COMPLETION_RET } } },
    { "bdrv_co_ioctl",
      QH_WAIT_AIO,
      "co",
      true,
      { { "ret", QH_F_COMPLETION_RET } } },
    /* block/aio_task.c: one of its own tasks */
    { "aio_task_pool_wait_one",
      QH_WAIT_AIO,
      "pool",
      false,
      { { "busy_tasks", QH_F_TASKS_BUSY } } },
    /* Drivers that complete from their library's callback. */
    { "nvme_co_prw_aligned", QH_WAIT_AIO, "data", true, { { 0 } } },
    { "nvme_co_flush", QH_WAIT_AIO, "data", true, { { 0 } } },
    { "nvme_co_pdiscard", QH_WAIT_AIO, "data", true, { { 0 } } },
    { "nvme_co_pwrite_zeroes", QH_WAIT_AIO, "data", true, { { 0 } } },
    { "qemu_rbd_start_co", QH_WAIT_AIO, "task", true, { { 0 } } },
    { "nfs_co_preadv", QH_WAIT_AIO, "task", true, { { 0 } } },
    { "nfs_co_pwritev", QH_WAIT_AIO, "task", true, { { 0 } } },
    { "nfs_co_flush", QH_WAIT_AIO, "task", true, { { 0 } } },
    { "iscsi_co_wait_for_task", QH_WAIT_AIO, "iTask", false, { { 0 } } },
    { "curl_do_preadv", QH_WAIT_AIO, "acb", false, { { 0 } } },
    { "blkio_co_preadv", QH_WAIT_AIO, "cod", true, { { 0 } } },
    { "blkio_co_pwritev", QH_WAIT_AIO, "cod", true, { { 0 } } },
    { "blkio_co_flush", QH_WAIT_AIO, "cod", true, { { 0 } } },
    { "blkio_co_pdiscard", QH_WAIT_AIO, "cod", true, { { 0 } } },
    { "blkio_co_pwrite_zeroes", QH_WAIT_AIO, "cod", true, { { 0 } } },
    /* block/io.c: a bottom half of the main loop drains in its stead */
    { "bdrv_co_yield_to_drain",
      QH_WAIT_DRAIN,
      "data",
      true,
      { { "done", QH_F_DRAIN_DONE } } },
    /* block/nbd.c, nbd/client-connection.c */
    { "nbd_receive_replies", QH_WAIT_NBD, "s", false, { { 0 } } },
    { "nbd_co_establish_connection", QH_WAIT_NBD, "conn", false, { { 0 } } },
    /* job.c */
    { "job_do_yield_locked",
      QH_WAIT_JOB_PAUSE,
      "job",
      false,
      { { "pause_count", QH_F_JOB_PAUSE_COUNT },
        { "paused", QH_F_JOB_PAUSED },
        { "cancelled", QH_F_JOB_CANCELLED } } },
    /* qapi/qmp-dispatch.c: the command runs in a bottom half meanwhile */
    { "qmp_dispatch", QH_WAIT_BH, "data", true, { { 0 } } },
    /* monitor/qmp.c: no request is there */
    { "monitor_qmp_dispatcher_pop_any",
      QH_WAIT_EVENTS,
      NULL,
      false,
      { { 0 } } },
    { "monitor_qmp_dispatcher_co", QH_WAIT_EVENTS, NULL, false, { { 0 } } },
};

static const struct qh_co_row *find(const struct qh_co_row *rows, size_t count,
                                    const char *function)
{
    for (size_t i = 0; function && i < count; i++) {
        if (!strcmp(rows[i].function, function)) {
            return &rows[i];
        }
    }
    return NULL;
}

const struct qh_co_row *qh_co_queue_row(const char *function)
{
    return find(queue_rows, QH_COUNT(queue_rows), function);
}

const struct qh_co_row *qh_co_yield_row(const char *function)
{
    return find(yield_rows, QH_COUNT(yield_rows), function);
}
