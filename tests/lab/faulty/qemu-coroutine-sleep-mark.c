/*
 * The coroutine sleep as QEMU 10.0.13 and 11.1 repaired it, for a QEMU tree.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * For a live upgrade that must fail.  Written from the described behaviour:
 * every wake leaves a mark in the word, also one that found a sleeper, and
 * the sleeper takes it off.  No wake is lost; but a sleeper that was parked by
 * older code comes back with the mark there, and its assertion ends QEMU.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/coroutine_int.h"
#include "qemu/timer.h"
#include "block/aio.h"

#define SLEEP_MARK ((Coroutine *)(uintptr_t)1)

static const char *qemu_co_sleep_ns__scheduled = "qemu_co_sleep_ns";

void qemu_co_sleep_wake(QemuCoSleep *w)
{
    Coroutine *co = qatomic_xchg(&w->to_wake, SLEEP_MARK);

    if (co != NULL && co != SLEEP_MARK) {
        const char *claim =
            qatomic_cmpxchg(&co->scheduled, qemu_co_sleep_ns__scheduled, NULL);

        assert(claim == qemu_co_sleep_ns__scheduled);
        aio_co_wake(co);
    }
}

static void co_sleep_cb(void *opaque)
{
    qemu_co_sleep_wake(opaque);
}

void coroutine_fn qemu_co_sleep(QemuCoSleep *w)
{
    Coroutine *self = qemu_coroutine_self();
    const char *claim =
        qatomic_cmpxchg(&self->scheduled, NULL, qemu_co_sleep_ns__scheduled);

    assert(claim == NULL);
    if (qatomic_cmpxchg(&w->to_wake, NULL, self) == NULL) {
        qemu_coroutine_yield();
    } else {
        qatomic_set(&self->scheduled, NULL);
    }
    (void)qatomic_xchg(&w->to_wake, NULL);
}

void coroutine_fn qemu_co_sleep_ns_wakeable(QemuCoSleep *w, QEMUClockType type,
                                            int64_t ns)
{
    QEMUTimer ts;

    aio_timer_init(qemu_get_current_aio_context(), &ts, type, SCALE_NS,
                   co_sleep_cb, w);
    timer_mod_ns(&ts, qemu_clock_get_ns(type) + ns);
    qemu_co_sleep(w);
    timer_del(&ts);
}
