/* Coroutines: creating, entering, yielding.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_RUNTIME_COROUTINE_H
#define CFIX_RUNTIME_COROUTINE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

struct AioContext;

/*
 * include/qemu/coroutine_int.h.  A coroutine is a function with a stack of its
 * own.  It is entered by a thread or by another coroutine (`caller`), runs
 * until it yields or returns, and may be entered again from any thread as long
 * as nobody else has it.
 *
 * At any time it is exactly one of: running (it is co_tls_current of a
 * thread), entered (`caller` set, and it has itself entered another one),
 * suspended (it has yielded), created (not yet entered), pooled (it has
 * returned; the stack waits for a next coroutine).
 */
struct Coroutine {
    /* What it runs, and with what. */
    void (*entry)(void *opaque);
    void *entry_arg;
    /* Who entered it; NULL unless running or entered. */
    struct Coroutine *caller;
    /* Link in a CoroutinePoolBatch, valid while pooled. */
    SLIST_ENTRY(Coroutine) pool_next;
    /* How many CoMutexes it holds. */
    size_t locks_held;
    /* The context it last ran in; aio_co_wake brings it back there.  Other
     * threads read it: accessed by acquire and release. */
    struct AioContext *ctx;
    /*
     * Why it must not be entered by just anybody: NULL, or the name of the
     * function that has a claim, "qemu_co_sleep_ns" while it sleeps,
     * "aio_co_schedule" while it stands in a scheduled_coroutines list.
     */
    const char *scheduled;
    /* Link in the one CoQueue or co_queue_wakeup it stands in. */
    SIMPLEQ_ENTRY(Coroutine) co_queue_next;
    /* Coroutines to enter as soon as this one yields or returns. */
    SIMPLEQ_HEAD(, Coroutine) co_queue_wakeup;
    /* Link in AioContext.scheduled_coroutines. */
    SLIST_ENTRY(Coroutine) co_scheduled_next;
};

/* What made qemu_coroutine_switch() come back; never 0 (sigsetjmp). */
enum CoroutineAction {
    COROUTINE_YIELD = 1,
    COROUTINE_TERMINATE = 2,
    COROUTINE_ENTER = 3
};

/*
 * A coroutine that will run entry(opaque) when first entered.  It belongs to
 * itself: when entry returns, its memory goes back to the pool, and the
 * pointer is dead.
 */
struct Coroutine *qemu_coroutine_create(void (*entry)(void *opaque),
                                        void *opaque);

/*
 * Runs `co` in this thread, on its own stack, until it yields or returns; then
 * likewise whatever it has put into its co_queue_wakeup.  `co` must not be
 * running, entered or marked as scheduled.  Its context becomes `ctx`.
 */
void qemu_aio_coroutine_enter(struct AioContext *ctx, struct Coroutine *co);

/* The same in the calling thread's own context. */
void qemu_coroutine_enter(struct Coroutine *co);

/* Back to the caller.  Inside a coroutine only. */
void qemu_coroutine_yield(void);

/* The running coroutine; the thread's leader outside of all. Never NULL. */
struct Coroutine *qemu_coroutine_self(void);

bool qemu_in_coroutine(void);

/*
 * How many coroutine stacks there are in the process: in use (running,
 * entered, suspended or created) and pooled.  Exact when no thread is just
 * creating or ending one.
 */
void qemu_coroutine_census(unsigned *ret_in_use, unsigned *ret_pooled);

/* Frees the calling thread's pool and the global one.  A thread's own pool is
 * freed when it ends; the main thread calls this before it returns. */
void qemu_coroutine_pool_drain(void);

/* --- between coroutine.c and coroutine_ucontext.c --- */

struct Coroutine *qemu_coroutine_new(void);
void qemu_coroutine_free(struct Coroutine *co);
enum CoroutineAction qemu_coroutine_switch(struct Coroutine *from,
                                           struct Coroutine *to,
                                           enum CoroutineAction action);

#endif
