/*
 * Coroutine sleep whose wake-ups cannot be lost, for a QEMU source tree.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Replaces util/qemu-coroutine-sleep.c of QEMU 7.2 to 11.x.  It was written
 * from the interface in include/qemu/coroutine.h and the behaviour that its
 * callers rely on; no line of the file that it replaces is in it.
 *
 * One word, QemuCoSleep.to_wake, says everything, and every change of it is
 * one compare-and-swap or exchange:
 *
 *                 wake                          sleep
 *   NULL          -> SLEEP_PENDING              -> self, and yields
 *   SLEEP_PENDING stays                         -> NULL, and goes on
 *   a coroutine   -> NULL, and schedules it     (a caller's mistake)
 *
 * So a wake that finds nobody ends the next sleep, and wakes that no sleep has
 * taken yet count as one.  A parked sleeper is handed over with NULL in the
 * word.  Older code asserts just that after its yield, so a sleeper parked by
 * it can be woken by this wake.
 *
 * All of these are full barriers.  That carries the callers' own protocol, "set
 * a condition, then wake" against "sleep, then look at the condition": whoever
 * comes second at the word sees what the other did before it.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/coroutine_int.h"
#include "qemu/timer.h"
#include "block/aio.h"

/* No coroutine lives at this address: they are word aligned. */
#define SLEEP_PENDING ((Coroutine *)(uintptr_t)1)

/* While this is in Coroutine.scheduled, nobody else may schedule it. */
static const char *qemu_co_sleep_ns__scheduled = "qemu_co_sleep_ns";

static bool is_sleeper(Coroutine *seen)
{
    return seen != NULL && seen != SLEEP_PENDING;
}

/* For who took `co` out of the word, and so alone may schedule it. */
static void hand_over(Coroutine *co)
{
    const char *scheduled = qatomic_cmpxchg(&co->scheduled,
                                            qemu_co_sleep_ns__scheduled, NULL);

    if (scheduled != qemu_co_sleep_ns__scheduled) {
        fprintf(stderr, "%s: the sleeper is scheduled by '%s'\n", __func__,
                scheduled ? scheduled : "nobody");
        abort();
    }
    aio_co_wake(co);
}

void qemu_co_sleep_wake(QemuCoSleep *w)
{
    Coroutine *seen = qatomic_read(&w->to_wake);
    Coroutine *found;

    /*
     * The first look is a guess that the exchange checks.  The exchange is
     * made also when a wake is pending already: the sleep that takes it must
     * see what this waker did before.
     */
    for (;;) {
        found = qatomic_cmpxchg(&w->to_wake, seen,
                                is_sleeper(seen) ? NULL : SLEEP_PENDING);
        if (found == seen) {
            break;
        }
        seen = found;
    }
    if (is_sleeper(seen)) {
        hand_over(seen);
    }
}

void coroutine_fn qemu_co_sleep(QemuCoSleep *w)
{
    Coroutine *self = qemu_coroutine_self();
    const char *scheduled = qatomic_cmpxchg(&self->scheduled, NULL,
                                            qemu_co_sleep_ns__scheduled);
    Coroutine *found;

    if (scheduled != NULL) {
        fprintf(stderr, "%s: the coroutine is scheduled by '%s'\n", __func__,
                scheduled);
        abort();
    }

    found = qatomic_cmpxchg(&w->to_wake, NULL, self);
    if (found == NULL) {
        qemu_coroutine_yield();
        return;
    }
    if (found != SLEEP_PENDING) {
        /* One of the two would be left behind. */
        fprintf(stderr, "%s: another coroutine sleeps here\n", __func__);
        abort();
    }

    /*
     * A wake came first.  A further one may be merged into it until the
     * exchange, and what that waker did must be seen too: hence no plain
     * store.  Nobody was told of the coroutine, so its claim is nobody's
     * business.
     */
    (void)qatomic_xchg(&w->to_wake, NULL);
    qatomic_set(&self->scheduled, NULL);
}

/*
 * Not a wake: a timer that expires when its sleeper has been woken, but has
 * not run yet, must leave nothing behind for the next sleep.  Debuggers know
 * a sleeper's timer by the name of this function.
 */
static void co_sleep_cb(void *opaque)
{
    QemuCoSleep *w = opaque;
    Coroutine *co = qatomic_read(&w->to_wake);

    if (is_sleeper(co) && qatomic_cmpxchg(&w->to_wake, co, NULL) == co) {
        hand_over(co);
    }
}

void coroutine_fn qemu_co_sleep_ns_wakeable(QemuCoSleep *w,
                                            QEMUClockType type, int64_t ns)
{
    QEMUTimer ts;

    /* It fires in this thread, so not before the coroutine has yielded. */
    aio_timer_init(qemu_get_current_aio_context(), &ts, type, SCALE_NS,
                   co_sleep_cb, w);
    timer_mod_ns(&ts, qemu_clock_get_ns(type) + ns);
    qemu_co_sleep(w);
    timer_del(&ts);
}
