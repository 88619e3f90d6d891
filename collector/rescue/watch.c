/* Whether a rescued process goes on: looked at, not stopped.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "rescue/rescue.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Between two looks; each costs the target nothing. */
static const struct timespec look_pause = { .tv_nsec = 10000000 };
/* So often it must be seen to be gone: one look may fall into a moment in which
 * its thread has just got up. */
enum { UNSEEN_LOOKS = 2 };

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* What one look tells of the fault, or of the waiter. */
enum sight { SEEN_THERE, SEEN_GONE, NOT_SEEN };

/* The sleeper is still parked in the sleep whose timer was made to fire; one
 * that sleeps anew has another time to wake. */
static enum sight look_at_sleeper(const struct qh_snapshot *snapshot,
                                  const struct qh_finding *finding)
{
    const struct qh_sleeper *sleeper =
        qh_snapshot_sleeper(snapshot, finding->coroutine);

    if (!sleeper) {
        return snapshot->gap_count &&
                       !qh_snapshot_coroutine(snapshot, finding->coroutine)
                   ? NOT_SEEN
                   : SEEN_GONE;
    }
    return sleeper->expire_ns == QH_TIME_UNKNOWN ||
                   sleeper->expire_ns <= QH_RESCUE_LONG_AGO_NS
               ? SEEN_THERE
               : SEEN_GONE;
}

/* Found again; or not, but something looks like it. */
static enum sight look_for_finding(const struct qh_findings *findings,
                                   const struct qh_finding *finding)
{
    for (size_t i = 0; i < findings->count; i++) {
        if (qh_finding_is_same(&findings->items[i], finding)) {
            return SEEN_THERE;
        }
    }
    return findings->unsettled ? NOT_SEEN : SEEN_GONE;
}

/* The waits of AIO_WAIT_WHILE(): those that a rescue ends. */
static const struct qh_wait *polling_wait(const struct qh_snapshot *snapshot,
                                          pid_t tid)
{
    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_wait *wait = &snapshot->waits[i];
        if (wait->tid == tid &&
            (wait->kind == QH_WAIT_DRAIN || wait->kind == QH_WAIT_POLL ||
             wait->kind == QH_WAIT_GRAPH_WRITE)) {
            return wait;
        }
    }
    return NULL;
}

static struct qh_rescue_place place_of(const struct qh_snapshot *snapshot,
                                       pid_t tid)
{
    struct qh_rescue_place place = { 0 };
    const struct qh_thread *thread =
        tid ? qh_snapshot_thread(snapshot, tid) : NULL;
    const struct qh_wait *wait = thread ? polling_wait(snapshot, tid) : NULL;

    for (size_t i = 0; wait && wait->function && i < thread->stack.count; i++) {
        const struct qh_frame *frame = &thread->stack.frames[i];
        if (frame->function && frame->sp.value &&
            !strcmp(frame->function, wait->function)) {
            place.tid = tid;
            place.sp = frame->sp.value;
            snprintf(place.function, sizeof(place.function), "%s",
                     wait->function);
            break;
        }
    }
    return place;
}

static enum sight look_at_waiter(const struct qh_snapshot *snapshot,
                                 const struct qh_rescue_place *place)
{
    const struct qh_thread *thread = qh_snapshot_thread(snapshot, place->tid);

    if (!place->tid || !thread) {
        return SEEN_GONE;
    }
    for (size_t i = 0; i < thread->stack.count; i++) {
        const struct qh_frame *frame = &thread->stack.frames[i];
        if (frame->function && frame->sp.value == place->sp &&
            !strncmp(frame->function, place->function,
                     sizeof(place->function) - 1)) {
            return SEEN_THERE;
        }
    }
    return thread->stack.count && !thread->stack.cut ? SEEN_GONE : NOT_SEEN;
}

/* What is looked for, and how far it has come. */
struct watch {
    struct qh_qemu *qemu;
    const struct qh_finding *finding; /* NULL: it is known to be over */
    struct qh_rescue_place place;
    int64_t began_ns, bound_ns;
    enum sight fault, waiter; /* of the last look that saw them */
    int64_t gone_ns; /* since when neither was seen there; or UNKNOWN */
    int gone_looks;  /* that saw both gone since then */
    bool halted;     /* by the last look: somebody else keeps it stopped */
};

static bool is_thread_halted(const struct qh_snapshot *snapshot, pid_t tid)
{
    const struct qh_thread *thread =
        tid ? qh_snapshot_thread(snapshot, tid) : NULL;

    return thread && thread->halt != QH_HALT_NONE;
}

/* Whether one of those that are to go on can't. */
static bool is_halted(const struct qh_snapshot *snapshot,
                      const struct watch *watch)
{
    return is_thread_halted(snapshot, watch->place.tid) ||
           (watch->finding &&
            (is_thread_halted(snapshot, watch->finding->tid) ||
             is_thread_halted(snapshot, watch->finding->waiter)));
}

/* Of a sleeper its own state tells, whatever the other threads are at; of a
 * loop only the rules do. */
static struct qh_error *look(struct watch *watch, enum sight *ret_fault,
                             enum sight *ret_waiter)
{
    QH_CLEANUP(qh_snapshot_guard) struct qh_snapshot *snapshot = NULL;
    QH_CLEANUP(qh_findings_guard) struct qh_findings *findings = NULL;

    QH_TRY(qh_qemu_sample(watch->qemu, &snapshot));
    watch->halted = is_halted(snapshot, watch);
    *ret_waiter = look_at_waiter(snapshot, &watch->place);
    if (!watch->finding) {
        *ret_fault = SEEN_GONE;
        return NULL;
    }
    if (qh_finding_kick(watch->finding) == QH_KICK_TIMER) {
        *ret_fault = look_at_sleeper(snapshot, watch->finding);
        return NULL;
    }
    if (watch->halted) { /* no rule takes it for asleep */
        *ret_fault = NOT_SEEN;
        return NULL;
    }
    QH_TRY(qh_diagnose(snapshot, &findings));
    *ret_fault = look_for_finding(findings, watch->finding);
    return NULL;
}

static void take_look(struct watch *watch, enum sight fault, enum sight waiter)
{
    if (fault != NOT_SEEN) {
        watch->fault = fault;
    }
    if (waiter != NOT_SEEN) {
        watch->waiter = waiter;
    }
    if (watch->fault != SEEN_GONE || watch->waiter == SEEN_THERE) {
        watch->gone_ns = QH_TIME_UNKNOWN;
        watch->gone_looks = 0;
        return;
    }
    if (watch->gone_ns == QH_TIME_UNKNOWN) {
        watch->gone_ns = now_ns() - watch->began_ns;
    }
    watch->gone_looks += fault == SEEN_GONE && waiter == SEEN_GONE;
}

/* When the time is over. */
static struct qh_rescue_outcome outcome_of(const struct watch *watch)
{
    struct qh_rescue_outcome outcome = { .took_ns = QH_TIME_UNKNOWN };

    if (watch->halted && watch->gone_looks < UNSEEN_LOOKS) {
        outcome.result = QH_RESCUE_UNCLEAR;
    } else if (watch->gone_ns != QH_TIME_UNKNOWN) {
        outcome.result = QH_RESCUE_UNSTUCK;
        outcome.took_ns = watch->gone_ns;
    } else {
        outcome.result = watch->fault == SEEN_GONE    ? QH_RESCUE_WAITS
                         : watch->fault == SEEN_THERE ? QH_RESCUE_STUCK
                                                      : QH_RESCUE_UNCLEAR;
    }
    return outcome;
}

static struct qh_error *look_until_gone(struct watch *watch,
                                        struct qh_rescue_outcome *ret)
{
    while (watch->gone_looks < UNSEEN_LOOKS) {
        enum sight fault, waiter;

        QH_TRY(look(watch, &fault, &waiter));
        take_look(watch, fault, waiter);
        if (watch->gone_looks < UNSEEN_LOOKS &&
            now_ns() - watch->began_ns >= watch->bound_ns) {
            break;
        }
        nanosleep(&look_pause, NULL);
    }
    *ret = outcome_of(watch);
    return NULL;
}

/* As long as its waiter has not left `place`. */
static struct qh_error *
run_watch(struct qh_target *target, struct qh_qemu *qemu,
          const struct qh_finding *finding, const struct qh_rescue_place *place,
          int64_t bound_ns, struct qh_rescue_outcome *ret)
{
    struct qh_rescue_outcome outcome = { .took_ns = QH_TIME_UNKNOWN };
    struct watch watch = {
        .qemu = qemu,
        .finding = finding,
        .place = *place,
        .began_ns = now_ns(),
        .bound_ns = bound_ns,
        .fault = NOT_SEEN,
        .waiter = NOT_SEEN,
        .gone_ns = QH_TIME_UNKNOWN,
    };

    qh_target_leave_running(target, true);
    struct qh_error *error = look_until_gone(&watch, &outcome);
    qh_target_leave_running(target, false);
    if (qh_error_is_gone(error)) {
        qh_error_destroy(error);
        outcome =
            (struct qh_rescue_outcome){ .result = QH_RESCUE_ENDED,
                                        .ending = qh_target_ending(target),
                                        .took_ns = now_ns() - watch.began_ns };
    } else if (error) {
        return error;
    }
    outcome.place = *place;
    *ret = outcome;
    return NULL;
}

struct qh_error *qh_rescue_watch(struct qh_target *target, struct qh_qemu *qemu,
                                 const struct qh_snapshot *before,
                                 const struct qh_finding *finding,
                                 int64_t bound_ns,
                                 struct qh_rescue_outcome *ret)
{
    const struct qh_rescue_place place =
        place_of(before, finding->waiter ? finding->waiter : finding->tid);

    return run_watch(target, qemu, finding, &place, bound_ns, ret);
}

struct qh_error *qh_rescue_watch_place(struct qh_target *target,
                                       struct qh_qemu *qemu,
                                       const struct qh_rescue_place *place,
                                       int64_t bound_ns,
                                       struct qh_rescue_outcome *ret)
{
    return run_watch(target, qemu, NULL, place, bound_ns, ret);
}

bool qh_rescue_is_over(const struct qh_rescue_outcome *outcome)
{
    return outcome->result == QH_RESCUE_UNSTUCK ||
           (outcome->result == QH_RESCUE_ENDED &&
            outcome->ending.how == QH_ENDING_EXITED);
}
