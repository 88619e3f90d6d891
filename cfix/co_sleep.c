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

static bool is_sleeper(const struct Coroutine *seen)
{
    return seen && seen != QEMU_CO_SLEEP_PENDING;
}

/* For who has taken `co` out of to_wake, and so alone may schedule it. */
static void hand_over(struct Coroutine *co)
{
    cfix_at(CFIX_WAKE_TAKEN);
    unclaim(co);
    aio_co_wake(co);
}

void qemu_co_sleep_wake(struct QemuCoSleep *w)
{
    struct Coroutine *seen;

    cfix_at(CFIX_WAKE_ENTERED);
    /* A guess, which the exchange below checks. */
    seen = cfix_load_relaxed(&w->to_wake);
    cfix_at(CFIX_WAKE_LOADED);
    for (;;) {
        struct Coroutine *desired =
            is_sleeper(seen) ? NULL : QEMU_CO_SLEEP_PENDING;
        /* Pairs with both exchanges in qemu_co_sleep: who finds the sleeper
         * armed sees what it did before, and the sleep that takes this wake
         * sees what the waker did before.  For the latter's sake the exchange
         * is made also when the wake is pending already. */
        struct Coroutine *found = cfix_cmpxchg(&w->to_wake, seen, desired);

        if (found == seen) {
            break;
        }
        seen = found;
    }
    if (is_sleeper(seen)) {
        hand_over(seen);
    }
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
    /* Pairs with the exchange in qemu_co_sleep_wake; see there.  What this
     * thread did before is handed on by the claim above as well. */
    if (cfix_cmpxchg(&w->to_wake, NULL, co) == QEMU_CO_SLEEP_PENDING) {
        /* A wake came first.  Nobody else may be asleep here, so nobody but a
         * further wake can touch to_wake, and that one is merged into this:
         * hence an exchange and not a store, to see what its waker did. */
        (void)cfix_exchange(&w->to_wake, NULL);
        /* The claim never left this thread: nobody was told of it. */
        cfix_store_relaxed(&co->scheduled, NULL);
        return;
    }
    cfix_at(CFIX_SLEEP_ARMED);
    qemu_coroutine_yield();
}

static void co_sleep_cb(void *opaque)
{
    struct QemuCoSleep *w = opaque;
    /* The arm was a store of this very thread: what is read here is the
     * sleeper, or what a wake has put in its place since. */
    struct Coroutine *co = cfix_load_relaxed(&w->to_wake);

    /* Not a wake: a sleeper that is woken already needs no further one.
     * Pairs with qemu_co_sleep_wake, which may take it first. */
    if (is_sleeper(co) && cfix_cmpxchg(&w->to_wake, co, NULL) == co) {
        hand_over(co);
    }
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
