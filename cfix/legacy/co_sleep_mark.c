/* Sleeping coroutines: as QEMU 10.0.13 and 11.1 repaired them.
 * SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Every wake is one exchange that leaves the mark QEMU_CO_SLEEP_PENDING behind,
 * whether it found a sleeper or not; whoever ends a sleep, early or parked,
 * takes the mark off.  No wake is lost.  A timer is a wake like any other, but
 * one that expires late is taken off together with the mark that it found.
 *
 * One thing is other than co_sleep.h says: a sleeper comes back with the mark
 * in to_wake.  One that was parked by older code, before a live upgrade, takes
 * that for a mistake and aborts.
 */
#include "co_sleep.h"

#include <stdio.h>
#include <stdlib.h>

#include "atomics.h"
#include "runtime/aio.h"
#include "runtime/window.h"

static const char *const qemu_co_sleep_ns__scheduled = "qemu_co_sleep_ns";

void qemu_co_sleep_wake(struct QemuCoSleep *w)
{
    struct Coroutine *co;
    const char *scheduled;

    cfix_at(CFIX_WAKE_ENTERED);
    /* Pairs with both exchanges in qemu_co_sleep. */
    co = cfix_exchange(&w->to_wake, QEMU_CO_SLEEP_PENDING);
    cfix_at(CFIX_WAKE_LOADED);
    if (!co || co == QEMU_CO_SLEEP_PENDING) {
        return;
    }
    cfix_at(CFIX_WAKE_TAKEN);
    scheduled = cfix_cmpxchg(&co->scheduled, qemu_co_sleep_ns__scheduled, NULL);
    if (scheduled != qemu_co_sleep_ns__scheduled) {
        fprintf(stderr, "cfix: %s: coroutine is not asleep\n", __func__);
        abort();
    }
    aio_co_wake(co);
}

void qemu_co_sleep(struct QemuCoSleep *w)
{
    struct Coroutine *co = qemu_coroutine_self();
    const char *scheduled =
        cfix_cmpxchg(&co->scheduled, NULL, qemu_co_sleep_ns__scheduled);

    if (scheduled) {
        fprintf(stderr, "cfix: %s: coroutine is already in %s\n", __func__,
                scheduled);
        abort();
    }
    cfix_at(CFIX_SLEEP_BEFORE_ARM);
    /* Pairs with the exchange in qemu_co_sleep_wake. */
    if (cfix_cmpxchg(&w->to_wake, NULL, co) == NULL) {
        cfix_at(CFIX_SLEEP_ARMED);
        qemu_coroutine_yield();
    } else {
        cfix_store_relaxed(&co->scheduled, NULL);
    }
    /* The mark goes in either case, and with it every wake so far. */
    (void)cfix_exchange(&w->to_wake, NULL);
}

static void co_sleep_cb(void *opaque)
{
    qemu_co_sleep_wake(opaque);
    cfix_at(CFIX_SLEEP_FIRED);
}

void qemu_co_sleep_ns_wakeable(struct QemuCoSleep *w, enum QEMUClockType type,
                               int64_t ns)
{
    struct AioContext *ctx = qemu_get_current_aio_context();
    struct QEMUTimer ts;

    timer_init(&ts, ctx->tlg.tl[type], co_sleep_cb, w);
    timer_mod_ns(&ts, qemu_clock_get_ns(type) + ns);
    qemu_co_sleep(w);
    timer_del(&ts);
}
