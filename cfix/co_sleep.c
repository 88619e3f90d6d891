/* Sleeping coroutines: the fixed primitive.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "co_sleep.h"

#include <stdio.h>
#include <stdlib.h>

#include "atomics.h"
#include "runtime/aio.h"
#include "runtime/window.h"

/* What Coroutine.scheduled says of a sleeper; observers compare the text. */
static const char *const qemu_co_sleep_ns__scheduled = "qemu_co_sleep_ns";

/* Gives up the sleeper's claim on itself, as the one who will schedule it. */
static void unclaim(struct Coroutine *co)
{
    const char *scheduled =
        cfix_cmpxchg(&co->scheduled, qemu_co_sleep_ns__scheduled, NULL);

    if (scheduled != qemu_co_sleep_ns__scheduled) {
        fprintf(stderr, "cfix: qemu_co_sleep_wake: not asleep but in %s\n",
                scheduled ? scheduled : "nothing");
        abort();
    }
}

void qemu_co_sleep_wake(struct QemuCoSleep *w)
{
    struct Coroutine *seen;

    cfix_at(CFIX_WAKE_ENTERED);
    /* Pairs with the compare-and-swap in qemu_co_sleep: the sleeper's stores
     * before it armed are seen by who finds it armed, and the waker's before
     * its wake by the sleep that finds it pending. */
    seen = cfix_load(&w->to_wake);
    cfix_at(CFIX_WAKE_LOADED);
    for (;;) {
        struct Coroutine *desired = seen && seen != QEMU_CO_SLEEP_PENDING
                                        ? NULL
                                        : QEMU_CO_SLEEP_PENDING;
        struct Coroutine *found;

        /* Also when it is pending already: this wake's stores must be seen by
         * the sleep that takes it, so the exchange is made all the same. */
        found = cfix_cmpxchg(&w->to_wake, seen, desired);
        if (found == seen) {
            break;
        }
        seen = found;
    }
    if (!seen || seen == QEMU_CO_SLEEP_PENDING) {
        return;
    }
    cfix_at(CFIX_WAKE_TAKEN);
    unclaim(seen);
    aio_co_wake(seen);
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
    /* Pairs with the one in qemu_co_sleep_wake; see there. */
    if (cfix_cmpxchg(&w->to_wake, NULL, co) == QEMU_CO_SLEEP_PENDING) {
        /* A wake came first.  Nobody else may be asleep here, so nobody but a
         * further wake can touch to_wake, and that one is merged into this. */
        (void)cfix_exchange(&w->to_wake, NULL);
        cfix_store(&co->scheduled, NULL);
        return;
    }
    cfix_at(CFIX_SLEEP_ARMED);
    qemu_coroutine_yield();
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
    /* The timer runs in this thread only, so after this it can no longer wake
     * anybody. */
    timer_del(&ts);
}
