/* Threads, mutexes and one-shot events under the names QEMU gives them.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_RUNTIME_THREAD_H
#define CFIX_RUNTIME_THREAD_H

/*
 * This folder, cfix/runtime, is a small coroutine runtime for victims and
 * for checking cfix itself.  Its struct tags, members, variables and functions
 * carry the names of QEMU 10.2, because a collector finds a QEMU's state by
 * these names in the debug information, and must find a victim's in the same
 * way.  Layouts and code are its own; where QEMU's meaning of a member matters
 * to an observer, the member's comment says what it means and which QEMU file
 * it stands in.
 *
 *   thread.h          threads, QemuMutex, QemuEvent
 *   coroutine.h       coroutines on mmapped stacks, their pool
 *   timer.h           clocks and sorted timer lists
 *   event_notifier.h  the eventfd of a loop
 *   aio.h             AioContext: BHs, fd handlers, aio_poll, waking coroutines
 *   aio_wait.h        the main thread's wait loop and its kick
 *   co_lock.h         CoMutex, CoQueue
 *   iothread.h        a thread that runs one AioContext
 *   main_loop.h       the main thread's loop over two
 *   window.h          the instants at which a victim may hold a thread
 *
 * Beside it: co_sleep.h and graph_lock.h, the two primitives that cfix is
 * about, each with a fixed source here and a faulty one in legacy/, chosen at
 * link time.
 *
 * Errors: running out of memory, threads or descriptors, and every misuse,
 * ends the program by abort() after a line on stderr.  No function returns an
 * error unless it says so.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* Ends the program: prints "cfix: `what`: <errno text>" if errno is set. */
void cfix_die(const char *what) __attribute__((noreturn, cold));

/* Zeroed memory of `size` bytes, never NULL; the caller frees it. */
void *cfix_zalloc(size_t size) __attribute__((malloc, returns_nonnull));

/* include/qemu/thread-posix.h.  Not recursive; lock.__data.__owner is a TID. */
struct QemuMutex {
    pthread_mutex_t lock;
    bool initialized;
};

void qemu_mutex_init(struct QemuMutex *mutex);
void qemu_mutex_destroy(struct QemuMutex *mutex);
void qemu_mutex_lock(struct QemuMutex *mutex);
void qemu_mutex_unlock(struct QemuMutex *mutex);

struct QemuThread {
    pthread_t thread;
};

/*
 * Starts `start_routine(arg)` below a frame of qemu_thread_start.  `name` is
 * set as the thread's comm, cut to 15 bytes.  Every thread must be joined.
 */
void qemu_thread_create(struct QemuThread *thread, const char *name,
                        void *(*start_routine)(void *), void *arg);
void *qemu_thread_join(struct QemuThread *thread);

/* The kernel's id of the calling thread in its own PID namespace. */
int qemu_get_thread_id(void);

/*
 * A flag that can be waited for (util/event.c).  `value` is 0 when set, 1 when
 * clear, and all ones when clear with somebody in a futex wait on it.
 */
struct QemuEvent {
    unsigned value;
    bool initialized;
};

void qemu_event_init(struct QemuEvent *ev, bool set);
void qemu_event_set(struct QemuEvent *ev);
void qemu_event_reset(struct QemuEvent *ev);
/* Returns once the event was seen set; does not clear it. */
void qemu_event_wait(struct QemuEvent *ev);

#endif
