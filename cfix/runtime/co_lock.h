/* CoQueue and CoMutex: coroutines waiting for each other.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_RUNTIME_CO_LOCK_H
#define CFIX_RUNTIME_CO_LOCK_H

#include <stdbool.h>
#include <sys/queue.h>

#include "runtime/coroutine.h"
#include "runtime/thread.h"

/* include/qemu/lockable.h: a lock of either kind, told by its functions. */
struct QemuLockable {
    void *object;
    void (*lock)(void *object);
    void (*unlock)(void *object);
};

/*
 * Coroutines parked until somebody restarts them, first come first served.  It
 * has no owner and no memory: a restart with nobody in it is lost, so waiting
 * and restarting both need the lock that guards the condition waited for.
 */
struct CoQueue {
    SIMPLEQ_HEAD(, Coroutine) entries;
};

void qemu_co_queue_init(struct CoQueue *queue);

/* Parks the running coroutine; `lock` (may be NULL) is dropped meanwhile and
 * held again on return. */
void qemu_co_queue_wait_impl(struct CoQueue *queue, struct QemuLockable *lock);

/* Wakes all of them.  In a coroutine, or with `queue`'s lock held outside. */
void qemu_co_queue_restart_all(struct CoQueue *queue);

/* Wakes the first; false if there is none. */
bool qemu_co_queue_next(struct CoQueue *queue);

bool qemu_co_queue_empty(struct CoQueue *queue);

/* One coroutine waiting for a CoMutex; lies on its stack. */
struct CoWaitRecord {
    struct Coroutine *co;
    SLIST_ENTRY(CoWaitRecord) next;
};

/*
 * A mutex between coroutines, which may be in different threads
 * (util/qemu-coroutine-lock.c).
 *
 *   locked     0 when free, else 1 + the number of waiters
 *   ctx        where the holder runs
 *   holder     who holds it; NULL while it is being handed over
 *   from_push  waiters newest first, to_pop waiters oldest first: a waiter is
 *              put on the one and taken off the other, which is refilled from
 *              the first when empty
 *   handoff, sequence
 *              QEMU's lock-free hand-over of a lock whose waiter has not yet
 *              put itself on the list.  Here `guard` makes counting and
 *              queueing one step, so handoff is always 0; sequence counts the
 *              hand-overs.
 *
 * A lock is handed over, not released: `locked` stays above zero from the
 * holder's unlock to the waiter's taking it, so that nobody can overtake.
 */
struct CoMutex {
    unsigned locked;
    struct AioContext *ctx;
    SLIST_HEAD(, CoWaitRecord) from_push;
    SLIST_HEAD(, CoWaitRecord) to_pop;
    unsigned handoff;
    unsigned sequence;
    struct Coroutine *holder;
    struct QemuMutex guard;
};

void qemu_co_mutex_init(struct CoMutex *mutex);
void qemu_co_mutex_destroy(struct CoMutex *mutex);

/* In a coroutine; not recursive. */
void qemu_co_mutex_lock(struct CoMutex *mutex);

/* By the holder. */
void qemu_co_mutex_unlock(struct CoMutex *mutex);

void qemu_lockable_mutex_lock(void *mutex);
void qemu_lockable_mutex_unlock(void *mutex);
void qemu_lockable_co_mutex_lock(void *mutex);
void qemu_lockable_co_mutex_unlock(void *mutex);

/* A QemuLockable of the calling block, for a struct QemuMutex pointer or a
 * struct CoMutex pointer. */
#define QEMU_MUTEX_LOCKABLE(m)                                                 \
    (&(struct QemuLockable){ (m), qemu_lockable_mutex_lock,                    \
                             qemu_lockable_mutex_unlock })
#define CO_MUTEX_LOCKABLE(m)                                                   \
    (&(struct QemuLockable){ (m), qemu_lockable_co_mutex_lock,                 \
                             qemu_lockable_co_mutex_unlock })

#endif
