/* sleep.wake-lost: an armed sleeper whose wake came before it was armed.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * qemu_co_sleep_wake() does nothing while the sleeper has not stored itself in
 * to_wake; whoever called it then waits for one who sleeps on until the timer
 * fires. Memory shows it where the user of the sleep keeps its request: the
 * qcow2 cache cleaner was told to stop (interval 0), is the one that is waited
 * for, and yet is armed, although each waiter calls the wake before it queues.
 * Likewise whoever cancels a block-copy or ends what has a timeout first says
 * so in the sleeper's state, then calls the wake.
 */
#include "base/units.h"
#include "diagnose/sleep.h"

#include <inttypes.h>

/* Whether its user's state says that it has been asked to wake. */
static bool was_asked(const struct qh_sleep_view *view)
{
    return qh_sleep_cleaner_awaited(view) ||
           (view->sleeper->asked_known && view->sleeper->asked_to_wake);
}

static enum qh_quiet quiet_around(const struct qh_sleep_view *view,
                                  enum qh_quiet wake)
{
    /* From the store that asks to the wake, of the users that are not
     * qcow2's. */
    static const char *const ask[] = { "block_copy_call_cancel",
                                       "block_copy_kick",
                                       "qemu_co_timeout_entry" };
    enum qh_quiet quiet = qh_quiet_worse(wake, qh_sleep_timer_quiet(view));

    if (view->sleeper->asked_known) {
        quiet = qh_quiet_worse(
            quiet, qh_quiet_threads(view->snapshot, ask, QH_COUNT(ask)));
    }
    return qh_quiet_worse(quiet, qh_sleep_waiters_quiet(view));
}

static void tell_heals(const struct qh_sleep_view *view,
                       struct qh_finding *finding)
{
    const struct qh_sleeper *sleeper = view->sleeper;

    if (!sleeper->timer.value || !view->home || qh_sleep_timer_lost(sleeper)) {
        finding->heals = QH_HEALS_UNKNOWN;
    } else if (!sleeper->timer_linked) {
        finding->heals = QH_HEALS_NEVER;
    } else {
        finding->heals = QH_HEALS_TIMER;
        if (sleeper->left_ns > 0) { /* UNKNOWN is negative */
            finding->heals_in_ns = sleeper->left_ns;
        }
    }
}

static const char *timer_line(const struct qh_sleep_view *view,
                              struct qh_findings *findings)
{
    const struct qh_sleeper *sleeper = view->sleeper;
    const char *name = qh_sleep_home_name(view);

    if (qh_sleep_timer_lost(sleeper)) {
        return "timer armed, on no list that could be read";
    }
    if (!sleeper->timer_linked) {
        return "timer on no list: it will not fire";
    }
    const char *place =
        sleeper->timer_position
            ? qh_arena_printf(&findings->arena, "number %zu on %s's list",
                              sleeper->timer_position + 1, name)
            : qh_arena_printf(&findings->arena, "first on %s's list", name);
    if (!place) {
        return NULL;
    }
    if (sleeper->left_ns == QH_TIME_UNKNOWN) {
        return qh_arena_printf(&findings->arena, "timer armed, %s", place);
    }
    if (sleeper->left_ns <= 0) {
        return qh_arena_printf(&findings->arena, "timer overdue, %s", place);
    }
    return qh_arena_printf(&findings->arena, "timer %s ahead, %s",
                           qh_duration(sleeper->left_ns).text, place);
}

static struct qh_error *add_evidence(const struct qh_sleep_view *view,
                                     struct qh_findings *findings,
                                     struct qh_finding *finding)
{
    const struct qh_sleeper *sleeper = view->sleeper;

    QH_TRY(qh_sleep_cleaner_evidence(view, findings, finding));
    if (sleeper->asked_known) {
        QH_TRY(qh_evidence_add(findings, finding,
                               sleeper->user == QH_USER_BLOCK_COPY
                                   ? "cancelled is set: told to stop"
                                   : "marker is set: what it times has ended",
                               sleeper->asked_address, "1"));
    }
    QH_TRY(qh_evidence_add(
        findings, finding, "to_wake = the sleeper: armed, never kicked",
        sleeper->wake, qh_hex(findings, sleeper->to_wake.value)));
    if (!sleeper->timer.value) {
        return NULL;
    }
    return qh_evidence_add(findings, finding, timer_line(view, findings),
                           sleeper->timer,
                           sleeper->expire_ns == QH_TIME_UNKNOWN
                               ? "-1"
                               : qh_arena_printf(&findings->arena, "%" PRId64,
                                                 sleeper->expire_ns));
}

static const char *summary_of(enum qh_sleep_user user)
{
    switch (user) {
    case QH_USER_BLOCK_COPY:
        return "block-copy: its wake-up was lost";
    case QH_USER_CO_TIMEOUT:
        return "a timeout: its wake-up was lost";
    case QH_USER_QCOW2_CACHE_CLEANER:
    case QH_USER_UNKNOWN:
        break;
    }
    return "qcow2 cache cleaner: its wake-up was lost";
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
    if (sleeper->armed != QH_ARMED_YES || !was_asked(&view)) {
        return NULL;
    }
    enum qh_quiet quiet = quiet_around(&view, wake);
    if (quiet == QH_DISTURBED) {
        findings->unsettled = true;
        return NULL;
    }
    struct qh_finding finding = {
        .rule = "sleep.wake-lost",
        .certainty = quiet == QH_QUIET ? QH_PROOF : QH_STRONG,
        .summary = summary_of(sleeper->user),
    };
    qh_sleep_describe(&view, &finding);
    tell_heals(&view, &finding);
    QH_TRY(add_evidence(&view, findings, &finding));
    return qh_findings_add(findings, &finding);
}

struct qh_error *qh_rule_sleep_wake_lost(const struct qh_snapshot *snapshot,
                                         struct qh_findings *findings)
{
    return qh_sleep_each(snapshot, findings, judge_sleeper);
}
