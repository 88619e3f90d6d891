/* A lock between coroutines that is waited for, and who may be passing it on.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Whoever unlocks a CoMutex or a CoRwlock takes the next waiter off the list
 * and wakes it; only then does that one note that it has the lock. In between
 * the lock belongs to nobody, and the waiter that was chosen is to be found in
 * one of four places: with a thread that is inside of the lock's functions, in
 * its context's scheduled_coroutines, in the wake-up queue of a coroutine that
 * still runs in the same context, or in its home thread, which is just going
 * to enter it. Where it is in none of them, nobody will ever wake it.
 * Source: util/qemu-coroutine-lock.c, util/async.c (aio_co_enter,
 * co_schedule_bh_cb), util/qemu-coroutine.c (qemu_aio_coroutine_enter).
 */
#ifndef QH_CO_LOCK_H
#define QH_CO_LOCK_H

#include "diagnose/quiet.h"
#include "diagnose/rules.h"

/* All that wait for one lock; points into the snapshot. */
struct qh_co_lock {
    const struct qh_snapshot *snapshot;
    const struct qh_wait *first;          /* the first that looks stuck */
    const struct qh_coroutine *coroutine; /* that one; NULL: not known */
    size_t waiters;
    const struct qh_wait *chosen; /* one that is off the list; NULL: none */
    bool late; /* what is known of it is not of one instant */
};

/* Whether a coroutine's wait looks like one that nobody will end. */
typedef bool qh_co_lock_test(const struct qh_snapshot *snapshot,
                             const struct qh_wait *wait);

/* Fills `*ret` when the wait at `index` is a coroutine's, of that kind, looks
 * like a fault, and is the first that does of its lock. */
bool qh_co_lock_view(const struct qh_snapshot *snapshot, size_t index,
                     enum qh_wait_kind kind, qh_co_lock_test *looks,
                     struct qh_co_lock *ret);

/* Whether nobody is passing the lock on, as above; (a) for its waiters' home
 * threads is part of it. Looks at every stack. `passing` are the functions in
 * which a thread, or a coroutine that was woken, may be about to. */
enum qh_quiet qh_co_lock_quiet(const struct qh_co_lock *lock,
                               const char *const *passing, size_t count);
/* The same, of a CoMutex or a CoRwlock. */
enum qh_quiet qh_co_lock_passing(const struct qh_co_lock *lock);

/* A finding of `rule` about the waiter `first`, which nothing will wake; its
 * fingerprint has the lock, that waiter, and how many there are. */
struct qh_finding qh_co_lock_finding(const struct qh_co_lock *lock,
                                     const char *rule, enum qh_quiet quiet);
/* The evidence of who waits: how many, and which one was chosen. */
struct qh_error *qh_co_lock_evidence(const struct qh_co_lock *lock,
                                     struct qh_findings *findings,
                                     struct qh_finding *finding) QH_MUST_CHECK;

#endif
