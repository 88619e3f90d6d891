/* What both sleep rules ask of a sleeper, and say about it.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source of the facts: util/qemu-coroutine-sleep.c (qemu_co_sleep,
 * qemu_co_sleep_wake, co_sleep_cb) and, for the cache cleaner, block/qcow2.c
 * (cache_clean_timer, cache_clean_timer_co_locked_del_and_wait).
 */
#ifndef QH_SLEEP_H
#define QH_SLEEP_H

#include "diagnose/quiet.h"
#include "diagnose/rules.h"

/* A parked sleeper with everything around it; points into the snapshot. */
struct qh_sleep_view {
    const struct qh_snapshot *snapshot;
    const struct qh_sleeper *sleeper;
    const struct qh_coroutine *coroutine;
    const struct qh_context *context;       /* it last ran in; may be NULL */
    const struct qh_thread *home;           /* that runs it; may be NULL */
    const struct qh_cache_cleaner *cleaner; /* NULL: another user, or unread */
};

/*
 * Fills `*ret` when the sleeper is parked: its coroutine is known, suspended
 * and marked as sleeping. False leaves it alone; then `*ret_running` says
 * whether the coroutine is in the middle of going to sleep or waking up, or may
 * be for all that is known: its thread got to no CPU to be looked at.
 */
bool qh_sleep_view(const struct qh_snapshot *snapshot,
                   const struct qh_sleeper *sleeper, struct qh_sleep_view *ret,
                   bool *ret_running);

/* Has `judge` look at each sleeper; `wake` is qh_sleep_wake_quiet(). */
struct qh_error *qh_sleep_each(
    const struct qh_snapshot *snapshot, struct qh_findings *findings,
    struct qh_error *(*judge)(const struct qh_snapshot *snapshot,
                              const struct qh_sleeper *sleeper,
                              enum qh_quiet wake,
                              struct qh_findings *findings)) QH_MUST_CHECK;

/* (b): whether nobody is inside the wake of any sleeper, the timer's included.
 * Looks at every stack: to be asked once for all sleepers. */
enum qh_quiet qh_sleep_wake_quiet(const struct qh_snapshot *snapshot);
/* (a): whether all that wait for the cleaner's end are asleep; QUIET when
 * nobody is known to wait. */
enum qh_quiet qh_sleep_waiters_quiet(const struct qh_sleep_view *view);
/* Whether the sleeper's own timer is not about to be served: it is some time
 * ahead, or off its list with nobody running that list. */
enum qh_quiet qh_sleep_timer_quiet(const struct qh_sleep_view *view);

/* Whether the timer calls itself armed and yet is on no list that was read: a
 * list is broken or could not be read to its end. */
bool qh_sleep_timer_lost(const struct qh_sleeper *sleeper);

/* Whether somebody told the cache cleaner to stop and waits for it. */
bool qh_sleep_cleaner_awaited(const struct qh_sleep_view *view);

/* Fills in what both rules say alike: who, where, fixed in, fingerprint. */
void qh_sleep_describe(const struct qh_sleep_view *view,
                       struct qh_finding *finding);
/* The evidence that the cleaner was told to stop, and of who waits for it. */
struct qh_error *qh_sleep_cleaner_evidence(const struct qh_sleep_view *view,
                                           struct qh_findings *findings,
                                           struct qh_finding *finding)
    QH_MUST_CHECK;
/* "0x7f8e280039c0", in the arena of `findings`; NULL when memory is short. */
const char *qh_hex(struct qh_findings *findings, uint64_t value);
/* What to call the thread that serves the sleeper's timer: "io0", "main". */
const char *qh_sleep_home_name(const struct qh_sleep_view *view);

#endif
