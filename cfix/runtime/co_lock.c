/* CoQueue and CoMutex: coroutines waiting for each other.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "runtime/co_lock.h"

#include <errno.h>

#include "atomics.h"
#include "runtime/aio.h"
#include "runtime/window.h"

void qemu_co_queue_init(struct CoQueue *queue)
{
    SIMPLEQ_INIT(&queue->entries);
}

void qemu_co_queue_wait_impl(struct CoQueue *queue, struct QemuLockable *lock)
{
    struct Coroutine *self = qemu_coroutine_self();

    SIMPLEQ_INSERT_TAIL(&queue->entries, self, co_queue_next);
    if (lock) {
        lock->unlock(lock->object);
    }
    /* A restart from another thread may already be on its way: it goes through
     * this thread's loop, so not before the yield. */
    qemu_coroutine_yield();
    if (lock) {
        lock->lock(lock->object);
    }
}

bool qemu_co_queue_next(struct CoQueue *queue)
{
    struct Coroutine *co = SIMPLEQ_FIRST(&queue->entries);

    if (!co) {
        return false;
    }
    SIMPLEQ_REMOVE_HEAD(&queue->entries, co_queue_next);
    aio_co_wake(co);
    return true;
}

void qemu_co_queue_restart_all(struct CoQueue *queue)
{
    while (qemu_co_queue_next(queue)) {
        continue;
    }
}

bool qemu_co_queue_empty(struct CoQueue *queue)
{
    return SIMPLEQ_EMPTY(&queue->entries);
}

void qemu_co_mutex_init(struct CoMutex *mutex)
{
    *mutex = (struct CoMutex){ 0 };
    qemu_mutex_init(&mutex->guard);
}

void qemu_co_mutex_destroy(struct CoMutex *mutex)
{
    qemu_mutex_destroy(&mutex->guard);
}

static void take(struct CoMutex *mutex, struct Coroutine *self)
{
    mutex->ctx = qemu_get_current_aio_context();
    mutex->holder = self;
    self->locks_held++;
}

void qemu_co_mutex_lock(struct CoMutex *mutex)
{
    struct Coroutine *self = qemu_coroutine_self();
    struct CoWaitRecord record = { .co = self };
    bool contended;

    qemu_mutex_lock(&mutex->guard);
    contended = mutex->locked++ != 0;
    if (contended) {
        SLIST_INSERT_HEAD(&mutex->from_push, &record, next);
    } else {
        take(mutex, self);
    }
    qemu_mutex_unlock(&mutex->guard);
    if (contended) {
        /* Unlocked by a coroutine of this thread: not before the yield.  Of
         * another: it wakes through this thread's loop, so neither. */
        qemu_coroutine_yield();
        qemu_mutex_lock(&mutex->guard);
        take(mutex, self);
        qemu_mutex_unlock(&mutex->guard);
    }
}

/* The longest waiting, taken off its list; with the guard held. */
static struct Coroutine *pop_waiter(struct CoMutex *mutex)
{
    struct CoWaitRecord *record;

    if (SLIST_EMPTY(&mutex->to_pop)) {
        while ((record = SLIST_FIRST(&mutex->from_push))) {
            SLIST_REMOVE_HEAD(&mutex->from_push, next);
            SLIST_INSERT_HEAD(&mutex->to_pop, record, next);
        }
    }
    record = SLIST_FIRST(&mutex->to_pop);
    SLIST_REMOVE_HEAD(&mutex->to_pop, next);
    return record->co;
}

void qemu_co_mutex_unlock(struct CoMutex *mutex)
{
    struct Coroutine *self = qemu_coroutine_self();
    struct Coroutine *next = NULL;

    qemu_mutex_lock(&mutex->guard);
    if (mutex->holder != self) {
        errno = 0;
        cfix_die("qemu_co_mutex_unlock: not the holder");
    }
    self->locks_held--;
    mutex->holder = NULL;
    mutex->ctx = NULL;
    if (--mutex->locked > 0) {
        mutex->sequence++;
        next = pop_waiter(mutex);
    }
    qemu_mutex_unlock(&mutex->guard);
    if (next) {
        cfix_at(CFIX_MUTEX_POPPED);
        aio_co_wake(next);
    }
}

void qemu_lockable_mutex_lock(void *mutex)
{
    qemu_mutex_lock(mutex);
}

void qemu_lockable_mutex_unlock(void *mutex)
{
    qemu_mutex_unlock(mutex);
}

void qemu_lockable_co_mutex_lock(void *mutex)
{
    qemu_co_mutex_lock(mutex);
}

void qemu_lockable_co_mutex_unlock(void *mutex)
{
    qemu_co_mutex_unlock(mutex);
}
