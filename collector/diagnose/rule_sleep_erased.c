/* sleep.erased: a parked sleeper that no to_wake names any more.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The old qemu_co_sleep_wake() loads to_wake and clears it in two steps. A
 * sleeper that arms in between is wiped out: the waker saw NULL and kicks
 * nobody, co_sleep_cb() will find NULL when the timer fires, and so will every
 * later wake. A version with the sentinel never leaves NULL behind a parked
 * sleeper; its sentinel there is a wake in progress.
 */
#include "base/units.h"
#include "diagnose/sleep.h"

static const char *to_wake_line(const struct qh_sleeper *sleeper)
{
    return sleeper->armed == QH_ARMED_NO
               ? "to_wake = NULL: its arming was erased"
               : "to_wake names another coroutine";
}

static const char *timer_line(const struct qh_sleeper *sleeper,
                              struct qh_findings *findings)
{
    if (!sleeper->timer_linked && !qh_sleep_timer_lost(sleeper)) {
        return "timer has fired, and woke nobody";
    }
    if (sleeper->left_ns == QH_TIME_UNKNOWN || sleeper->left_ns <= 0) {
        return "timer armed: it will find nobody";
    }
    return qh_arena_printf(&findings->arena,
                           "timer %s ahead: it will find nobody",
                           qh_duration(sleeper->left_ns).text);
}

static struct qh_error *add_evidence(const struct qh_sleep_view *view,
                                     struct qh_findings *findings,
                                     struct qh_finding *finding)
{
    const struct qh_sleeper *sleeper = view->sleeper;

    QH_TRY(qh_evidence_add(findings, finding, to_wake_line(sleeper),
                           sleeper->wake,
                           qh_hex(findings, sleeper->to_wake.value)));
    QH_TRY(qh_evidence_add(findings, finding,
                           "scheduled = qemu_co_sleep_ns: parked",
                           sleeper->coroutine, "qemu_co_sleep_ns"));
    QH_TRY(qh_sleep_cleaner_evidence(view, findings, finding));
    if (!sleeper->timer.value) {
        return NULL;
    }
    return qh_evidence_add(
        findings, finding, timer_line(sleeper, findings), sleeper->timer,
        sleeper->timer_linked || qh_sleep_timer_lost(sleeper) ? "armed" : "-1");
}

/* Whether the sleeper looks erased; one that holds the sentinel is on its way
 * to be woken and only asks for another look. */
static bool looks_erased(const struct qh_sleeper *sleeper,
                         struct qh_findings *findings)
{
    findings->unsettled |= sleeper->armed == QH_ARMED_PENDING;
    return sleeper->wake.value &&
           (sleeper->armed == QH_ARMED_NO || sleeper->armed == QH_ARMED_OTHER);
}

static struct qh_error *judge_sleeper(const struct qh_snapshot *snapshot,
                                      const struct qh_sleeper *sleeper,
                                      enum qh_quiet wake,
                                      struct qh_findings *findings)
{
    struct qh_sleep_view view;
    bool running;

    if (!qh_sleep_view(snapshot, sleeper, &view, &running)) {
        findings->unsettled |= running;
        return NULL;
    }
    if (!looks_erased(sleeper, findings)) {
        return NULL;
    }
    enum qh_quiet quiet = wake;
    if (qh_sleep_cleaner_awaited(&view)) {
        quiet = qh_quiet_worse(quiet, qh_sleep_waiters_quiet(&view));
    }
    if (quiet == QH_DISTURBED) {
        findings->unsettled = true;
        return NULL;
    }
    struct qh_finding finding = {
        .rule = "sleep.erased",
        /* Another's name in to_wake could also be a stale QemuCoSleep. */
        .certainty = quiet == QH_QUIET && sleeper->armed == QH_ARMED_NO
                         ? QH_PROOF
                         : QH_STRONG,
        .heals = QH_HEALS_NEVER,
        .summary = sleeper->user == QH_USER_QCOW2_CACHE_CLEANER
                       ? "qcow2 cache cleaner: its arming was erased"
                       : "sleeping coroutine: its arming was erased",
    };
    qh_sleep_describe(&view, &finding);
    QH_TRY(add_evidence(&view, findings, &finding));
    return qh_findings_add(findings, &finding);
}

struct qh_error *qh_rule_sleep_erased(const struct qh_snapshot *snapshot,
                                      struct qh_findings *findings)
{
    return qh_sleep_each(snapshot, findings, judge_sleeper);
}
