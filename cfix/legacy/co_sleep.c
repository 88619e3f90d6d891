/* Sleeping coroutines: the faulty primitive, as in QEMU up to 10.2.2.
 * SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Faulty on purpose, in the two ways of util/qemu-coroutine-sleep.c:
 *
 *   - a wake that comes before to_wake is set finds NULL and does nothing: the
 *     sleeper then sleeps until its timer fires;
 *   - the wake reads to_wake and clears it in two steps: an arm that falls
 *     between them is wiped out, and then not even the timer wakes it.
 *
 * to_wake is accessed plainly, which also is a data race by the letter of the
 * C standard, as it is there.
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
    /* Whoever woke it has cleared the field. */
    if (cfix_load_plain(&w->to_wake)) {
        fprintf(stderr, "cfix: %s: woken, but still armed\n", __func__);
        abort();
    }
}

static void co_sleep_cb(void *opaque)
{
    struct QemuCoSleep *w = opaque;

    qemu_co_sleep_wake(w);
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
