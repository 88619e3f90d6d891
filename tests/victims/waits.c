/* The kinds of waits that the runtime itself lacks, with QEMU's names.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "waits.h"

#include <errno.h>

#include "atomics.h"
#include "runtime/aio.h"
#include "runtime/window.h"
#include "scenario.h"

/* An observer finds out what a function waits for from its frame, so none may
 * be without one. */
#define WITH_FRAME __attribute__((noinline, noclone))

/* One thread has all of this, so the lock is for its frame only. */
static struct QemuMutex queue_lock = { PTHREAD_MUTEX_INITIALIZER, true };

static void wait_in(struct CoQueue *queue)
{
    qemu_mutex_lock(&queue_lock);
    qemu_co_queue_wait_impl(queue, QEMU_MUTEX_LOCKABLE(&queue_lock));
    qemu_mutex_unlock(&queue_lock);
}

void qemu_co_rwlock_init(struct CoRwlock *lock)
{
    qemu_co_mutex_init(&lock->mutex);
    lock->owners = 0;
    SIMPLEQ_INIT(&lock->tickets);
}

WITH_FRAME void qemu_co_rwlock_rdlock(struct CoRwlock *lock)
{
    struct CoRwTicket ticket = { .read = true, .co = qemu_coroutine_self() };

    qemu_co_mutex_lock(&lock->mutex);
    if (lock->owners >= 0 && SIMPLEQ_EMPTY(&lock->tickets)) {
        lock->owners++;
        qemu_co_mutex_unlock(&lock->mutex);
        return;
    }
    SIMPLEQ_INSERT_TAIL(&lock->tickets, &ticket, next);
    qemu_co_mutex_unlock(&lock->mutex);
    qemu_coroutine_yield();
    step_check(cfix_load(&lock->owners) > 0, "it was counted as a reader");
}

/* Free when it is called, here. */
WITH_FRAME void qemu_co_rwlock_wrlock(struct CoRwlock *lock)
{
    qemu_co_mutex_lock(&lock->mutex);
    lock->owners = -1;
    qemu_co_mutex_unlock(&lock->mutex);
}

WITH_FRAME void qemu_co_rwlock_unlock(struct CoRwlock *lock)
{
    struct CoRwTicket *ticket;

    qemu_co_mutex_lock(&lock->mutex);
    lock->owners = lock->owners < 0 ? 0 : lock->owners - 1;
    ticket = SIMPLEQ_FIRST(&lock->tickets);
    if (ticket) {
        /* Counted here, so that nobody gets in before it. */
        SIMPLEQ_REMOVE_HEAD(&lock->tickets, next);
        lock->owners++;
    }
    qemu_co_mutex_unlock(&lock->mutex);
    if (ticket) {
        cfix_at(CFIX_RWLOCK_GRANTED);
        aio_co_wake(ticket->co);
    }
}

struct FDYieldUntilData {
    struct AioContext *ctx;
    struct Coroutine *co;
    int fd;
};

static void fd_coroutine_enter(void *opaque)
{
    struct FDYieldUntilData *data = opaque;

    aio_set_fd_handler(data->ctx, data->fd, NULL, NULL);
    qemu_coroutine_enter(data->co);
}

WITH_FRAME void yield_until_fd_readable(int fd)
{
    struct FDYieldUntilData data = { qemu_get_current_aio_context(),
                                     qemu_coroutine_self(), fd };

    aio_set_fd_handler(data.ctx, fd, fd_coroutine_enter, &data);
    qemu_coroutine_yield();
}

static struct ThreadPoolCo *submitted;

WITH_FRAME int thread_pool_submit_co(void)
{
    struct ThreadPoolCo tpc = { qemu_coroutine_self(), -EINPROGRESS };

    submitted = &tpc;
    qemu_coroutine_yield();
    return tpc.ret;
}

void thread_pool_done(void)
{
    submitted->ret = 0;
    aio_co_wake(submitted->co);
}

static void job_sleep_timer_cb(void *opaque)
{
    job_enter(opaque);
}

void job_init(struct Job *job, const char *id)
{
    struct QEMUTimerListGroup *tlg = &qemu_get_current_aio_context()->tlg;

    *job = (struct Job){ .id = id, .co = qemu_coroutine_self() };
    timer_init(&job->sleep_timer, tlg->tl[QEMU_CLOCK_REALTIME],
               job_sleep_timer_cb, job);
}

static WITH_FRAME void job_do_yield_locked(struct Job *job, uint64_t ns)
{
    if (ns != UINT64_MAX) {
        timer_mod_ns(&job->sleep_timer, (int64_t)ns);
    }
    qemu_coroutine_yield();
    timer_del(&job->sleep_timer);
}

WITH_FRAME void job_pause_point(struct Job *job)
{
    job->pause_count++;
    job->paused = true;
    job_do_yield_locked(job, UINT64_MAX);
    job->paused = false;
}

WITH_FRAME void job_sleep_ns(struct Job *job, int64_t ns)
{
    job_do_yield_locked(
        job, (uint64_t)(qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + ns));
    job->paused = false;
}

void job_enter(struct Job *job)
{
    aio_co_wake(job->co);
}

static WITH_FRAME void write_timer_cb(void *opaque)
{
    struct ThrottleGroupMember *tgm = opaque;

    cfix_at(CFIX_THROTTLE_FIRED);
    qemu_co_queue_next(&tgm->throttled_reqs[1]);
}

void throttle_group_register_tgm(struct ThrottleGroupMember *tgm)
{
    struct QEMUTimerListGroup *tlg = &qemu_get_current_aio_context()->tlg;

    qemu_co_queue_init(&tgm->throttled_reqs[1]);
    tgm->throttle_state = (struct ThrottleState *)tgm;
    timer_init(&tgm->write_timer, tlg->tl[QEMU_CLOCK_REALTIME], write_timer_cb,
               tgm);
}

WITH_FRAME void
throttle_group_co_io_limits_intercept(struct ThrottleGroupMember *tgm,
                                      int64_t bytes, int direction)
{
    tgm->pending_reqs[direction]++;
    wait_in(&tgm->throttled_reqs[direction]);
    tgm->pending_reqs[direction]--;
}

WITH_FRAME void blk_wait_while_drained(struct BlockBackend *blk)
{
    blk->quiesce_counter++;
    wait_in(&blk->queued_requests);
    blk->quiesce_counter--;
}

WITH_FRAME void
bdrv_wait_serialising_requests_locked(struct BdrvTrackedRequest *self,
                                      struct BdrvTrackedRequest *other)
{
    self->waiting_for = other;
    wait_in(&other->wait_queue);
    self->waiting_for = NULL;
}

static struct BdrvCoDrainData *draining;

WITH_FRAME void bdrv_co_yield_to_drain(struct BlockDriverState *bs)
{
    struct BdrvCoDrainData data = { .co = qemu_coroutine_self(), .bs = bs };

    draining = &data;
    qemu_coroutine_yield();
    draining = NULL;
}

void bdrv_co_drain_done(void)
{
    draining->done = true;
    aio_co_wake(draining->co);
}

WITH_FRAME void nbd_receive_replies(struct BDRVNBDState *s)
{
    s->receiver = qemu_coroutine_self();
    qemu_coroutine_yield();
    s->receiver = NULL;
}
