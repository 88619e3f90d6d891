/* Notifies every loop of one process, whatever it hangs on.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/journal.h"
#include "cli/kick_parts.h"

#include <stdio.h>

static struct qh_error *notify_agreed(struct qh_kick_run *kick,
                                      const struct qh_rescue_loops *agreed)
{
    pid_t pid = qh_target_process(kick->target)->pid;
    QH_CLEANUP(qh_rescue_loops_deinit)
    struct qh_rescue_loops notified = { .snapshot = NULL };

    qh_journal_notify(pid, agreed);
    struct qh_error *error = qh_rescue_notify(kick->target, kick->qemu,
                                              QH_RESCUE_DO, agreed, &notified);
    qh_journal_notified(pid, notified.count);
    QH_TRY(error);
    kick->acted++;
    const struct qh_report report = qh_kick_report(notified.snapshot, NULL);
    qh_kick_text_notified(&report, notified.count, stdout);
    return NULL;
}

struct qh_error *qh_kick_loops(struct qh_kick_run *kick)
{
    QH_CLEANUP(qh_rescue_loops_deinit)
    struct qh_rescue_loops loops = { .snapshot = NULL };

    QH_TRY(qh_rescue_notify(kick->target, kick->qemu, QH_RESCUE_DRY, NULL,
                            &loops));
    const struct qh_report report = qh_kick_report(loops.snapshot, NULL);
    qh_kick_text_loops(&report, &loops, stdout);
    fflush(stdout);
    if (kick->request->dry) {
        return NULL;
    }
    if (!qh_kick_ask(kick)) {
        kick->declined = true;
        return NULL;
    }
    return notify_agreed(kick, &loops);
}
