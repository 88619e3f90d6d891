/* Scenarios of waits by polling: met and not kicked, or still open.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <sys/epoll.h>
#include <unistd.h>

#include "atomics.h"
#include "bql.h"
#include "runtime/aio_wait.h"
#include "scenario.h"
#include "waits.h"
#include "watch.h"

/* ---- util/fdmon-epoll.c ---- */

/* The kernel restarts a ppoll() that a stop has interrupted, but no
 * epoll_wait(): that comes back with EINTR (signal(7)), and whoever waits looks
 * at its condition again. */
static int fdmon_epoll_wait(struct AioContext *ctx, int64_t timeout)
{
    struct pollfd fds[AIO_MAX_HANDLERS + 1];
    unsigned nfds = aio_fill_pollfds(ctx, fds, 0);
    struct epoll_event event = { .events = EPOLLIN };
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    for (unsigned i = 0; i < nfds; i++) {
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i].fd, &event) < 0) {
            watch_fail("cannot add a descriptor to an epoll");
        }
    }
    int ret = epoll_wait(epoll, &event, 1,
                         timeout < 0 ? -1 : (int)(timeout / 1000000));
    close(epoll);
    if (ret > 0) {
        qemu_poll_ns(fds, nfds, 0);
        aio_take_revents(ctx, fds, 0);
    }
    return ret;
}

static const struct FDMonOps fdmon_epoll_ops = {
    .wait = fdmon_epoll_wait,
};

/* Whether the main thread's nested polls are by epoll. */
static bool by_epoll;

static void choose_poll(void)
{
    if (by_epoll) {
        qemu_get_aio_context()->fdmon_ops = &fdmon_epoll_ops;
    }
}

/* ---- util/aio-wait.c ---- */

typedef struct {
    bool done;
    void (*cb)(void *opaque);
    void *opaque;
} AioWaitBHData;

/* Whether aio_wait_bh() keeps its side of the bargain. */
static bool kicks;

static void aio_wait_bh(void *opaque)
{
    AioWaitBHData *data = opaque;

    data->cb(data->opaque);
    cfix_store(&data->done, true);
    if (kicks) {
        aio_wait_kick();
    }
}

static __attribute__((noinline)) void
aio_wait_bh_oneshot(struct AioContext *ctx, void (*cb)(void *opaque),
                    void *opaque)
{
    AioWaitBHData data = { .cb = cb, .opaque = opaque };

    aio_bh_schedule_oneshot(ctx, "aio_wait_bh", aio_wait_bh, &data);
    AIO_WAIT_WHILE(!cfix_load(&data.done));
}

static int called;

static void called_in_iothread(void *opaque)
{
    cfix_fetch_add(&called, 1);
}

static void qmp_x_call(void *opaque)
{
    struct world *world = opaque;

    choose_poll();
    aio_wait_bh_oneshot(world->io0->ctx, called_in_iothread, NULL);
    world->add.bs = NULL; /* no tail call */
}

static const struct QmpCommand qmp_x_call_command = { "x-call", qmp_x_call };

static bool was_called(void *opaque)
{
    return cfix_load(&called) > 0;
}

/* The call is not to be over before the main thread sleeps. */
static int io0_held;

static void io0_waits(void *opaque)
{
    struct world *world = opaque;

    cfix_store(&io0_held, 1);
    step_main_waits(world);
}

static bool is_held(void *opaque)
{
    return cfix_load(&io0_held);
}

static void call(struct world *world, bool kick)
{
    kicks = kick;
    aio_bh_schedule_oneshot(world->io0->ctx, "io0_waits", io0_waits, world);
    watch_until("io0 waits for the main thread", is_held, NULL);
    qmp_send(&qmp_x_call_command, world);
    watch_until("io0 has run the call", was_called, NULL);
}

static void run_condition_met(struct world *world)
{
    call(world, false);
    step_iothread_rests(world->io0);
    step_main_waits(world);
    step_check(!qmp_returned(), "the call hangs");
}

static void run_condition_met_twin(struct world *world)
{
    call(world, true);
    step_went_on(world);
}

static void run_stop_cures(struct world *world)
{
    by_epoll = true;
    run_condition_met(world);
}

/* ---- block/io.c ---- */

static struct BlockDriverState *drained;

/* The parent that requests come from. */
static struct BlockBackend backend;

static bool blk_root_drained_poll(struct BdrvChild *child)
{
    struct BlockBackend *blk = child->opaque;

    return (blk->dev_ops && blk->dev_ops->drained_poll(blk->dev_opaque)) ||
           cfix_load(&blk->in_flight);
}

static const struct BdrvChildClass child_root = {
    .drained_poll = blk_root_drained_poll,
};

static bool bdrv_drain_poll(struct BlockDriverState *bs)
{
    struct BdrvChild *c;
    bool busy = false;

    LIST_FOREACH(c, &bs->parents, next_parent)
    {
        busy |= c->klass->drained_poll && c->klass->drained_poll(c);
    }
    return busy || cfix_load(&bs->in_flight);
}

static __attribute__((noinline)) void
bdrv_do_drained_begin(struct BlockDriverState *bs, struct BdrvChild *parent,
                      bool poll)
{
    bs->quiesce_counter++;
    if (poll) {
        AIO_WAIT_WHILE(bdrv_drain_poll(bs));
    }
    bs->quiesce_counter--;
    __asm__ volatile("" : : "r"(parent), "r"(bs));
}

static void bdrv_dec_in_flight(void *opaque)
{
    cfix_fetch_sub(&backend.in_flight, 1u);
    cfix_fetch_sub(&drained->in_flight, 1u);
    if (kicks) {
        aio_wait_kick();
    }
}

static void qmp_x_drain(void *opaque)
{
    choose_poll();
    bql_lock_impl();
    bdrv_do_drained_begin(drained, NULL, true);
    bql_unlock();
}

static const struct QmpCommand qmp_x_drain_command = { "x-drain", qmp_x_drain };

/* ---- block/block-backend.c ---- */

static struct Coroutine *request;

static __attribute__((noinline)) void bdrv_co_preadv(void)
{
    qemu_coroutine_yield();
    __asm__ volatile("" : : "r"(request));
}

static void blk_aio_read_entry(void *opaque)
{
    bdrv_co_preadv();
    bdrv_dec_in_flight(NULL);
}

/* A node is drained while a request of a parent is counted. */
static void drain(struct world *world, bool kick)
{
    static struct BdrvChild link = { .klass = &child_root, .opaque = &backend };

    kicks = kick;
    step_open_node(world, 0);
    drained = world->add.bs;
    link.bs = drained;
    LIST_INSERT_HEAD(&drained->parents, &link, next_parent);
    cfix_fetch_add(&drained->in_flight, 1u);
    cfix_fetch_add(&backend.in_flight, 1u);
    qmp_send(&qmp_x_drain_command, NULL);
    step_main_waits(world);
}

static void run_drain_unkicked(struct world *world)
{
    drain(world, false);
    aio_bh_schedule_oneshot(world->io0->ctx, "bdrv_dec_in_flight",
                            bdrv_dec_in_flight, NULL);
    step_iothread_rests(world->io0);
    step_main_waits(world);
    step_check(!qmp_returned(), "the drain hangs");
}

static bool x_drained_poll(void *opaque)
{
    return *(bool *)opaque;
}

static void run_drain_unread(struct world *world)
{
    static const struct BlockDevOps ops = { .drained_poll = x_drained_poll };
    static bool busy = false;

    backend.dev_opaque = &busy;
    backend.dev_ops = &ops;
    run_drain_unkicked(world);
}

/* The same, and a coroutine has that request. */
static void drain_request(struct world *world)
{
    request = qemu_coroutine_create(blk_aio_read_entry, NULL);
    aio_co_schedule(world->io0->ctx, request);
    drain(world, true);
    step_iothread_rests(world->io0);
}

static void run_drain_waiting(struct world *world)
{
    drain_request(world);
}

static void run_request_lost(struct world *world)
{
    drain(world, true);
    step_check(!qmp_returned(), "the drain hangs");
}

static void run_stop_cures_twin(struct world *world)
{
    by_epoll = true;
    run_drain_waiting(world);
}

static void *mttcg_cpu_thread_fn(void *opaque)
{
    cfix_store((int *)opaque, qemu_get_thread_id());
    bql_lock_impl();
    bql_unlock();
    return NULL;
}

static struct QemuThread vcpu;
static int vcpu_tid;

static bool vcpu_waits(void *opaque)
{
    return cfix_load(&vcpu_tid) && watch_in_futex(cfix_load(&vcpu_tid));
}

static void run_bql_asleep(struct world *world)
{
    drain_request(world);
    qemu_thread_create(&vcpu, "CPU 0/TCG", mttcg_cpu_thread_fn, &vcpu_tid);
    watch_until("the vCPU waits for the BQL", vcpu_waits, NULL);
}

static void release_drain(struct world *world)
{
    aio_co_wake(request);
    step_went_on(world);
    if (vcpu_tid) {
        qemu_thread_join(&vcpu);
    }
    LIST_INIT(&drained->parents);
}

const struct scenario sc_poll_table[] = {
    {
        .name = "condition-met",
        .about = "done is set, and its waiter was not kicked",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_condition_met,
    },
    {
        .name = "condition-met-twin",
        .about = "the same, and kicked",
        .coroutines = 1,
        .run = run_condition_met_twin,
    },
    {
        .name = "drain-unkicked",
        .about = "the last request has ended, the drain was not kicked",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_drain_unkicked,
    },
    {
        .name = "drain-unread",
        .about = "the same; a device has a say that qhang can't read",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_drain_unread,
    },
    {
        .name = "drain-waiting",
        .about = "a drain waits for a request that is in flight",
        .coroutines = 2,
        .run = run_drain_waiting,
        .release = release_drain,
    },
    {
        .name = "request-lost",
        .about = "the same, but that nobody has the request",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_request_lost,
    },
    {
        .name = "stop-cures",
        .about = "as condition-met; a stop ends the poll, and the hang",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_stop_cures,
    },
    {
        .name = "stop-cures-twin",
        .about = "as drain-waiting; a stop ends the poll, not the wait",
        .coroutines = -1, /* one may be on its way out */
        .run = run_stop_cures_twin,
        .release = release_drain,
    },
    {
        .name = "bql-asleep",
        .about = "the BQL's owner polls, a vCPU waits for the BQL",
        .coroutines = 2,
        .run = run_bql_asleep,
        .release = release_drain,
    },
    { .name = NULL },
};
