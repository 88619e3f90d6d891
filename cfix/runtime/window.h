/* Windows: named instants at which a victim may hold a thread still.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_RUNTIME_WINDOW_H
#define CFIX_RUNTIME_WINDOW_H

/*
 * A lost wake-up needs one thread to be between two particular instructions
 * while another passes.  Victims force that instead of waiting for it: the
 * sources name the instants, and a program built with CFIX_WINDOWS may set
 * `cfix_window` to a function that is then called at each of them, in the
 * thread and on the stack that is there.  Without CFIX_WINDOWS the macro is
 * nothing at all, and the machine code is that of the plain source.
 */
enum cfix_point {
    /* qemu_co_sleep: marked as sleeping, to_wake not yet set. */
    CFIX_SLEEP_BEFORE_ARM,
    /* qemu_co_sleep: to_wake set, not yet yielded. */
    CFIX_SLEEP_ARMED,
    /* qemu_co_sleep_wake: entered, nothing read yet. */
    CFIX_WAKE_ENTERED,
    /* qemu_co_sleep_wake: to_wake read, not yet cleared. */
    CFIX_WAKE_LOADED,
    /* qemu_co_sleep_wake: the sleeper taken, not yet scheduled. */
    CFIX_WAKE_TAKEN,
    /* co_sleep_cb: the sleeper's timer has fired and done what it does. */
    CFIX_SLEEP_FIRED,
    /* bdrv_graph_co_rdunlock: entered, still counted as a reader. */
    CFIX_RDUNLOCK_ENTERED,
    /* bdrv_graph_co_rdunlock: no longer counted, not yet kicked. */
    CFIX_RDUNLOCK_COUNTED,
    /* aio_notify: work is queued, the eventfd not yet written. */
    CFIX_NOTIFY_QUEUED,
    /* fdmon_poll_wait: ppoll has returned, nothing looked at yet. */
    CFIX_POLL_RETURNED,
    /* aio_poll: everything served, about to return. */
    CFIX_POLL_SERVED,
    /* qemu_co_mutex_unlock: the next holder is off the list, not yet woken. */
    CFIX_MUTEX_POPPED,
    /* The victims' qemu_co_rwlock_unlock: the same, of a CoRwlock. */
    CFIX_RWLOCK_GRANTED,
    /* The victims' write_timer_cb: the timer is off, nothing let go yet. */
    CFIX_THROTTLE_FIRED,
    CFIX_POINTS
};

#ifdef CFIX_WINDOWS
/*
 * NULL, or what is called at each instant.  Set it before the first thread is
 * created and leave it: it is read without synchronisation.  It may block or
 * spin as long as it likes; it must not yield a coroutine.
 */
extern void (*cfix_window)(enum cfix_point point);

#define cfix_at(point)                                                         \
    do {                                                                       \
        if (cfix_window) {                                                     \
            cfix_window(point);                                                \
        }                                                                      \
    } while (0)
#else
#define cfix_at(point) ((void)0)
#endif

#endif
