/* A scenario in which everybody works, as hard as they can.
 * SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Every kind of wait and wake that the runtime has, in three threads at once:
 * the main thread opens a node into an iothread and closes it (waits, kicks,
 * the graph lock for writing, a cleaner that is started and stopped), round
 * after round; coroutines in both iothreads read-lock the graph, contend for
 * one CoMutex, sleep for microseconds, and wake each other's sleep across
 * threads.  With the fixed primitives, so nothing of it may ever hang.
 */
#include <stdlib.h>

#include "atomics.h"
#include "co_sleep.h"
#include "graph_lock.h"
#include "runtime/main_loop.h"
#include "scenario.h"
#include "watch.h"

#define WORKERS 8
#define ROUNDS_UNTIL_READY 20

struct worker {
    unsigned index;
    unsigned rounds;
    struct QemuCoSleep sleep;
};

static struct worker workers[WORKERS];
static struct CoMutex busy_mutex;
static struct AioContext *node_ctx;
static unsigned busy_left;
static unsigned main_rounds;
static bool stop;

/* From 0 to 2 ms, differently for each, so that they drift past each other;
 * and long enough for the writer to find an instant without a reader. */
static int64_t nap_ns(const struct worker *worker)
{
    return (worker->rounds * (2 * worker->index + 3)) % 128 * 16000;
}

static void busy_co_entry(void *opaque)
{
    struct worker *worker = opaque;
    struct worker *next = &workers[(worker->index + 1) % WORKERS];

    while (!cfix_load(&stop)) {
        bdrv_graph_co_rdlock();
        qemu_co_mutex_lock(&busy_mutex);
        worker->rounds++;
        qemu_co_mutex_unlock(&busy_mutex);
        bdrv_graph_co_rdunlock();
        qemu_co_sleep_ns_wakeable(&worker->sleep, QEMU_CLOCK_REALTIME,
                                  nap_ns(worker));
        qemu_co_sleep_wake(&next->sleep);
    }
    cfix_fetch_sub(&busy_left, 1u);
}

static void busy_main_bh(void *opaque)
{
    bdrv_unref(bdrv_open("busy", node_ctx, 600));
    cfix_fetch_add(&main_rounds, 1u);
    if (cfix_load(&stop)) {
        cfix_fetch_sub(&busy_left, 1u);
        return;
    }
    aio_bh_schedule_oneshot(iohandler_get_aio_context(), "busy_main_bh",
                            busy_main_bh, NULL);
}

static bool worked(void *opaque)
{
    return cfix_load(&main_rounds) >= ROUNDS_UNTIL_READY;
}

static void run_busy(struct world *world)
{
    qemu_co_mutex_init(&busy_mutex);
    node_ctx = world->io0->ctx;
    cfix_store(&busy_left, WORKERS + 1);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct IOThread *iothread = i % 2 ? world->io1 : world->io0;

        workers[i].index = i;
        aio_co_schedule(iothread->ctx,
                        qemu_coroutine_create(busy_co_entry, &workers[i]));
    }
    aio_bh_schedule_oneshot(iohandler_get_aio_context(), "busy_main_bh",
                            busy_main_bh, NULL);
    watch_until("the main thread works", worked, NULL);
}

static bool all_ended(void *opaque)
{
    return cfix_load(&busy_left) == 0;
}

static void release_busy(struct world *world)
{
    cfix_store(&stop, true);
    watch_until("all work has ended", all_ended, NULL);
    for (unsigned i = 0; i < WORKERS; i++) {
        step_check(workers[i].rounds > 0, "every coroutine has worked");
    }
    qemu_co_mutex_destroy(&busy_mutex);
}

const struct scenario sc_busy_table[] = {
    {
        .name = "busy",
        .about = "all threads at work: nodes opened and closed, wakes",
        .coroutines = -1,
        .fixed = true,
        .interval = LONG_SLEEP,
        .run = run_busy,
        .release = release_busy,
    },
    { .name = NULL },
};
