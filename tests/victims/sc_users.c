/* Scenarios of the sleep's other users: block-copy and co-timeout.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>

#include "atomics.h"
#include "co_sleep.h"
#include "hold.h"
#include "runtime/thread.h"
#include "scenario.h"
#include "watch.h"

#define SECOND_NS INT64_C(1000000000)

/* ---- block/block-copy.c ---- */

typedef struct BlockCopyCallState {
    struct Coroutine *co;
    bool finished;
    struct QemuCoSleep sleep;
    bool cancelled;
    int64_t ns;
} BlockCopyCallState;

static int copy_ended;

static __attribute__((noinline)) void
block_copy_dirty_clusters(BlockCopyCallState *call_state)
{
    while (!cfix_load(&call_state->cancelled)) {
        qemu_co_sleep_ns_wakeable(&call_state->sleep, QEMU_CLOCK_REALTIME,
                                  call_state->ns);
    }
}

static void block_copy_async_co_entry(void *opaque)
{
    BlockCopyCallState *call_state = opaque;

    block_copy_dirty_clusters(call_state);
    cfix_store(&call_state->finished, true);
    cfix_store(&copy_ended, 1);
}

static void block_copy_kick(BlockCopyCallState *call_state)
{
    qemu_co_sleep_wake(&call_state->sleep);
}

static void block_copy_call_cancel(BlockCopyCallState *call_state)
{
    cfix_store(&call_state->cancelled, true);
    block_copy_kick(call_state);
}

static bool has_ended(void *opaque)
{
    return cfix_load(&copy_ended);
}

static BlockCopyCallState state;

static void create_copy(struct world *world, void (*entry)(void *))
{
    state.ns = (int64_t)world->interval * SECOND_NS;
    state.co = qemu_coroutine_create(entry, &state);
}

/* It is cancelled when it is about to arm, by another thread. */
static void cancel_before_arm(struct IOThread *iothread)
{
    hold_arm(CFIX_SLEEP_BEFORE_ARM, iothread->thread_id, HOLD_SLEEP);
    aio_co_schedule(iothread->ctx, state.co);
    hold_wait(CFIX_SLEEP_BEFORE_ARM);
    block_copy_call_cancel(&state);
    hold_release(CFIX_SLEEP_BEFORE_ARM);
}

static void copy_lost_in(struct IOThread *iothread)
{
    cancel_before_arm(iothread);
    step_iothread_rests(iothread);
    step_check(!has_ended(NULL) && state.sleep.to_wake == state.co,
               "cancelled, and armed");
}

static void run_copy_lost(struct world *world)
{
    create_copy(world, block_copy_async_co_entry);
    copy_lost_in(world->io0);
}

static void release_copy(struct world *world)
{
    if (!has_ended(NULL)) {
        block_copy_kick(&state);
    }
    watch_until("the copy has ended", has_ended, NULL);
    step_iothread_rests(world->io0);
}

static void run_copy_twin(struct world *world)
{
    create_copy(world, block_copy_async_co_entry);
    cancel_before_arm(world->io0);
    watch_until("the copy has ended", has_ended, NULL);
    step_iothread_rests(world->io0);
}

/* ---- util/qemu-co-timeout.c ---- */

typedef struct QemuCoTimeoutState {
    void (*entry)(void *opaque);
    void *opaque;
    struct QemuCoSleep sleep_state;
    bool marker;
} QemuCoTimeoutState;

/* NULL again when its sleep is over. */
static QemuCoTimeoutState *timed;
/* What is timed, and who waits for it. */
static int timeout_ended;

static void qemu_co_timeout_entry(void *opaque)
{
    QemuCoTimeoutState *s = opaque;

    s->entry(s->opaque);
    s->marker = true;
    qemu_co_sleep_wake(&s->sleep_state);
    cfix_fetch_add(&timeout_ended, 1);
}

/* The one that is timed runs in io1, so that it may end before the timeout is
 * armed in io0. */
static __attribute__((noinline)) int qemu_co_timeout(void (*entry)(void *),
                                                     void *opaque,
                                                     struct AioContext *where,
                                                     int64_t timeout_ns)
{
    QemuCoTimeoutState *s = calloc(1, sizeof(*s));

    if (!s) {
        watch_fail("calloc");
    }
    s->entry = entry;
    s->opaque = opaque;
    cfix_store(&timed, s);
    aio_co_schedule(where, qemu_coroutine_create(qemu_co_timeout_entry, s));
    qemu_co_sleep_ns_wakeable(&s->sleep_state, QEMU_CLOCK_REALTIME, timeout_ns);
    cfix_store(&timed, NULL);
    int ret = s->marker ? 0 : -1;
    free(s);
    return ret;
}

static void nothing_to_do(void *opaque)
{
}

static void timed_co_entry(void *opaque)
{
    struct world *world = opaque;

    qemu_co_timeout(nothing_to_do, NULL, world->io1->ctx,
                    (int64_t)world->interval * SECOND_NS);
    cfix_fetch_add(&timeout_ended, 1);
}

static bool entry_ended(void *opaque)
{
    return cfix_load(&timeout_ended) >= 1;
}

static bool both_ended(void *opaque)
{
    return cfix_load(&timeout_ended) == 2;
}

static void end_before_arm(struct world *world)
{
    hold_arm(CFIX_SLEEP_BEFORE_ARM, world->io0->thread_id, HOLD_SLEEP);
    aio_co_schedule(world->io0->ctx,
                    qemu_coroutine_create(timed_co_entry, world));
    hold_wait(CFIX_SLEEP_BEFORE_ARM);
    watch_until("what is timed has ended", entry_ended, NULL);
    step_iothread_rests(world->io1);
    hold_release(CFIX_SLEEP_BEFORE_ARM);
}

static void run_timeout_lost(struct world *world)
{
    end_before_arm(world);
    step_iothread_rests(world->io0);
    step_check(!both_ended(NULL), "the timeout is waited for");
}

static void release_timeout(struct world *world)
{
    QemuCoTimeoutState *s = cfix_load(&timed);

    if (s) {
        qemu_co_sleep_wake(&s->sleep_state);
    }
    watch_until("the timeout has ended", both_ended, NULL);
    step_iothread_rests(world->io0);
}

static void run_timeout_twin(struct world *world)
{
    end_before_arm(world);
    watch_until("the timeout has ended", both_ended, NULL);
    step_iothread_rests(world->io0);
}

/* ---- both ---- */

static void run_two_lost(struct world *world)
{
    run_copy_lost(world);
    run_timeout_lost(world);
}

static void release_two(struct world *world)
{
    release_copy(world);
    release_timeout(world);
}

static struct BDRVQcow2State *copied;

static void copy_under_lock(void *opaque)
{
    qemu_co_mutex_lock(&copied->lock);
    block_copy_async_co_entry(opaque);
    qemu_co_mutex_unlock(&copied->lock);
}

/* The main thread waits for the cleaner, which will wait for the copy. The
 * copy's stack is the older one, so that it is the second to be found. */
static void run_lost_behind_lost(struct world *world)
{
    create_copy(world, copy_under_lock);
    step_wake_before_arm(world);
    step_main_waits(world);
    step_iothread_rests(world->io0);
    copied = step_qcow2(world);
    copy_lost_in(world->io1);
}

const struct scenario sc_users_table[] = {
    {
        .name = "copy-lost",
        .about = "a rate-limited copy is cancelled before it had armed",
        .coroutines = 2,
        .interval = LONG_SLEEP,
        .run = run_copy_lost,
        .release = release_copy,
    },
    {
        .name = "copy-twin",
        .about = "the same interleaving, fixed primitive",
        .coroutines = 1,
        .fixed = true,
        .interval = LONG_SLEEP,
        .run = run_copy_twin,
    },
    {
        .name = "timeout-lost",
        .about = "what has a timeout ends before the timeout had armed",
        .coroutines = 2,
        .interval = LONG_SLEEP,
        .run = run_timeout_lost,
        .release = release_timeout,
    },
    {
        .name = "timeout-twin",
        .about = "the same interleaving, fixed primitive",
        .coroutines = 1,
        .fixed = true,
        .interval = LONG_SLEEP,
        .run = run_timeout_twin,
    },
    {
        .name = "two-lost",
        .about = "both a copy and a timeout wait for their timers",
        .coroutines = 3,
        .interval = LONG_SLEEP,
        .run = run_two_lost,
        .release = release_two,
    },
    {
        .name = "lost-behind-lost",
        .about = "a cleaner, behind the lock of a copy; both sleep on",
        .coroutines = 4,
        .end = END_STUCK,
        .interval = LONG_SLEEP,
        .run = run_lost_behind_lost,
    },
    { .name = NULL },
};
