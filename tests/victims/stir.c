/* A process in which a stop stirs something up.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Nothing in user space tells of a tracer's stop, but that an epoll_wait()
 * comes back with EINTR from it (signal(7)). */
#include "stir.h"

#include <errno.h>
#include <sys/epoll.h>

#include "atomics.h"
#include "hold.h"
#include "watch.h"

static struct QemuThread counter;
static int counter_tid;

/* Of the notifier of an AioContext that has nothing to do. */
static void notify_io0(void *opaque)
{
    struct world *world = opaque;

    aio_notify(world->io0->ctx);
}

static void wait_for_stop(int epoll)
{
    struct epoll_event event;

    while (epoll_wait(epoll, &event, 1, -1) >= 0 || errno != EINTR) {
    }
}

static void *count_stops(void *opaque)
{
    struct world *world = opaque;
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    if (epoll < 0) {
        cfix_die("epoll_create1");
    }
    cfix_store_release(&counter_tid, qemu_get_thread_id());
    wait_for_stop(epoll);
    hold_arm(CFIX_NOTIFY_QUEUED, world->io1->thread_id, HOLD_SLEEP);
    aio_bh_schedule_oneshot(world->io1->ctx, "notify_io0", notify_io0, world);
    hold_wait(CFIX_NOTIFY_QUEUED);
    for (int stops = 1; stops < STIRRING_STOPS; stops++) {
        wait_for_stop(epoll);
    }
    hold_release(CFIX_NOTIFY_QUEUED);
    /* It stays, so that the threads are the same before and after. */
    for (;;) {
        wait_for_stop(epoll);
    }
}

static bool is_counting(void *opaque)
{
    int tid = cfix_load_acquire(&counter_tid);

    return tid && watch_in_epoll(tid);
}

void stir_at_stops(struct world *world)
{
    step_iothread_rests(world->io1);
    qemu_thread_create(&counter, "counter", count_stops, world);
    watch_until("stops are counted", is_counting, NULL);
}
