/* What a thread or a coroutine waits for, as plain data.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The readers of qemu/ tell a wait from the frames and from the object that
 * those frames work on, and note its operands; whether its condition holds is
 * judged in diagnose/. Everything lives in the snapshot's arena.
 */
#ifndef QH_WAIT_H
#define QH_WAIT_H

#include "base/base.h"
#include <sys/types.h>

/* X(constant, name in JSON); with the QEMU function that waits. */
#define QH_WAIT_KINDS(X)                                                       \
    /* Of coroutines. */                                                       \
    X(QH_WAIT_SLEEP, "sleep")         /* qemu_co_sleep() */                    \
    X(QH_WAIT_CO_MUTEX, "co-mutex")   /* qemu_co_mutex_lock() */               \
    X(QH_WAIT_CO_QUEUE, "co-queue")   /* qemu_co_queue_wait() */               \
    X(QH_WAIT_CO_RWLOCK, "co-rwlock") /* qemu_co_rwlock_rdlock(), wrlock() */  \
    X(QH_WAIT_GRAPH_READ, "graph-read-lock") /* bdrv_graph_co_rdlock() */      \
    X(QH_WAIT_FD, "fd")                      /* yield_until_fd_readable() */   \
    X(QH_WAIT_TIMER, "timer")                                                  \
    X(QH_WAIT_BH, "bottom-half")                                               \
    X(QH_WAIT_AIO, "aio-completion")  /* an AIOCB, a worker, a ring */         \
    X(QH_WAIT_JOB_PAUSE, "job-pause") /* job_do_yield() */                     \
    X(QH_WAIT_NBD, "nbd")                                                      \
    X(QH_WAIT_THROTTLE, "throttle") /* throttle_group_co_io_limits_...() */    \
    /* Of threads, and some of coroutines too. */                              \
    X(QH_WAIT_DRAIN, "drain")                  /* bdrv_drained_begin() */      \
    X(QH_WAIT_GRAPH_WRITE, "graph-write-lock") /* bdrv_graph_wrlock() */       \
    X(QH_WAIT_POLL, "poll")                    /* another AIO_WAIT_WHILE() */  \
    X(QH_WAIT_EVENTS, "events") /* a loop that has nothing to do */            \
    X(QH_WAIT_MUTEX, "mutex")   /* a QemuMutex, thus a pthread mutex */        \
    X(QH_WAIT_BQL, "bql")                                                      \
    X(QH_WAIT_COND, "cond")   /* a QemuCond */                                 \
    X(QH_WAIT_EVENT, "event") /* a QemuEvent */                                \
    X(QH_WAIT_JOIN, "thread-join")                                             \
    X(QH_WAIT_RCU, "rcu")                                                      \
    X(QH_WAIT_KERNEL, "kernel") /* state D */                                  \
    X(QH_WAIT_UNKNOWN, "unknown")

#define QH_ENUMERATOR(constant, name) constant,
enum qh_wait_kind { QH_WAIT_KINDS(QH_ENUMERATOR) };
#undef QH_ENUMERATOR

const char *qh_wait_kind_name(enum qh_wait_kind kind);

/* One value that a wait's condition is made of. */
struct qh_operand {
    const char *what; /* "in_flight", "done"; static */
    struct raddr address;
    int64_t value;
    bool known; /* false: it could not be read */
};

/* One waiter: a thread, or a suspended coroutine (then tid is 0). */
struct qh_wait {
    enum qh_wait_kind kind;
    pid_t tid;
    struct raddr coroutine;
    const char *function;    /* whose frame tells it, or NULL */
    struct raddr object;     /* the lock, queue, QemuCoSleep, ..., or 0 */
    const char *object_name; /* node, job, export; raw; or NULL */
    /* Who holds the object, or whose work ends the wait: either may be 0, and
     * both are where it is not known or nobody in particular. */
    pid_t owner_tid;
    struct raddr owner_coroutine;
    struct raddr timer; /* QEMUTimer that ends the wait, or 0 */
    struct qh_operand *operands;
    size_t operand_count;
    /* Live: an operand was read after the target ran on, so that it need not
     * go with the rest of the sample. The next one has it in time. */
    bool late;
};

#endif
