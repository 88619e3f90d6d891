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

static int ended;

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
    cfix_store(&ended, 1);
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
    return cfix_load(&ended);
}

static BlockCopyCallState state;

/* It is cancelled when it is about to arm, by another thread. */
static void cancel_before_arm(struct world *world)
{
    state.ns = (int64_t)world->interval * SECOND_NS;
    state.co = qemu_coroutine_create(block_copy_async_co_entry, &state);
    hold_arm(CFIX_SLEEP_BEFORE_ARM, world->io0->thread_id, HOLD_SLEEP);
    aio_co_schedule(world->io0->ctx, state.co);
    hold_wait(CFIX_SLEEP_BEFORE_ARM);
    block_copy_call_cancel(&state);
    hold_release(CFIX_SLEEP_BEFORE_ARM);
}

void run_copy_lost(struct world *world)
{
    cancel_before_arm(world);
    step_iothread_rests(world->io0);
    step_check(!has_ended(NULL) && state.sleep.to_wake == state.co,
               "cancelled, and armed");
}

void release_copy(struct world *world)
{
    block_copy_kick(&state);
    watch_until("the copy has ended", has_ended, NULL);
    step_iothread_rests(world->io0);
}

void run_copy_twin(struct world *world)
{
    cancel_before_arm(world);
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

static QemuCoTimeoutState *timed;

static void qemu_co_timeout_entry(void *opaque)
{
    QemuCoTimeoutState *s = opaque;

    s->entry(s->opaque);
    s->marker = true;
    qemu_co_sleep_wake(&s->sleep_state);
    cfix_fetch_add(&ended, 1);
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
    timed = s;
    aio_co_schedule(where, qemu_coroutine_create(qemu_co_timeout_entry, s));
    qemu_co_sleep_ns_wakeable(&s->sleep_state, QEMU_CLOCK_REALTIME, timeout_ns);
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
    cfix_fetch_add(&ended, 1);
}

static bool entry_ended(void *opaque)
{
    return cfix_load(&ended) >= 1;
}

static bool both_ended(void *opaque)
{
    return cfix_load(&ended) == 2;
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

void run_timeout_lost(struct world *world)
{
    end_before_arm(world);
    step_iothread_rests(world->io0);
    step_check(!both_ended(NULL), "the timeout is waited for");
}

void release_timeout(struct world *world)
{
    qemu_co_sleep_wake(&timed->sleep_state);
    watch_until("the timeout has ended", both_ended, NULL);
    step_iothread_rests(world->io0);
}

void run_timeout_twin(struct world *world)
{
    end_before_arm(world);
    watch_until("the timeout has ended", both_ended, NULL);
    step_iothread_rests(world->io0);
}
