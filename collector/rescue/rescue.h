/* Kick: gets a stuck QEMU going again; the only room that changes a target.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * No code runs in the target. A loop that was not notified is notified: one is
 * added to the eventfd of its AioContext, as aio_notify() would, which at worst
 * wakes a loop for nothing. A sleeper whose wake was lost is woken by its own
 * timer: that is set to the past, after `to_wake` was put right where it had
 * been erased, and its loop is notified.
 *
 * All of it happens under one stop: the sample that proves the finding again,
 * the reading of the words, the judgement whether they may be written (plan.c),
 * the notification and the writes. The notification comes first: as long as
 * everybody stands still nobody sees it, and from the last write on there is
 * nothing left to do. So should qhang be killed, the kernel lets the target go
 * either as it was, with a loop that wakes up and finds nothing, or rescued.
 * All words go in one system call; a kill within that, which is a matter of
 * some microseconds, can leave the first of them written and the last not. Such
 * a state is known by its timer, set to LONG_AGO, and the next kick goes on
 * from there.
 *
 * Source of facts: util/qemu-timer.c (timerlist_run_timers takes expired timers
 * from the head of the list alone), util/qemu-coroutine-sleep.c (co_sleep_cb),
 * util/async.c (aio_notify); tried on real processes, see tests/lab.
 */
#ifndef QH_RESCUE_H
#define QH_RESCUE_H

#include "diagnose/diagnose.h"
#include "qemu/qemu.h"
#include "target/write.h"

/* What a timer is set to: past by any clock; -1 would mean "not armed". */
enum { QH_RESCUE_LONG_AGO_NS = 1 };

/* One word that a rescue writes, and why. */
struct qh_rescue_write {
    struct qh_word word;
    const char *name; /* "QEMUTimer.expire_time", static */
    const char *why;  /* "in the past: it fires at once", static */
};

/* What is to be done for one finding; plain data. */
struct qh_rescue_plan {
    const char *what; /* "fire the sleeper's timer now", static */
    struct qh_rescue_write writes[QH_WORDS_MAX];
    size_t write_count;
    struct qh_rescue_notifier notifier; /* of the loop that is notified */
};

/*
 * What ends the finding: of a sleeper its timer, else a notification of the
 * finding's context. Errors: REFUSED with the first precondition that does not
 * hold, or when no rescue is known for the rule. `sleep` is NULL unless
 * qh_finding_kick() says TIMER; the snapshot is the one that the finding was
 * made of.
 */
struct qh_error *qh_rescue_plan(const struct qh_snapshot *snapshot,
                                const struct qh_finding *finding,
                                const struct qh_rescue_sleep *sleep,
                                const struct qh_rescue_notifier *notifier,
                                struct qh_rescue_plan *ret) QH_MUST_CHECK;
/* The same of a notification alone, which any loop may be given. */
struct qh_error *
qh_rescue_plan_notify(const struct qh_snapshot *snapshot,
                      const struct qh_rescue_notifier *notifier,
                      struct qh_rescue_plan *ret) QH_MUST_CHECK;

/* Whether the steps are only looked at, or taken. */
enum qh_rescue_mode { QH_RESCUE_DRY, QH_RESCUE_DO };

/*
 * Stops the target, proves `finding` anew, makes the plan, carries it out
 * unless `mode` is DRY, and lets the target go. `agreed` is a plan that was
 * shown before and must not have changed, or NULL. Where a thread is caught on
 * its way back to sleep, it is tried again a little later. Errors, after all of
 * which nothing was written: REFUSED (what was in doubt), those of the stop and
 * of the eventfd, EXITED.
 */
struct qh_error *qh_rescue(struct qh_target *target, struct qh_qemu *qemu,
                           const struct qh_finding *finding,
                           enum qh_rescue_mode mode,
                           const struct qh_rescue_plan *agreed,
                           struct qh_rescue_plan *ret_plan) QH_MUST_CHECK;

/* The loops that were notified, or would be; begin with zeros. */
struct qh_rescue_loops {
    struct qh_snapshot *snapshot;     /* owned; tells their names */
    struct qh_rescue_notifier *items; /* in its arena */
    size_t count, room;
};
void qh_rescue_loops_deinit(struct qh_rescue_loops *loops);
/*
 * Notifies every AioContext of the target once and writes nothing to its
 * memory; with DRY it only tells which. One that is not among the `agreed`,
 * unless that is NULL, or that cannot be notified, is left out. Errors as
 * above; that of one left out when none remains.
 */
struct qh_error *qh_rescue_notify(struct qh_target *target,
                                  struct qh_qemu *qemu,
                                  enum qh_rescue_mode mode,
                                  const struct qh_rescue_loops *agreed,
                                  struct qh_rescue_loops *ret) QH_MUST_CHECK;

/* The frame that a thread waits in; what is seen of the target in it is copied,
 * so that it outlives the snapshot. */
struct qh_rescue_place {
    pid_t tid; /* 0: it is in no such wait */
    uint64_t sp;
    char function[64];
};

/* What became of it. */
struct qh_rescue_outcome {
    enum {
        QH_RESCUE_UNSTUCK, /* the fault is over, and the waiter has left */
        QH_RESCUE_WAITS,   /* the fault is over, and the waiter still waits */
        QH_RESCUE_STUCK,
        QH_RESCUE_UNCLEAR, /* no look could tell whether it is over */
        QH_RESCUE_ENDED    /* the process has ended meanwhile: see `ending` */
    } result;
    struct qh_rescue_place place; /* of the waiter, before */
    struct qh_ending ending;
    int64_t took_ns; /* until then; UNKNOWN unless UNSTUCK or ENDED */
};
/*
 * Looks, without stopping anything, until the process no longer shows `finding`
 * and the thread that waited has left the wait it was in, for `bound_ns` at
 * most. `before` is the snapshot that the finding was made of. A look tells
 * nothing of a thread that runs: it counts as where it was last seen, and as
 * gone if it was never seen. A waiter that is told to wait still may have come
 * back to the same place, if it was seen there by each of many looks. UNCLEAR
 * when the last look found the waiter, or the thread of the finding, stopped by
 * somebody else.
 */
struct qh_error *qh_rescue_watch(struct qh_target *target, struct qh_qemu *qemu,
                                 const struct qh_snapshot *before,
                                 const struct qh_finding *finding,
                                 int64_t bound_ns,
                                 struct qh_rescue_outcome *ret) QH_MUST_CHECK;
/* The same of a fault that is over: UNSTUCK once the thread has left `place`,
 * else WAITS or UNCLEAR; a place that is none, and a thread that has ended,
 * count as left. */
struct qh_error *
qh_rescue_watch_place(struct qh_target *target, struct qh_qemu *qemu,
                      const struct qh_rescue_place *place, int64_t bound_ns,
                      struct qh_rescue_outcome *ret) QH_MUST_CHECK;
/* REFUSED, with what to do first, of a process that a signal keeps stopped. */
struct qh_error *
qh_rescue_check_runs(const struct qh_snapshot *snapshot) QH_MUST_CHECK;
/* Whether it is known to have gone on. */
bool qh_rescue_is_over(const struct qh_rescue_outcome *outcome);

#endif
