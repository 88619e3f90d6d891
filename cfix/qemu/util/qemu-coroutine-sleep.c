/*
 * Coroutine sleep whose wake-ups cannot be lost, for a QEMU source tree.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Replaces util/qemu-coroutine-sleep.c of QEMU 7.2 to 11.x.  It was written
 * from the interface in include/qemu/coroutine.h and the behaviour that its
 * callers rely on; no line of the file that it replaces is in it.
 *
 * One word, QemuCoSleep.to_wake, says everything, and every change of it is
 * one atomic step:
 *
 *   NULL        nobody sleeps and no wake is outstanding
 *   SLEEP_WOKEN a wake came and found nobody; the next sleep takes it
 *   otherwise   the coroutine that is parked, or about to be parked, here
 *
 *               wake                          sleep
 *   NULL        -> SLEEP_WOKEN                -> self, and yields
 *   SLEEP_WOKEN stays                         -> NULL, and goes on
 *   coroutine   -> NULL, and schedules it     (a caller's mistake)
 *
 * A parked sleeper is always handed over with NULL in the word.  Older code
 * asserts just that after its yield, so a sleeper parked by it can be woken
 * by this wake.
 *
 * Every compare-and-swap here is a full barrier.  That is what carries the
 * caller's own protocol, "set a condition, then wake" against "wake up or
 * refuse to sleep, then look at the condition": the side that comes second
 * at the word sees what the other side wrote before it.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/coroutine_int.h"
#include "qemu/timer.h"
#include "block/aio.h"

/* No coroutine lives at this address: they are word aligned. */
#define SLEEP_WOKEN ((Coroutine *)(uintptr_t)1)

/* While this is in Coroutine.scheduled, nobody else may schedule it. */
static const char sleep_reservation[] = "qemu_co_sleep_ns";

/* Before the word names the coroutine: from then on a waker may take it. */
static void sleep_reserve(Coroutine *self)
{
    const char *owner = qatomic_cmpxchg(&self->scheduled, NULL,
                                        sleep_reservation);

    if (owner != NULL) {
        fprintf(stderr, "coroutine goes to sleep while scheduled by '%s'\n",
                owner);
        abort();
    }
}

static void sleep_release(Coroutine *co)
{
    const char *owner = qatomic_cmpxchg(&co->scheduled, sleep_reservation,
                                        NULL);

    assert(owner == sleep_reservation);
}

/*
 * Publishes the running coroutine as the one to wake.  False when a wake had
 * come already: it is used up, and the coroutine must not yield.
 */
static bool sleep_arm(QemuCoSleep *w)
{
    Coroutine *self = qemu_coroutine_self();
    Coroutine *found;

    sleep_reserve(self);
    found = qatomic_cmpxchg(&w->to_wake, NULL, self);
    if (found == NULL) {
        return true;
    }

    /* Two coroutines on one QemuCoSleep would leave one of them behind. */
    assert(found == SLEEP_WOKEN);
    sleep_release(self);
    found = qatomic_xchg(&w->to_wake, NULL);
    assert(found == SLEEP_WOKEN);
    return false;
}

/*
 * Wakes the sleeper if there is one; true when that is done.  False, and
 * nothing is changed, when the word held no coroutine at that moment or held
 * one that another waker was quicker to take.  *seen is what it held.
 */
static bool sleep_take(QemuCoSleep *w, Coroutine **seen)
{
    *seen = qatomic_read(&w->to_wake);
    if (*seen == NULL || *seen == SLEEP_WOKEN) {
        return false;
    }
    if (qatomic_cmpxchg(&w->to_wake, *seen, NULL) != *seen) {
        return false;
    }
    sleep_release(*seen);
    aio_co_wake(*seen);
    return true;
}

void qemu_co_sleep_wake(QemuCoSleep *w)
{
    Coroutine *seen;

    /*
     * Orders the caller's condition before the first look at the word.  It
     * matters when that look finds SLEEP_WOKEN and nothing is written: pairs
     * with the exchange in sleep_arm() that uses SLEEP_WOKEN up.
     */
    smp_mb();

    while (!sleep_take(w, &seen)) {
        if (seen == SLEEP_WOKEN) {
            return;
        }
        if (seen == NULL &&
            qatomic_cmpxchg(&w->to_wake, NULL, SLEEP_WOKEN) == NULL) {
            return;
        }
    }
}

/*
 * A timer that expires when its sleeper has been woken already, but has not
 * run yet, has nothing to say: it must not spoil the next sleep.  Debuggers
 * know a sleeper's timer by the name of this function.
 */
static void co_sleep_cb(void *opaque)
{
    Coroutine *seen;

    sleep_take(opaque, &seen);
}

void coroutine_fn qemu_co_sleep(QemuCoSleep *w)
{
    if (sleep_arm(w)) {
        qemu_coroutine_yield();
    }
}

void coroutine_fn qemu_co_sleep_ns_wakeable(QemuCoSleep *w,
                                            QEMUClockType type, int64_t ns)
{
    QEMUTimer ts;

    /* Armed first, so that the timer can't expire before its sleeper is. */
    if (!sleep_arm(w)) {
        return;
    }

    aio_timer_init(qemu_get_current_aio_context(), &ts, type, SCALE_NS,
                   co_sleep_cb, w);
    timer_mod_ns(&ts, qemu_clock_get_ns(type) + ns);
    qemu_coroutine_yield();
    timer_del(&ts);
}
