/* Conditions (a) and (b): is anybody about to wake the waiter?
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose/quiet.h"

#include <string.h>

enum qh_quiet qh_quiet_worse(enum qh_quiet one, enum qh_quiet other)
{
    return one > other ? one : other;
}

enum qh_quiet qh_quiet_asleep(const struct qh_snapshot *snapshot, pid_t tid)
{
    const struct qh_thread *thread = qh_snapshot_thread(snapshot, tid);

    if (!tid || !thread || thread->state == QH_THREAD_IN_KERNEL) {
        return QH_QUIET_UNKNOWN;
    }
    if (thread->state != QH_THREAD_BLOCKED) {
        return QH_DISTURBED;
    }
    return thread->perhaps_awake ? QH_QUIET_UNKNOWN : QH_QUIET;
}

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; name && i < count; i++) {
        if (!strcmp(name, names[i])) {
            return true;
        }
    }
    return false;
}

static enum qh_quiet stack_quiet(const struct qh_backtrace *stack,
                                 const char *const *functions, size_t count)
{
    static const char *const entering[] = { "qemu_aio_coroutine_enter" };

    for (size_t i = 0; i < stack->count; i++) {
        const char *name = stack->frames[i].function;
        if (is_one_of(name, functions, count)) {
            return QH_DISTURBED;
        }
        if (is_one_of(name, entering, QH_COUNT(entering))) {
            /* Whoever stands outside of it has delivered its wake: a timer's
             * callback, say, whose coroutine has run on from here. */
            return QH_QUIET;
        }
    }
    return stack->count && !stack->cut ? QH_QUIET : QH_QUIET_UNKNOWN;
}

/* Threads that the kernel made for an io_uring (io_uring/io-wq.c, sqpoll.c):
 * they show up among the tasks but never run user code. */
static bool is_kernel_worker(const struct qh_thread *thread)
{
    return thread->name && (!strncmp(thread->name, "iou-wrk-", 8) ||
                            !strncmp(thread->name, "iou-sqp-", 8));
}

static enum qh_quiet thread_quiet(const struct qh_snapshot *snapshot,
                                  const struct qh_thread *thread,
                                  const char *const *functions, size_t count)
{
    enum qh_quiet quiet = stack_quiet(&thread->stack, functions, count);

    if (quiet == QH_QUIET_UNKNOWN &&
        (is_kernel_worker(thread) || (thread->role == QH_ROLE_VCPU &&
                                      thread->state != QH_THREAD_IN_KERNEL))) {
        return QH_QUIET;
    }
    if (snapshot->kind == QH_TARGET_LIVE && !snapshot->unstopped &&
        thread->state == QH_THREAD_RUNNABLE && !thread->stack.count) {
        /* It got to no CPU to be stopped, and may have stood at the wake for
         * all that time; the next sample may see more of it. */
        return QH_DISTURBED;
    }
    return quiet;
}

enum qh_quiet qh_quiet_threads(const struct qh_snapshot *snapshot,
                               const char *const *functions, size_t count)
{
    enum qh_quiet quiet = QH_QUIET;

    for (size_t i = 0; i < snapshot->thread_count; i++) {
        quiet =
            qh_quiet_worse(quiet, thread_quiet(snapshot, &snapshot->threads[i],
                                               functions, count));
    }
    return quiet;
}

static enum qh_quiet coroutine_quiet(const struct qh_coroutine *coroutine,
                                     const char *const *functions, size_t count)
{
    switch (coroutine->state) {
    case QH_CO_POOLED:
    case QH_CO_CREATED:
    case QH_CO_RUNNING: /* its frames are the thread's */
        return QH_QUIET;
    case QH_CO_ENTERED:
        return stack_quiet(&coroutine->stack, functions, count);
    case QH_CO_SUSPENDED:
        break;
    }
    /* It yielded, so what cannot be seen of it does not wake anybody. */
    enum qh_quiet quiet = stack_quiet(&coroutine->stack, functions, count);
    return quiet == QH_QUIET_UNKNOWN ? QH_QUIET : quiet;
}

enum qh_quiet qh_quiet_functions(const struct qh_snapshot *snapshot,
                                 const char *const *functions, size_t count)
{
    enum qh_quiet quiet = qh_quiet_threads(snapshot, functions, count);

    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        quiet = qh_quiet_worse(
            quiet, coroutine_quiet(&snapshot->coroutines[i], functions, count));
    }
    return quiet;
}
