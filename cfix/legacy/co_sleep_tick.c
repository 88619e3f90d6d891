/* Sleeping coroutines: the workaround that was proposed first.
 * SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A wake may still be lost, and qemu_co_sleep is as faulty as in co_sleep.c
 * beside this.  But a timed sleep does not rely on wakes: it lasts one tick at
 * most, on a QemuCoSleep of its own that only its timer knows, and its caller
 * then looks at its condition.  So no timed sleeper hangs, each is told up to
 * a tick too late, and an idle one wakes up every second for nothing.
 */
#include "co_sleep.h"

#include <stdio.h>
#include <stdlib.h>

#include "atomics.h"
#include "runtime/aio.h"
#include "runtime/window.h"

#define TICK_NS INT64_C(1000000000)

static const char *const qemu_co_sleep_ns__scheduled = "qemu_co_sleep_ns";

void qemu_co_sleep_wake(struct QemuCoSleep *w)
{
    struct Coroutine *co;
    const char *scheduled;

    cfix_at(CFIX_WAKE_ENTERED);
    co = cfix_load_plain(&w->to_wake);
    cfix_at(CFIX_WAKE_LOADED);
    cfix_store_plain(&w->to_wake, NULL);
    if (!co) {
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
    cfix_store_plain(&w->to_wake, co);
    cfix_at(CFIX_SLEEP_ARMED);
    qemu_coroutine_yield();
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
    struct QemuCoSleep tick = { NULL };
    struct QEMUTimer ts;

    timer_init(&ts, ctx->tlg.tl[type], co_sleep_cb, &tick);
    timer_mod_ns(&ts, qemu_clock_get_ns(type) + (ns < TICK_NS ? ns : TICK_NS));
    qemu_co_sleep(&tick);
    timer_del(&ts);
}
