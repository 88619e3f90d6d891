/* What suspended coroutines wait for: shared by the files co_*.c.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A frame says which function waits and on which object; the object's own list
 * of waiters says whether the coroutine still stands in it. Each list is
 * walked once, however many wait in it, so that the cost stays linear.
 */
#ifndef QH_QEMU_CO_WAIT_H
#define QH_QEMU_CO_WAIT_H

#include "qemu/reader.h"

enum { QH_MAX_OPERANDS = 7, QH_ROW_OPERANDS = 5 };

/* A function that waits. */
struct qh_co_row {
    const char *function;
    enum qh_wait_kind kind;
    const char *variable; /* of that function, its object; NULL: none */
    bool is_object;       /* the variable is the object, no pointer to it */
    struct {
        const char *what; /* NULL: no more */
        enum qh_field_id field;
    } operands[QH_ROW_OPERANDS];
};

/* The row of a function that yields, or that waits in a CoQueue; or NULL. */
const struct qh_co_row *qh_co_yield_row(const char *function);
const struct qh_co_row *qh_co_queue_row(const char *function);

struct qh_co_waits {
    struct qh_reader *reader;
    /* Of each coroutine by its index: the lock or queue in whose list it
     * stands, its context when that has it scheduled, and the timer whose
     * opaque lies on its stack. */
    struct raddr *stands_in;
    struct raddr *scheduled_in;
    const struct qh_timer **timers;
    const struct qh_sleeper **sleepers;
    bool *linked; /* behind or before another one, by co_queue_next */
    /* Lists that have been walked: an open hash of addresses. */
    struct raddr *walked;
    size_t walked_places; /* a power of two, more than there are coroutines */
    size_t walked_count;
};

/* A lock or queue, by what its list of waiters is made of. */
enum qh_co_list { QH_LIST_MUTEX, QH_LIST_QUEUE, QH_LIST_RWLOCK };

/*
 * Notes who stands in the list of `object`, unless that has been done. What of
 * it cannot be read becomes a gap.
 */
struct qh_error *qh_co_list_walk(struct qh_co_waits *waits,
                                 enum qh_co_list kind,
                                 struct raddr object) QH_MUST_CHECK;

/*
 * Adds the timer that lets a throttled request go; none where it cannot be
 * told (throttle.c).
 */
struct qh_error *qh_co_throttle_timer(struct qh_reader *reader,
                                      const struct qh_walk *walk,
                                      struct qh_wait *wait) QH_MUST_CHECK;

/* Fills the wait of the coroutine at `index`. */
struct qh_error *qh_co_tell(struct qh_co_waits *waits, size_t index,
                            struct qh_wait *wait) QH_MUST_CHECK;

/* Adds a value to the wait; at most QH_MAX_OPERANDS of them. */
struct qh_error *qh_co_operand(struct qh_reader *reader, struct qh_wait *wait,
                               const char *what, int64_t value) QH_MUST_CHECK;
/* The same, member `id` of the object at `object`; one that cannot be read is
 * there and not known, one that this build does not have is left out. */
struct qh_error *qh_co_operand_field(struct qh_reader *reader,
                                     struct qh_wait *wait, const char *what,
                                     struct raddr object,
                                     enum qh_field_id id) QH_MUST_CHECK;

#endif
