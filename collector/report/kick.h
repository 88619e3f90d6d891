/* What a kick did, for people.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Printed as it happens: the finding, the plan, and what became of it.
 */
#ifndef QH_REPORT_KICK_H
#define QH_REPORT_KICK_H

#include "report/report.h"
#include "rescue/rescue.h"

/* "with status 0", "by SIGSEGV". */
struct qh_ending_text {
    char text[48];
};
struct qh_ending_text qh_ending_text(const struct qh_ending *ending);

/* The head and one finding of the report. */
void qh_kick_text_finding(const struct qh_report *report,
                          const struct qh_finding *finding, FILE *out);
/* Each write, and whom it notifies. */
void qh_kick_text_plan(const struct qh_report *report,
                       const struct qh_rescue_plan *plan, FILE *out);
/* Nothing was written, and why. */
void qh_kick_text_refusal(const struct qh_report *report,
                          const struct qh_error *refusal, FILE *out);
/* Whether it goes on, or has ended and how, and after how long. */
void qh_kick_text_outcome(const struct qh_report *report,
                          const struct qh_rescue_outcome *outcome, FILE *out);
/* It was done, and cannot be watched. */
void qh_kick_text_unwatched(FILE *out);
/* The process has ended, after all that was to be seen. */
void qh_kick_text_ended(const struct qh_report *report,
                        const struct qh_ending *ending, FILE *out);
/* The head, and the loops that are to be notified. */
void qh_kick_text_loops(const struct qh_report *report,
                        const struct qh_rescue_loops *loops, FILE *out);
/* So many loops were notified. */
void qh_kick_text_notified(const struct qh_report *report, size_t count,
                           FILE *out);
/* What else hangs after it; `unseen`: not all of it could be looked at;
 * `stuck`: something that was kicked is not known to have gone on. */
void qh_kick_text_left(const struct qh_report *report, size_t left, bool unseen,
                       bool stuck, FILE *out);

#endif
