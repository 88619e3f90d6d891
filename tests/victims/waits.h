/* The kinds of waits that the runtime itself lacks, with QEMU's names.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VICTIMS_WAITS_H
#define VICTIMS_WAITS_H

#include "runtime/co_lock.h"
#include "runtime/timer.h"

/* Enough of each for a coroutine to wait on it, and for an observer to find
 * out: the names of types, members and functions are those of QEMU, the code
 * is not. All run in one iothread. */

/* util/qemu-coroutine-lock.c; one who waits, on that one's stack. */
struct CoRwTicket {
    bool read;
    struct Coroutine *co;
    SIMPLEQ_ENTRY(CoRwTicket) next;
};

/* `owners`: readers, or -1 for a writer. */
struct CoRwlock {
    struct CoMutex mutex;
    int owners;
    SIMPLEQ_HEAD(, CoRwTicket) tickets;
};

void qemu_co_rwlock_init(struct CoRwlock *lock);
void qemu_co_rwlock_rdlock(struct CoRwlock *lock);
void qemu_co_rwlock_wrlock(struct CoRwlock *lock);
void qemu_co_rwlock_unlock(struct CoRwlock *lock);

/* util/qemu-coroutine-io.c */
void yield_until_fd_readable(int fd);

/* util/thread-pool.c: there is no pool; thread_pool_done() says that it has
 * done its work. */
struct ThreadPoolCo {
    struct Coroutine *co;
    int ret;
};
int thread_pool_submit_co(void);
void thread_pool_done(void);

/* job.c */
struct Job {
    const char *id;
    struct Coroutine *co;
    int pause_count;
    bool paused;
    bool cancelled;
    struct QEMUTimer sleep_timer;
};
void job_init(struct Job *job, const char *id);
void job_pause_point(struct Job *job);
void job_sleep_ns(struct Job *job, int64_t ns);
void job_enter(struct Job *job);

/* block/throttle-groups.c */
struct ThrottleGroupMember {
    struct CoQueue throttled_reqs[2];
    unsigned restart_pending;
    /* The members with the same one are a group; here, one each. */
    struct ThrottleState *throttle_state;
    unsigned pending_reqs[2];
    struct QEMUTimer write_timer;
};
/* In the thread that is to run its timer. */
void throttle_group_register_tgm(struct ThrottleGroupMember *tgm);
/* Without the timer nothing lets a request go, but the one who says so. */
void throttle_group_co_io_limits_intercept(struct ThrottleGroupMember *tgm,
                                           int64_t bytes, int direction);

/* block/block-backend.c */
struct BlockDevOps {
    bool (*drained_poll)(void *opaque);
};
struct BlockBackend {
    const char *name;
    const struct BlockDevOps *dev_ops;
    void *dev_opaque;
    unsigned in_flight;
    int quiesce_counter;
    struct CoQueue queued_requests;
};
void blk_wait_while_drained(struct BlockBackend *blk);

/* block/io.c */
struct BdrvTrackedRequest {
    struct Coroutine *co;
    struct CoQueue wait_queue;
    struct BdrvTrackedRequest *waiting_for;
};
void bdrv_wait_serialising_requests_locked(struct BdrvTrackedRequest *self,
                                           struct BdrvTrackedRequest *other);

struct BlockDriverState;
struct BdrvCoDrainData {
    struct Coroutine *co;
    struct BlockDriverState *bs;
    bool done;
};
void bdrv_co_yield_to_drain(struct BlockDriverState *bs);
void bdrv_co_drain_done(void);

/* block/nbd.c */
struct BDRVNBDState {
    struct Coroutine *receiver;
};
void nbd_receive_replies(struct BDRVNBDState *s);

#endif
