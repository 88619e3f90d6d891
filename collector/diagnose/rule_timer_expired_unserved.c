/* timer.expired-unserved: a timer is past, and its loop sleeps on.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A loop takes the timeout of its poll from its earliest timer. Whoever arms an
 * earlier one notifies the loop; where that is lost the loop sleeps past the
 * timer, for ever if it was asleep without a timeout.
 * Source: util/qemu-timer.c (timerlist_rearm, timerlist_notify),
 * util/aio-posix.c (aio_poll).
 */
#include "base/units.h"
#include "diagnose/poll.h"
#include "diagnose/wait.h"

#include <inttypes.h>

/* A loop may be late by less: timeouts that count in milliseconds, the slack
 * of the kernel's own timers, a busy machine. */
#define SERVED_LATE_NS INT64_C(200000000)

/*
 * Whether the timer should have been served. In a core the time is a guess, so
 * there only a loop that sleeps for ever is sure not to serve it.
 */
static bool is_unserved(const struct qh_snapshot *snapshot,
                        const struct qh_timer *timer,
                        const struct qh_thread *loop)
{
    int64_t left_ns =
        qh_snapshot_left_ns(snapshot, timer->clock, timer->expire_ns);

    if (!timer->clock_enabled || left_ns == QH_TIME_UNKNOWN ||
        left_ns > -SERVED_LATE_NS) {
        return false;
    }
    return snapshot->kind != QH_TARGET_CORE || loop->timeout_ns == -1;
}

static enum qh_quiet quiet_around(const struct qh_snapshot *snapshot,
                                  const struct qh_context *context,
                                  const struct qh_thread *loop)
{
    static const char *const arm[] = {
        "timer_mod_ns",       "timer_mod_anticipate_ns",
        "timer_mod",          "timerlist_rearm",
        "timerlist_notify",   "aio_timerlist_notify",
        "qemu_notify_event",  "aio_notify",
        "event_notifier_set", "qemu_timer_notify_cb",
    };
    const struct qh_context *notified =
        context ? context
                : qh_snapshot_context(snapshot, snapshot->main_context);
    enum qh_quiet quiet = qh_quiet_asleep(snapshot, loop->tid);

    if (notified && notified->event_count > 0) {
        return QH_DISTURBED;
    }
    return qh_quiet_worse(quiet,
                          qh_quiet_functions(snapshot, arm, QH_COUNT(arm)));
}

static struct qh_error *add_evidence(const struct qh_snapshot *snapshot,
                                     const struct qh_timer *timer,
                                     const struct qh_thread *loop,
                                     struct qh_findings *findings,
                                     struct qh_finding *finding)
{
    int64_t left_ns =
        qh_snapshot_left_ns(snapshot, timer->clock, timer->expire_ns);
    const char *who = qh_thread_words(findings, loop);

    QH_TRY(qh_number_evidence(
        findings, finding,
        qh_arena_printf(&findings->arena, "timer %s is %s overdue",
                        timer->callback ? timer->callback : "?",
                        qh_duration(-left_ns).text),
        timer->address, timer->expire_ns));
    return qh_evidence_add(
        findings, finding,
        who ? qh_arena_printf(&findings->arena, "%s sleeps in its poll%s", who,
                              loop->timeout_ns == -1 ? ", without a timeout"
                                                     : "")
            : NULL,
        timer->context.value ? timer->context : timer->list,
        loop->blocked_in ? loop->blocked_in : "asleep");
}

static struct qh_error *judge(const struct qh_snapshot *snapshot,
                              const struct qh_timer *timer,
                              const struct qh_thread *loop,
                              struct qh_findings *findings)
{
    const struct qh_context *context =
        qh_snapshot_context(snapshot, timer->context);
    struct qh_finding finding = {
        .rule = "timer.expired-unserved",
        .tid = loop->tid,
        .waiter = loop->tid,
        .context = context ? context->address : snapshot->main_context,
        .heals = loop->timeout_ns == -1 ? QH_HEALS_NEVER : QH_HEALS_UNKNOWN,
        .heals_in_ns = QH_TIME_UNKNOWN,
        .summary = "a timer is overdue, and its loop sleeps",
        .fingerprint = qh_fingerprint_mix(QH_FINGERPRINT, timer->address.value),
    };
    enum qh_quiet quiet = quiet_around(snapshot, context, loop);

    if (quiet == QH_DISTURBED) {
        findings->unsettled = true;
        return NULL;
    }
    finding.fingerprint =
        qh_fingerprint_mix(finding.fingerprint, (uint64_t)timer->expire_ns);
    finding.fingerprint =
        qh_fingerprint_stack(finding.fingerprint, &loop->stack);
    finding.certainty = quiet == QH_QUIET ? QH_PROOF : QH_STRONG;
    QH_TRY(add_evidence(snapshot, timer, loop, findings, &finding));
    return qh_findings_add(findings, &finding);
}

struct qh_error *
qh_rule_timer_expired_unserved(const struct qh_snapshot *snapshot,
                               struct qh_findings *findings)
{
    /* Who is kept stopped can serve no timer. */
    if (snapshot->halted != QH_HALT_NONE) {
        return NULL;
    }
    for (size_t i = 0; i < snapshot->timer_count; i++) {
        const struct qh_timer *timer = &snapshot->timers[i];
        if (timer->position) { /* the first of its list tells */
            continue;
        }
        const struct qh_thread *loop = qh_loop_asleep(snapshot, timer->context);
        if (loop && is_unserved(snapshot, timer, loop)) {
            QH_TRY(judge(snapshot, timer, loop, findings));
        }
    }
    return NULL;
}
