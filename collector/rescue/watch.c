/* Whether a rescued process goes on: looked at, not stopped.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "rescue/rescue.h"

#include <string.h>
#include <time.h>

/* Between two looks; each costs the target nothing. */
static const struct timespec look_pause = { .tv_nsec = 10000000 };
/* So often in a row it must not be seen: one look may fall into a moment in
 * which its thread has just got up. */
enum { UNSEEN_LOOKS = 2 };

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* The sleeper is still parked in the sleep whose timer was made to fire, for
 * all that could be read; one that sleeps anew has another time to wake. */
static bool sleeps_on(const struct qh_snapshot *snapshot,
                      const struct qh_finding *finding)
{
    const struct qh_sleeper *sleeper =
        qh_snapshot_sleeper(snapshot, finding->coroutine);

    if (!sleeper) {
        return snapshot->gap_count &&
               !qh_snapshot_coroutine(snapshot, finding->coroutine);
    }
    return sleeper->expire_ns == QH_TIME_UNKNOWN ||
           sleeper->expire_ns <= QH_RESCUE_LONG_AGO_NS;
}

/* Found again; or not, but something looks like it. */
static bool is_found(const struct qh_findings *findings,
                     const struct qh_finding *finding)
{
    for (size_t i = 0; i < findings->count; i++) {
        if (qh_rescue_is_same(&findings->items[i], finding)) {
            return true;
        }
    }
    return findings->unsettled;
}

/* A place that a thread waits at: the frame that polls, and for what. */
struct place {
    pid_t tid; /* 0: it is in no such wait */
    enum qh_wait_kind kind;
    struct raddr object;
    uint64_t sp;
};

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

static uint64_t sp_of(const struct qh_backtrace *stack, const char *function)
{
    for (size_t i = 0; i < stack->count; i++) {
        const struct qh_frame *frame = &stack->frames[i];
        if (frame->function && !strcmp(frame->function, function)) {
            return frame->sp.value;
        }
    }
    return 0;
}

static struct place place_of(const struct qh_snapshot *snapshot, pid_t tid)
{
    const struct qh_thread *thread =
        tid ? qh_snapshot_thread(snapshot, tid) : NULL;
    const struct qh_wait *wait = thread ? polling_wait(snapshot, tid) : NULL;
    uint64_t sp =
        wait && wait->function ? sp_of(&thread->stack, wait->function) : 0;

    return sp ? (struct place){ tid, wait->kind, wait->object, sp }
              : (struct place){ 0 };
}

static bool is_there(const struct qh_snapshot *snapshot,
                     const struct place *place)
{
    const struct place now = place_of(snapshot, place->tid);

    return now.tid && now.kind == place->kind && now.sp == place->sp &&
           qh_raddr_equal(now.object, place->object);
}

/* What is looked for, and how far it has come. */
struct watch {
    struct qh_qemu *qemu;
    const struct qh_finding *finding;
    struct place place;
    int64_t began_ns, bound_ns;
    bool fault, waiter; /* at the last look */
};

/* Of a sleeper its own state tells, whatever the other threads are at; of a
 * loop only the rules do. */
static struct qh_error *look(struct watch *watch)
{
    QH_CLEANUP(qh_snapshot_guard) struct qh_snapshot *snapshot = NULL;
    QH_CLEANUP(qh_findings_guard) struct qh_findings *findings = NULL;

    QH_TRY(qh_qemu_sample(watch->qemu, &snapshot));
    watch->waiter = is_there(snapshot, &watch->place);
    if (qh_finding_kick(watch->finding) == QH_KICK_TIMER) {
        watch->fault = sleeps_on(snapshot, watch->finding);
        return NULL;
    }
    QH_TRY(qh_diagnose(snapshot, &findings));
    watch->fault = is_found(findings, watch->finding);
    return NULL;
}

static struct qh_error *look_until_gone(struct watch *watch,
                                        struct qh_rescue_outcome *outcome)
{
    int unseen = 0;

    while (unseen < UNSEEN_LOOKS) {
        QH_TRY(look(watch));
        int64_t took_ns = now_ns() - watch->began_ns;
        bool there = watch->fault || watch->waiter;
        if (there && took_ns >= watch->bound_ns) {
            *outcome = (struct qh_rescue_outcome){
                .result = watch->fault ? QH_RESCUE_STUCK : QH_RESCUE_WAITS,
                .took_ns = QH_TIME_UNKNOWN
            };
            return NULL;
        }
        if (there) {
            unseen = 0;
        } else if (!unseen++) {
            outcome->took_ns = took_ns;
        }
        nanosleep(&look_pause, NULL);
    }
    outcome->result = QH_RESCUE_UNSTUCK;
    return NULL;
}

struct qh_error *qh_rescue_watch(struct qh_target *target, struct qh_qemu *qemu,
                                 const struct qh_snapshot *before,
                                 const struct qh_finding *finding,
                                 int64_t bound_ns,
                                 struct qh_rescue_outcome *ret)
{
    struct qh_rescue_outcome outcome = { .took_ns = QH_TIME_UNKNOWN };
    struct watch watch = {
        .qemu = qemu,
        .finding = finding,
        .place =
            place_of(before, finding->waiter ? finding->waiter : finding->tid),
        .began_ns = now_ns(),
        .bound_ns = bound_ns,
    };

    qh_target_leave_running(target, true);
    struct qh_error *error = look_until_gone(&watch, &outcome);
    qh_target_leave_running(target, false);
    if (error && error->code == QH_ERR_EXITED) {
        qh_error_destroy(error);
        outcome =
            (struct qh_rescue_outcome){ .result = QH_RESCUE_ENDED,
                                        .ending = qh_target_ending(target),
                                        .took_ns = now_ns() - watch.began_ns };
    } else if (error) {
        return error;
    }
    *ret = outcome;
    return NULL;
}

bool qh_rescue_is_over(const struct qh_rescue_outcome *outcome)
{
    return outcome->result == QH_RESCUE_UNSTUCK ||
           (outcome->result == QH_RESCUE_ENDED &&
            outcome->ending.how != QH_ENDING_KILLED);
}
