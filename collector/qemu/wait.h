/* What the readers of threads' waits share; private to qemu/.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A thread's wait is told from the innermost frame that is known to wait:
 * of a lock (wait_lock.c), or of aio_poll(), and then by the function that
 * polls (wait_poll.c, wait_drain.c). What that function waits for is read from
 * its parameters and locals. Members are looked up as they are come upon:
 * hardly any of them is needed in any one sample.
 *
 * Frames are known only when the target runs on, and what they point to may
 * have changed by then. So each place that was read is remembered and, in the
 * next sample, brought into the cache while the target stands still; until
 * then the wait is marked as `late`.
 */
#ifndef QH_QEMU_WAIT_H
#define QH_QEMU_WAIT_H

#include "qemu/reader.h"

/* One thread's wait in the making. */
struct qh_wait_maker {
    struct qh_reader *reader;
    const struct qh_thread *thread;
    const struct qh_task *task;
    const struct qh_walk *walk;
    size_t frame; /* index of the frame that tells it */
    struct qh_wait *wait;
    size_t operand_room;
};

/* A member of QEMU's, named; `anchor` as for qh_debug_field(). */
struct qh_member {
    const char *type, *path, *anchor;
};

/* Reads `bytes` (at most 8) into the low bytes of `*ret`, and remembers the
 * place for the next sample. */
struct qh_error *qh_wait_read(struct qh_wait_maker *maker, struct raddr address,
                              size_t bytes, uint64_t *ret) QH_MUST_CHECK;
/* Address and value of an integer or pointer member. */
struct qh_error *qh_wait_member(struct qh_wait_maker *maker,
                                struct raddr object,
                                const struct qh_member *member,
                                struct raddr *ret_address,
                                uint64_t *ret) QH_MUST_CHECK;
/* The same, a pointer's value alone. */
struct qh_error *qh_wait_link(struct qh_wait_maker *maker, struct raddr object,
                              const struct qh_member *member,
                              struct raddr *ret) QH_MUST_CHECK;
/* Adds an operand; with an error, which it takes over, one that is not known,
 * and a gap that says so. `what` is static. */
struct qh_error *qh_wait_operand(struct qh_wait_maker *maker, const char *what,
                                 struct raddr address, uint64_t value,
                                 struct qh_error *error) QH_MUST_CHECK;
/* Reads a member into an operand. */
struct qh_error *qh_wait_operand_of(struct qh_wait_maker *maker,
                                    struct raddr object,
                                    const struct qh_member *member,
                                    const char *what) QH_MUST_CHECK;

/* Fill maker->wait; frame `maker->frame` is that of a function they know. */
struct qh_error *qh_tell_mutex(struct qh_wait_maker *maker) QH_MUST_CHECK;
struct qh_error *qh_tell_cond(struct qh_wait_maker *maker) QH_MUST_CHECK;
struct qh_error *qh_tell_event(struct qh_wait_maker *maker) QH_MUST_CHECK;
struct qh_error *qh_tell_join(struct qh_wait_maker *maker) QH_MUST_CHECK;
struct qh_error *qh_tell_rcu(struct qh_wait_maker *maker) QH_MUST_CHECK;
struct qh_error *qh_tell_poll(struct qh_wait_maker *maker) QH_MUST_CHECK;
/* `function` is bdrv_do_drained_begin() or one like it. */
struct qh_error *qh_tell_drain(struct qh_wait_maker *maker,
                               const char *function) QH_MUST_CHECK;
struct qh_error *qh_tell_drain_all(struct qh_wait_maker *maker) QH_MUST_CHECK;

/* The thread that calls itself `tid` in its own pid namespace, or 0. */
pid_t qh_thread_by_own_tid(const struct qh_reader *reader, uint64_t tid);

#endif
