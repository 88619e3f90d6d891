/* The log of hangs, and of what was changed in a process; private to cli/.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Goes to the systemd journal where there is one, with fields of its own
 * (QHANG_RULE, QHANG_WRITES, ...; see qhang-kick(1) and qhang-watch(1)), else
 * to stderr.
 */
#ifndef QH_JOURNAL_H
#define QH_JOURNAL_H

#include "rescue/rescue.h"

/* That the plan is about to be carried out: each word before and after. */
void qh_journal_kick(pid_t pid, const struct qh_finding *finding,
                     const struct qh_rescue_plan *plan);
/* It was not: nothing was written. */
void qh_journal_refused(pid_t pid, const struct qh_finding *finding);
/* What became of it. */
void qh_journal_outcome(pid_t pid, const struct qh_finding *finding,
                        const struct qh_rescue_outcome *outcome);
/* That who still waited has gone on, with what was kicked after it. */
void qh_journal_went_on(pid_t pid, const struct qh_finding *finding);
/* That the process has ended, after its last rescue was seen to the end. */
void qh_journal_ended(pid_t pid, const struct qh_ending *ending);

/* That these loops are about to be notified, and that so many were. */
void qh_journal_notify(pid_t pid, const struct qh_rescue_loops *loops);
void qh_journal_notified(pid_t pid, size_t count);

/* That it hangs; `summary` is safe to print, `capture` the path of one or "".
 */
void qh_journal_hang(pid_t pid, const struct qh_finding *finding,
                     const char *summary, const char *capture);
/* That the hang is over: it went on, or only looked like one until it was
 * stopped. */
void qh_journal_over(pid_t pid, const struct qh_finding *finding,
                     bool was_cured, int64_t lasted_ns);

#endif
