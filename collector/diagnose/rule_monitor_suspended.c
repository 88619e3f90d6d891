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

/* Where the coroutine sleeps that serves the requests, while there is none:
 * it is marked busy before it serves one. NULL while it does. */
static const struct qh_coroutine *
resting_dispatcher(const struct qh_snapshot *snapshot)
{
    const struct qh_coroutine *dispatcher =
        qh_snapshot_coroutine(snapshot, snapshot->qmp_dispatcher);

    return dispatcher && !snapshot->qmp_busy &&
                   dispatcher->state == QH_CO_SUSPENDED &&
                   qh_backtrace_has(&dispatcher->stack,
                                    "monitor_qmp_dispatcher_co") &&
                   !qh_backtrace_has(&dispatcher->stack, "qmp_dispatch")
               ? dispatcher
               : NULL;
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

static struct qh_error *add_evidence(const struct qh_snapshot *snapshot,
                                     const struct qh_monitor *monitor,
                                     struct qh_findings *findings,
                                     struct qh_finding *finding)
{
    const char *label = monitor->chardev ? monitor->chardev : "";

    QH_TRY(qh_number_evidence(
        findings, finding,
        qh_arena_printf(&findings->arena,
                        "suspend_cnt = %" PRId32
                        ": monitor%s%s takes in no command",
                        monitor->suspended, *label ? " " : "", label),
        monitor->suspended_address, monitor->suspended));
    QH_TRY(qh_number_evidence(findings, finding,
                              "qmp_requests: no request of it is waiting",
                              monitor->requests_address, monitor->requests));
    return qh_number_evidence(
        findings, finding, "qmp_dispatcher_co_busy = 0: none is being served",
        snapshot->qmp_busy_address, 0);
}

static struct qh_error *judge(const struct qh_snapshot *snapshot,
                              const struct qh_coroutine *dispatcher,
                              const struct qh_monitor *monitor,
                              struct qh_findings *findings)
{
    const struct qh_context *context =
        qh_snapshot_context(snapshot, dispatcher->context);
    enum qh_quiet quiet = quiet_around(snapshot);
    uint64_t print = QH_FINGERPRINT;

    if (quiet == QH_DISTURBED) {
        findings->unsettled = true;
        return NULL;
    }
    print = qh_fingerprint_mix(print, monitor->address.value);
    print = qh_fingerprint_mix(print, (uint64_t)monitor->suspended);
    struct qh_finding finding = {
        .rule = "monitor.suspended",
        .certainty = quiet == QH_QUIET ? QH_PROOF : QH_STRONG,
        .coroutine = dispatcher->address,
        .tid = context ? context->tid : 0,
        .heals = QH_HEALS_NEVER,
        .heals_in_ns = QH_TIME_UNKNOWN,
        .summary = "a QMP monitor is suspended for good",
        .fingerprint = print,
    };
    QH_TRY(add_evidence(snapshot, monitor, findings, &finding));
    return qh_findings_add(findings, &finding);
}

struct qh_error *qh_rule_monitor_suspended(const struct qh_snapshot *snapshot,
                                           struct qh_findings *findings)
{
    const struct qh_coroutine *dispatcher = resting_dispatcher(snapshot);

    for (size_t i = 0; dispatcher && i < snapshot->monitor_count; i++) {
        const struct qh_monitor *monitor = &snapshot->monitors[i];
        if (monitor->suspended > 0 && !monitor->requests) {
            QH_TRY(judge(snapshot, dispatcher, monitor, findings));
        }
    }
    return NULL;
}
