/* Sleeping coroutines that can be woken early.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_CO_SLEEP_H
#define CFIX_CO_SLEEP_H

/*
 * The contract, which co_sleep.c keeps and legacy/co_sleep.c does not:
 *
 *   - a wake is never lost, however it falls against the arming of the
 *     sleeper, its timer, or another wake;
 *   - a wake with nobody asleep makes the next sleep return at once;
 *   - many wakes before a sleep count as one;
 *   - any thread may wake; only coroutines sleep, one at a time on one
 *     QemuCoSleep;
 *   - a sleeper that is handed over by a wake finds to_wake == NULL, so one
 *     that was parked by older code survives a newer wake.
 *
 * The program is linked with exactly one of the two sources.  A third party
 * (a collector) sees in both the same struct, the same function names and the
 * same frames: qemu_coroutine_switch <- qemu_co_sleep <-
 * qemu_co_sleep_ns_wakeable, the timer `ts` in the latter's frame with
 * cb == co_sleep_cb and opaque == w.
 */
#include <stdint.h>

#include "runtime/coroutine.h"
#include "runtime/timer.h"

/*
 * include/qemu/coroutine.h.  Zero-initialised by its owner.  `to_wake` is NULL
 * (nobody asleep), the sleeping coroutine, or, in the fixed source only,
 * QEMU_CO_SLEEP_PENDING (nobody asleep, and a wake is waiting for the next
 * sleep).
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
