/*
 * The coroutine sleep with the fault that qhang is about, for a QEMU tree.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * For lab builds only, where the source to be had is a repaired one. Written
 * from the described behaviour: a wake that finds nobody leaves no trace, and
 * taking the sleeper out of the word is a load and then a store.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/coroutine_int.h"
#include "qemu/timer.h"
#include "block/aio.h"

static const char sleep_mark[] = "qemu_co_sleep_ns";

void qemu_co_sleep_wake(QemuCoSleep *w)
{
    Coroutine *co;

    co = w->to_wake;
    w->to_wake = NULL;
    if (co != NULL) {
        const char *mark = qatomic_cmpxchg(&co->scheduled, sleep_mark, NULL);

        assert(mark == sleep_mark);
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
    const char *mark = qatomic_cmpxchg(&self->scheduled, NULL, sleep_mark);

    assert(mark == NULL);
    w->to_wake = self;
    qemu_coroutine_yield();
    assert(w->to_wake == NULL);
}

void coroutine_fn qemu_co_sleep_ns_wakeable(QemuCoSleep *w,
                                            QEMUClockType type, int64_t ns)
{
    QEMUTimer ts;

    aio_timer_init(qemu_get_current_aio_context(), &ts, type, SCALE_NS,
                   co_sleep_cb, w);
    timer_mod_ns(&ts, qemu_clock_get_ns(type) + ns);
    qemu_co_sleep(w);
    timer_del(&ts);
}
