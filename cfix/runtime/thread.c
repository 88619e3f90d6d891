/* Threads, mutexes and one-shot events.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "runtime/thread.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "atomics.h"

void cfix_die(const char *what)
{
    fprintf(stderr, "cfix: %s: %s\n", what,
            errno ? strerror(errno) : "misused");
    abort();
}

void *cfix_zalloc(size_t size)
{
    void *mem = calloc(1, size);

    if (!mem) {
        cfix_die("calloc");
    }
    return mem;
}

/* pthread functions return their error instead of setting errno. */
static void must(int err, const char *what)
{
    if (err) {
        errno = err;
        cfix_die(what);
    }
}

void qemu_mutex_init(struct QemuMutex *mutex)
{
    must(pthread_mutex_init(&mutex->lock, NULL), "pthread_mutex_init");
    mutex->initialized = true;
}

void qemu_mutex_destroy(struct QemuMutex *mutex)
{
    mutex->initialized = false;
    must(pthread_mutex_destroy(&mutex->lock), "pthread_mutex_destroy");
}

void qemu_mutex_lock(struct QemuMutex *mutex)
{
    must(pthread_mutex_lock(&mutex->lock), "pthread_mutex_lock");
}

void qemu_mutex_unlock(struct QemuMutex *mutex)
{
    must(pthread_mutex_unlock(&mutex->lock), "pthread_mutex_unlock");
}

struct thread_start {
    void *(*start_routine)(void *);
    void *arg;
    char name[16];
};

static void *qemu_thread_start(void *args)
{
    struct thread_start *start = args;
    void *ret;

    pthread_setname_np(pthread_self(), start->name);
    ret = start->start_routine(start->arg);
    /* Freed here and not before the call: with something left to do the call
     * is no tail call, and this frame stays visible in every backtrace. */
    free(start);
    return ret;
}

void qemu_thread_create(struct QemuThread *thread, const char *name,
                        void *(*start_routine)(void *), void *arg)
{
    struct thread_start *start = cfix_zalloc(sizeof(*start));

    start->start_routine = start_routine;
    start->arg = arg;
    strncpy(start->name, name, sizeof(start->name) - 1);
    must(pthread_create(&thread->thread, NULL, qemu_thread_start, start),
         "pthread_create");
}

void *qemu_thread_join(struct QemuThread *thread)
{
    void *ret;

    must(pthread_join(thread->thread, &ret), "pthread_join");
    return ret;
}

int qemu_get_thread_id(void)
{
    return (int)syscall(SYS_gettid);
}

enum { EV_SET = 0, EV_FREE = 1 };
#define EV_BUSY (~0u)

void qemu_event_init(struct QemuEvent *ev, bool set)
{
    ev->value = set ? EV_SET : EV_FREE;
    ev->initialized = true;
}

void qemu_event_set(struct QemuEvent *ev)
{
    /* Pairs with the load in qemu_event_wait: who sees the event set also
     * sees what was done before it was. */
    if (cfix_exchange(&ev->value, EV_SET) == EV_BUSY) {
        syscall(SYS_futex, &ev->value, FUTEX_WAKE_PRIVATE, 0x7fffffff, NULL,
                NULL, 0);
    }
}

void qemu_event_reset(struct QemuEvent *ev)
{
    /* Only set -> clear: a clear one that somebody waits for stays busy. */
    cfix_cmpxchg(&ev->value, EV_SET, EV_FREE);
}

void qemu_event_wait(struct QemuEvent *ev)
{
    /* Pairs with the exchange in qemu_event_set. */
    unsigned value = cfix_load_acquire(&ev->value);

    while (value != EV_SET) {
        if (value == EV_FREE) {
            value = cfix_cmpxchg(&ev->value, EV_FREE, EV_BUSY);
            if (value == EV_SET) {
                return;
            }
        }
        syscall(SYS_futex, &ev->value, FUTEX_WAIT_PRIVATE, EV_BUSY, NULL, NULL,
                0);
        value = cfix_load_acquire(&ev->value);
    }
}
