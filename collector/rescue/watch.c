/* Whether a rescued process goes on: looked at, not stopped.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "rescue/rescue.h"

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

/* Whether the fault is still there. Of a sleeper its own state tells, whatever
 * the other threads are at; of a loop only the rules do. */
static struct qh_error *look(struct qh_qemu *qemu,
                             const struct qh_finding *finding, bool *ret_there)
{
    QH_CLEANUP(qh_snapshot_guard) struct qh_snapshot *snapshot = NULL;
    QH_CLEANUP(qh_findings_guard) struct qh_findings *findings = NULL;

    QH_TRY(qh_qemu_sample(qemu, &snapshot));
    if (qh_finding_kick(finding) == QH_KICK_TIMER) {
        *ret_there = sleeps_on(snapshot, finding);
        return NULL;
    }
    QH_TRY(qh_diagnose(snapshot, &findings));
    *ret_there = is_found(findings, finding);
    return NULL;
}

static struct qh_error *look_until_gone(struct qh_qemu *qemu,
                                        const struct qh_finding *finding,
                                        int64_t began_ns, int64_t bound_ns,
                                        struct qh_rescue_outcome *outcome)
{
    int unseen = 0;

    while (unseen < UNSEEN_LOOKS) {
        bool there;
        QH_TRY(look(qemu, finding, &there));
        int64_t at_ns = now_ns();
        if (there) {
            unseen = 0;
            outcome->took_ns = QH_TIME_UNKNOWN;
        } else if (!unseen++) {
            outcome->took_ns = at_ns - began_ns;
        }
        if (there && at_ns - began_ns >= bound_ns) {
            return NULL;
        }
        nanosleep(&look_pause, NULL);
    }
    outcome->unstuck = true;
    return NULL;
}

struct qh_error *qh_rescue_watch(struct qh_target *target,
                                 struct qh_qemu *qemu,
                                 const struct qh_finding *finding,
                                 int64_t bound_ns,
                                 struct qh_rescue_outcome *ret)
{
    struct qh_rescue_outcome outcome = { .took_ns = QH_TIME_UNKNOWN };
    int64_t began_ns = now_ns();

    qh_target_leave_running(target, true);
    struct qh_error *error =
        look_until_gone(qemu, finding, began_ns, bound_ns, &outcome);
    qh_target_leave_running(target, false);
    if (error && error->code == QH_ERR_EXITED) {
        qh_error_destroy(error);
        outcome = (struct qh_rescue_outcome){
            .unstuck = true, .exited = true, .took_ns = now_ns() - began_ns
        };
    } else if (error) {
        return error;
    }
    *ret = outcome;
    return NULL;
}
