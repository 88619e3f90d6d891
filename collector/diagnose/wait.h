/* Whether what a thread waits for has come, and which loop serves a context.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Sources of the conditions: the functions that qemu/wait_poll.c and
 * wait_drain.c name.
 */
#ifndef QH_DIAGNOSE_WAIT_H
#define QH_DIAGNOSE_WAIT_H

#include "diagnose/rules.h"

enum qh_condition {
    QH_CONDITION_OPEN,    /* it waits rightly */
    QH_CONDITION_MET,     /* what it waits for has come */
    QH_CONDITION_UNKNOWN, /* an operand is not known, or none is told */
};

/* All operands have to hold for a condition to be met; one that does not keeps
 * it open, whatever the others are. */
enum qh_condition qh_wait_condition(const struct qh_wait *wait);
/* The first operand that keeps it open, or NULL. */
const struct qh_operand *qh_wait_open_operand(const struct qh_wait *wait);

/* The operand called `what`, or NULL when it is not there or not known. */
const struct qh_operand *qh_wait_operand_named(const struct qh_wait *wait,
                                               const char *what);

/* The wait of a thread, or NULL. */
const struct qh_wait *qh_wait_of(const struct qh_snapshot *snapshot, pid_t tid);
/* The thread that waits for the coroutine itself, or 0. */
pid_t qh_wait_waiter(const struct qh_snapshot *snapshot,
                     struct raddr coroutine);
/* Whether a thread sleeps on the pool's condition, or on a word of it, as a
 * worker does until there is a request (util/thread-pool.c, worker_thread). */
bool qh_wait_is_for_work(const struct qh_wait *wait,
                         const struct qh_pool *pool);

/*
 * The thread that is asleep in the very poll that would serve the context:
 * its aio_poll(), or the main loop that it is a source of. `context` 0 stands
 * for the main loop's own timers. NULL when there is none: then it is not
 * being served at all, which is no fault of the notification.
 */
const struct qh_thread *qh_loop_asleep(const struct qh_snapshot *snapshot,
                                       struct raddr context);

/* "main thread 7" or "thread 7 (io0)", in the arena; NULL when memory is
 * short. */
const char *qh_thread_words(struct qh_findings *findings,
                            const struct qh_thread *thread);

#endif
