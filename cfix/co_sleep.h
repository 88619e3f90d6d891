/* Sleeping coroutines that can be woken early.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_CO_SLEEP_H
#define CFIX_CO_SLEEP_H

/*
 * The contract, which co_sleep.c keeps:
 *
 *   - a wake is never lost, however it falls against the arming of the
 *     sleeper, its timer, or another wake: the sleep that is going on, or
 *     else the next one, ends by it;
 *   - so a wake with nobody asleep makes the next sleep return at once;
 *   - wakes that no sleep has yet taken count as one;
 *   - what a waker did before its wake is seen by the sleeper after the sleep
 *     that this wake ended, also when the wake was merged into another one;
 *   - a timer is no wake: it ends its own sleep, or none.  If it expires when
 *     its sleeper has been woken but has not yet run, it leaves nothing behind
 *     for the next sleep;
 *   - any thread may wake; only coroutines sleep, one at a time on one
 *     QemuCoSleep;
 *   - after qemu_co_sleep_wake() has scheduled a sleeper, it touches the
 *     QemuCoSleep no more: the sleeper may free it;
 *   - a parked sleeper is handed over with to_wake == NULL, so that one that
 *     was parked by older code, which asserts this, survives a newer wake;
 *   - QemuCoSleep is one pointer, as ever.
 *
 * A sleep may return for a wake that an earlier look at the condition has made
 * pointless, so callers look at their condition again, in a loop.
 *
 * The program is linked with exactly one of the sources; they have the same
 * interface and differ in which parts of the contract they keep:
 *
 *   co_sleep.c               all of it
 *   legacy/co_sleep.c        faulty: wakes are lost, QEMU up to 10.2.2
 *   legacy/co_sleep_tick.c   faulty, but timed sleeps are cut into ticks: the
 *                            workaround that was first proposed
 *   legacy/co_sleep_mark.c   QEMU 10.0.13 and 11.1: no wake is lost, but the
 *                            sleeper is handed over with to_wake pending
 *   qemu/util/qemu-coroutine-sleep.c
 *                            all of it again, in QEMU's own terms: what goes
 *                            into a QEMU tree, compiled against qemu/host/
 *
 * A third party (a collector) sees in all the same struct, the same function
 * names and the same frames: qemu_coroutine_switch <- qemu_co_sleep <-
 * qemu_co_sleep_ns_wakeable, the timer `ts` in the latter's frame with
 * cb == co_sleep_cb and opaque == w (the tick's: a QemuCoSleep of its own).
 */
#include <stdint.h>

#include "runtime/coroutine.h"
#include "runtime/timer.h"

/*
 * include/qemu/coroutine.h.  Zero-initialised by its owner.  `to_wake` is NULL
 * (nobody asleep), the sleeping coroutine, or, in the sources that lose no
 * wake, QEMU_CO_SLEEP_PENDING (a wake is waiting for the next sleep).
 */
struct QemuCoSleep {
    struct Coroutine *to_wake;
};

#define QEMU_CO_SLEEP_PENDING ((struct Coroutine *)1)

/* Parks the running coroutine until qemu_co_sleep_wake(w). */
void qemu_co_sleep(struct QemuCoSleep *w);

/* The same, for at most `ns` nanoseconds of clock `type`. */
void qemu_co_sleep_ns_wakeable(struct QemuCoSleep *w, enum QEMUClockType type,
                               int64_t ns);

/* Wakes who sleeps on `w`.  Any thread. */
void qemu_co_sleep_wake(struct QemuCoSleep *w);

#endif
