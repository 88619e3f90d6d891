/* Parking coroutines in several places, as many as asked for.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "park.h"

#include <stdlib.h>

#include "co_sleep.h"
#include "runtime/aio_wait.h"
#include "scenario.h"

#define NANOSECONDS_PER_HOUR 3600000000000LL
#define NANOSECONDS_PER_MINUTE 60000000000LL

/* One coroutine; `sleep` only for those that sleep. */
struct parked {
    unsigned index;
    struct Coroutine *co;
    struct QemuCoSleep sleep;
};

/* All is done in the iothread but for `count` and `left`. */
static struct parked *all_parked;
static unsigned parked_count;
static unsigned parked_left;
static struct CoQueue parked_queue;
static struct CoMutex parked_mutex;

static __attribute__((noinline)) void park_in_queue(void)
{
    qemu_co_queue_wait_impl(&parked_queue, NULL);
}

/* The first one takes the mutex and yields with it; the others wait for it. */
static __attribute__((noinline)) void park_in_mutex(bool first)
{
    qemu_co_mutex_lock(&parked_mutex);
    if (first) {
        qemu_coroutine_yield();
    }
    qemu_co_mutex_unlock(&parked_mutex);
}

static __attribute__((noinline)) void park_in_yield(void)
{
    qemu_coroutine_yield();
}

static __attribute__((noinline)) void park_in_sleep(struct parked *parked)
{
    qemu_co_sleep_ns_wakeable(&parked->sleep, QEMU_CLOCK_REALTIME,
                              NANOSECONDS_PER_HOUR + parked->index);
}

static void park_co_entry(void *opaque)
{
    struct parked *parked = opaque;

    switch (parked->index % 4) {
    case 0:
        park_in_queue();
        break;
    case 1:
        park_in_mutex(parked->index == 1);
        break;
    case 2:
        park_in_yield();
        break;
    default:
        park_in_sleep(parked);
    }
    cfix_fetch_sub(&parked_left, 1u);
}

static void park_bh(void *opaque)
{
    for (unsigned i = 0; i < parked_count; i++) {
        struct parked *parked = &all_parked[i];

        parked->index = i;
        parked->co = qemu_coroutine_create(park_co_entry, parked);
        qemu_coroutine_enter(parked->co);
    }
}

void park_coroutines(struct IOThread *iothread, unsigned count)
{
    if (count) {
        all_parked = cfix_zalloc(count * sizeof(*all_parked));
        parked_count = count;
        cfix_store(&parked_left, count);
        qemu_co_queue_init(&parked_queue);
        qemu_co_mutex_init(&parked_mutex);
        aio_bh_schedule_oneshot(iothread->ctx, "park_bh", park_bh, NULL);
    }
    step_iothread_rests(iothread);
}

/* The others behind the mutex follow the first. */
static void park_release_bh(void *opaque)
{
    for (unsigned i = 0; i < parked_count; i++) {
        struct parked *parked = &all_parked[i];

        if (i % 4 == 3) {
            qemu_co_sleep_wake(&parked->sleep);
        } else if (i == 1 || i % 4 == 2) {
            aio_co_wake(parked->co);
        }
    }
    qemu_co_queue_restart_all(&parked_queue);
    aio_wait_kick();
}

void park_release(struct IOThread *iothread)
{
    if (!parked_count) {
        return;
    }
    aio_bh_schedule_oneshot(iothread->ctx, "park_release_bh", park_release_bh,
                            NULL);
    AIO_WAIT_WHILE(cfix_load(&parked_left) > 0);
    qemu_co_mutex_destroy(&parked_mutex);
    free(all_parked);
}

static struct QEMUTimer *all_timers;
static unsigned timer_count;

static void parked_timer_cb(void *opaque)
{
}

void park_timers(struct IOThread *iothread, unsigned count)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    all_timers = cfix_zalloc((count + 1) * sizeof(*all_timers));
    timer_count = count;
    for (unsigned i = 0; i < count; i++) {
        timer_init(&all_timers[i], iothread->ctx->tlg.tl[QEMU_CLOCK_REALTIME],
                   parked_timer_cb, NULL);
        timer_mod_ns(&all_timers[i],
                     now + (3 + i) * NANOSECONDS_PER_MINUTE);
    }
    step_iothread_rests(iothread);
}

void park_release_timers(void)
{
    for (unsigned i = 0; i < timer_count; i++) {
        timer_del(&all_timers[i]);
    }
    free(all_timers);
}

struct CoQueue *park_queue(void)
{
    return &parked_queue;
}
