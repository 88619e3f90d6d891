/* A scenario in which one coroutine waits for each kind of thing.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <unistd.h>

#include "atomics.h"
#include "block.h"
#include "graph_lock.h"
#include "runtime/main_loop.h"
#include "scenario.h"
#include "waits.h"
#include "watch.h"

#define NANOSECONDS_PER_HOUR 3600000000000LL

static struct CoRwlock rwlock;
static struct BdrvTrackedRequest first_request, second_request;
static struct Job paused_job, sleeping_job;
static struct ThrottleGroupMember member;
static struct BlockBackend backend = { .name = "drive0" };
static struct BlockDriverState drained_node = { .node_name = "drained" };
static struct BDRVNBDState nbd;
static int pipe_fds[2];
static unsigned waiting;
static bool writing;

/* Has the lock for writing and is the request that others wait for. */
static void wait_worker(void *opaque)
{
    first_request.co = qemu_coroutine_self();
    qemu_co_rwlock_wrlock(&rwlock);
    step_check(thread_pool_submit_co() == 0, "the worker is done");
    qemu_co_rwlock_unlock(&rwlock);
    qemu_co_queue_restart_all(&first_request.wait_queue);
    cfix_fetch_sub(&waiting, 1u);
}

static void wait_rwlock(void *opaque)
{
    qemu_co_rwlock_rdlock(&rwlock);
    qemu_co_rwlock_unlock(&rwlock);
    cfix_fetch_sub(&waiting, 1u);
}

static void wait_request(void *opaque)
{
    second_request.co = qemu_coroutine_self();
    bdrv_wait_serialising_requests_locked(&second_request, &first_request);
    cfix_fetch_sub(&waiting, 1u);
}

static void wait_fd(void *opaque)
{
    yield_until_fd_readable(pipe_fds[0]);
    cfix_fetch_sub(&waiting, 1u);
}

static void wait_paused(void *opaque)
{
    job_init(&paused_job, "job0");
    job_pause_point(&paused_job);
    cfix_fetch_sub(&waiting, 1u);
}

static void wait_asleep(void *opaque)
{
    job_init(&sleeping_job, "job1");
    job_sleep_ns(&sleeping_job, NANOSECONDS_PER_HOUR);
    cfix_fetch_sub(&waiting, 1u);
}

static void wait_throttle(void *opaque)
{
    throttle_group_register_tgm(&member);
    timer_mod_ns(&member.write_timer,
                 qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + NANOSECONDS_PER_HOUR);
    throttle_group_co_io_limits_intercept(&member, 4096, 1);
    timer_del(&member.write_timer);
    cfix_fetch_sub(&waiting, 1u);
}

static void wait_drained(void *opaque)
{
    blk_wait_while_drained(&backend);
    cfix_fetch_sub(&waiting, 1u);
}

static void wait_drain(void *opaque)
{
    bdrv_co_yield_to_drain(&drained_node);
    cfix_fetch_sub(&waiting, 1u);
}

static void wait_nbd(void *opaque)
{
    nbd_receive_replies(&nbd);
    cfix_fetch_sub(&waiting, 1u);
}

static void wait_graph(void *opaque)
{
    bdrv_graph_co_rdlock();
    bdrv_graph_co_rdunlock();
    cfix_fetch_sub(&waiting, 1u);
}

static void (*const waiters[])(void *opaque) = {
    wait_worker, wait_rwlock, wait_request,  wait_fd,
    wait_paused, wait_asleep, wait_throttle, wait_drained,
    wait_drain,  wait_nbd,    wait_graph,
};

#define WAITERS ((int)(sizeof(waiters) / sizeof(waiters[0])))

static void begin_bh(void *opaque)
{
    for (int i = 0; i < WAITERS; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(waiters[i], NULL));
    }
}

static void write_bh(void *opaque)
{
    bdrv_graph_wrlock();
    cfix_store(&writing, true);
}

static bool is_writing(void *opaque)
{
    return cfix_load(&writing);
}

static void run_waits(struct world *world)
{
    step_check(pipe(pipe_fds) == 0, "a pipe");
    qemu_co_rwlock_init(&rwlock);
    qemu_co_queue_init(&first_request.wait_queue);
    qemu_co_queue_init(&backend.queued_requests);
    aio_bh_schedule_oneshot(iohandler_get_aio_context(), "write_bh", write_bh,
                            NULL);
    watch_until("the main thread has the graph lock", is_writing, NULL);
    cfix_store(&waiting, (unsigned)WAITERS);
    aio_bh_schedule_oneshot(world->io1->ctx, "begin_bh", begin_bh, NULL);
    step_iothread_rests(world->io1);
    step_main_rests(world);
    step_check(cfix_load(&waiting) == (unsigned)WAITERS, "all wait");
}

static void end_bh(void *opaque)
{
    step_check(write(pipe_fds[1], "", 1) == 1, "the pipe takes a byte");
    job_enter(&paused_job);
    job_enter(&sleeping_job);
    qemu_co_queue_next(&member.throttled_reqs[1]);
    qemu_co_queue_next(&backend.queued_requests);
    bdrv_co_drain_done();
    aio_co_wake(nbd.receiver);
    thread_pool_done();
}

static void unlock_bh(void *opaque)
{
    bdrv_graph_wrunlock();
}

static bool nobody_waits(void *opaque)
{
    return cfix_load(&waiting) == 0;
}

static void release_waits(struct world *world)
{
    aio_bh_schedule_oneshot(world->io1->ctx, "end_bh", end_bh, NULL);
    aio_bh_schedule_oneshot(iohandler_get_aio_context(), "unlock_bh", unlock_bh,
                            NULL);
    watch_until("nobody waits any more", nobody_waits, NULL);
    step_iothread_rests(world->io1);
    qemu_co_mutex_destroy(&rwlock.mutex);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

const struct scenario sc_waits_table[] = {
    {
        .name = "waits",
        .about = "a coroutine waits for each kind of thing",
        .coroutines = 12,
        .fixed = true,
        .run = run_waits,
        .release = release_waits,
    },
    { .name = NULL },
};
