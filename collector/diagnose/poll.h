/* What the rules ask of a thread that sleeps in aio_poll().
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A wait by polling looks at its condition again whenever its aio_poll()
 * returns, whatever made it. So it is stuck only if nothing is on its way to
 * end the poll: no bottom half, no coroutine, no eventfd count, no timer.
 * Source: include/block/aio-wait.h, util/aio-posix.c, util/async.c.
 */
#ifndef QH_POLL_H
#define QH_POLL_H

#include "diagnose/quiet.h"
#include "diagnose/rules.h"

struct qh_poll_view {
    const struct qh_snapshot *snapshot;
    const struct qh_thread *thread;
    const struct qh_context *polled; /* NULL: could not be told */
};

/* The view of a thread; its context is the one it polls, else the main one. */
struct qh_poll_view qh_poll_view(const struct qh_snapshot *snapshot,
                                 const struct qh_thread *thread);

/* Whether the thread waits in the very aio_poll() of `function`, or in
 * whichever is innermost when that is NULL, and not in a callback that this
 * one runs. */
bool qh_poll_is_of(const struct qh_backtrace *stack, const char *function);

/* The AioContext whose notifier ends the poll. */
struct raddr qh_poll_notify(const struct qh_poll_view *view);

/* Whether nothing in the polled context is about to end the poll. */
enum qh_quiet qh_poll_context_quiet(const struct qh_context *polled);

/* (a) and (b): the thread is asleep, nothing is queued, and nobody is between
 * a store and its kick. Looks at every stack. */
enum qh_quiet qh_poll_quiet(const struct qh_poll_view *view);

/* Fills in whether and when a timer ends the poll; DISTURBED when that is now.
 * A poll without a timeout was entered with no timer to wait for. */
enum qh_quiet qh_poll_heals(const struct qh_poll_view *view,
                            struct qh_finding *finding);

/* Adds the evidence that nothing is queued, where that is known. */
struct qh_error *qh_poll_evidence(const struct qh_poll_view *view,
                                  struct qh_findings *findings,
                                  struct qh_finding *finding) QH_MUST_CHECK;

/* A line of evidence whose value is a number; `what` as qh_evidence_add(). */
struct qh_error *qh_number_evidence(struct qh_findings *findings,
                                    struct qh_finding *finding,
                                    const char *what, struct raddr address,
                                    int64_t value) QH_MUST_CHECK;

#endif
