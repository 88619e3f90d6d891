/* Conditions (a) and (b) of every rule: nobody is about to wake the waiter.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A QEMU with much to do is caught, now and then, between a store and the wake
 * that follows it. Only the stacks tell that instant from a hang, so each rule
 * names the functions that its store and its wake lie in.
 */
#ifndef QH_QUIET_H
#define QH_QUIET_H

#include "snapshot/snapshot.h"

/* The answer to "is nobody at it?"; the larger, the less sure. */
enum qh_quiet {
    QH_QUIET,         /* nobody is */
    QH_QUIET_UNKNOWN, /* a stack that cannot be seen whole might be */
    QH_DISTURBED      /* somebody is: look again later */
};

/* The less sure one of two. */
enum qh_quiet qh_quiet_worse(enum qh_quiet one, enum qh_quiet other);

/*
 * (a): whether thread `tid` is asleep in the kernel and nothing has come for
 * it. UNKNOWN for tid 0, an unlisted thread, one in state D, of which nothing
 * is known but that, and one that may have been woken just before its core was
 * taken.
 */
enum qh_quiet qh_quiet_asleep(const struct qh_snapshot *snapshot, pid_t tid);

/*
 * (b): whether no thread and no coroutine is inside any of the `count`
 * functions. Inlined frames count; frames outside of an entered coroutine do
 * not, for their wake has arrived. Suspended coroutines count too: a function
 * that stores and wakes never yields in between, so one that sits there is one
 * whose registers are not what they seem. Pooled ones and those not yet
 * entered have no frames of their own.
 *
 * A stack that was cut leaves it UNKNOWN, but for two kinds of threads: a vCPU
 * (TCG's generated code has no CFI; it is called from the CPU loop only) and
 * the kernel's own io_uring workers, which have no user code at all.
 */
enum qh_quiet qh_quiet_functions(const struct qh_snapshot *snapshot,
                                 const char *const *functions, size_t count);

/* The same for the threads alone, each with the coroutine that it is inside
 * of: for functions that a suspended coroutine rightly waits in. */
enum qh_quiet qh_quiet_threads(const struct qh_snapshot *snapshot,
                               const char *const *functions, size_t count);

#endif
