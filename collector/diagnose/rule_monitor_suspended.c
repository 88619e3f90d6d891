/* monitor.suspended: a QMP monitor takes in no command, and nothing resumes it.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A monitor is suspended when the request that it has taken in must be the
 * last for now, and resumed by the dispatcher, at the latest when that request
 * is done, or by whoever throws its queue away. So one that is suspended while
 * its queue is empty and the dispatcher rests, was left behind. Whoever
 * connects to it gets the greeting, and never an answer. A monitor of HMP is
 * suspended for longer by a command that asks for input, and is not judged.
 * Source: monitor/qmp.c (handle_qmp_command, monitor_qmp_dispatcher_co,
 * monitor_qmp_cleanup_queue_and_resume), monitor/monitor.c (monitor_suspend,
 * monitor_can_read).
 */
#include "diagnose/poll.h"
#include "diagnose/quiet.h"

#include <inttypes.h>

/* Whether the coroutine that serves the requests is parked where it waits for
 * one: it is marked busy before it serves one. */
static bool dispatcher_rests(const struct qh_snapshot *snapshot)
{
    const struct qh_coroutine *dispatcher =
        qh_snapshot_coroutine(snapshot, snapshot->qmp_dispatcher);

    return dispatcher && snapshot->qmp_busy_address.value &&
           !snapshot->qmp_busy && dispatcher->state == QH_CO_SUSPENDED &&
           qh_backtrace_has(&dispatcher->stack, "monitor_qmp_dispatcher_co") &&
           !qh_backtrace_has(&dispatcher->stack, "qmp_dispatch");
}

static enum qh_quiet quiet_around(const struct qh_snapshot *snapshot)
{
    static const char *const passing[] = {
        "handle_qmp_command",
        "monitor_suspend",
        "monitor_resume",
        "monitor_qmp_event",
        "monitor_qmp_cleanup_queue_and_resume",
        "monitor_qmp_dispatcher_co",
        "qmp_dispatcher_co_wake",
        "monitor_data_destroy",
        "monitor_cleanup",
    };

    return qh_quiet_threads(snapshot, passing, QH_COUNT(passing));
}

/* monitor_can_read() asks for 0. */
static bool is_left_behind(const struct qh_monitor *monitor)
{
    return monitor->suspended && !monitor->requests;
}

static struct qh_error *add_monitor(const struct qh_monitor *monitor,
                                    struct qh_findings *findings,
                                    struct qh_finding *finding)
{
    const char *label = monitor->chardev ? monitor->chardev : "";

    finding->fingerprint =
        qh_fingerprint_mix(finding->fingerprint, monitor->address.value);
    finding->fingerprint =
        qh_fingerprint_mix(finding->fingerprint, (uint64_t)monitor->suspended);
    QH_TRY(qh_number_evidence(
        findings, finding,
        qh_arena_printf(&findings->arena,
                        "suspend_cnt = %" PRId32
                        ": monitor%s%s takes in no command",
                        monitor->suspended, *label ? " " : "", label),
        monitor->suspended_address, monitor->suspended));
    return qh_number_evidence(findings, finding,
                              "qmp_requests: no request of it is waiting",
                              monitor->requests_address, monitor->requests);
}

/* One for all of them, since they have the same cause, and no thread or
 * coroutine that would tell one from the other. */
static struct qh_error *judge(const struct qh_snapshot *snapshot,
                              struct qh_findings *findings)
{
    enum qh_quiet quiet = quiet_around(snapshot);
    struct qh_finding finding = {
        .rule = "monitor.suspended",
        .certainty = quiet == QH_QUIET ? QH_PROOF : QH_STRONG,
        .of_memory = true,
        .heals = QH_HEALS_NEVER,
        .heals_in_ns = QH_TIME_UNKNOWN,
        .summary = "a QMP monitor is suspended for good",
        .fingerprint = QH_FINGERPRINT,
    };

    if (quiet == QH_DISTURBED) {
        findings->unsettled = true;
        return NULL;
    }
    for (size_t i = 0; i < snapshot->monitor_count; i++) {
        if (is_left_behind(&snapshot->monitors[i])) {
            QH_TRY(add_monitor(&snapshot->monitors[i], findings, &finding));
        }
    }
    QH_TRY(qh_number_evidence(
        findings, &finding, "qmp_dispatcher_co_busy = 0: none is being served",
        snapshot->qmp_busy_address, 0));
    return qh_findings_add(findings, &finding);
}

struct qh_error *qh_rule_monitor_suspended(const struct qh_snapshot *snapshot,
                                           struct qh_findings *findings)
{
    if (!dispatcher_rests(snapshot)) {
        return NULL;
    }
    for (size_t i = 0; i < snapshot->monitor_count; i++) {
        if (is_left_behind(&snapshot->monitors[i])) {
            return judge(snapshot, findings);
        }
    }
    return NULL;
}
