/* Pieces of the text report; private to report/.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_TEXT_H
#define QH_TEXT_H

#include "report/report.h"
#include "report/wrap.h"

/* The first lines of a report: which process, and how it was looked at. */
void qh_text_head(const struct qh_report *report, FILE *out);
/* The last ones: what could not be read; nothing when there is nothing. */
void qh_text_gaps(const struct qh_report *report, FILE *out);

/* One finding, as a block of paragraphs. */
void qh_text_finding(const struct qh_report *report,
                     const struct qh_finding *finding, FILE *out);

/* The chain from the main thread to the culprit, where that says more than the
 * findings do. */
void qh_text_chain(const struct qh_report *report, FILE *out);

/* "main thread 19795" or "iothread io0 (19797)", in pieces, the last with
 * `behind` right after it ("," or ""). */
void qh_text_thread(struct qh_wrap *wrap, const struct qh_thread *thread,
                    const char *behind);
/* What the thread is up to, in pieces behind the thread: its QMP command, the
 * locks it holds. */
void qh_text_burden(struct qh_wrap *wrap, const struct qh_snapshot *snapshot,
                    const struct qh_thread *thread);
/* Whether qh_text_burden() would print anything. */
bool qh_text_has_burden(const struct qh_snapshot *snapshot,
                        const struct qh_thread *thread);

/* The first frame that is worth showing: not of the plumbing at the inner end
 * (the poll, the switch to another coroutine). Past the end of an empty one. */
size_t qh_text_first_frame(const struct qh_backtrace *stack);

/*
 * A backtrace as a chain of callers, "a <- b <- c", in a line of its own and at most
 * `max_lines` of them. The plumbing at its inner end and at the outer end of a
 * coroutine is left out.
 */
void qh_text_frames(struct qh_wrap *wrap, const struct qh_backtrace *stack,
                    size_t max_lines);

/* `text` in a colour (an SGR parameter), when the report has colours. */
void qh_text_coloured(const struct qh_report *report, struct qh_wrap *wrap,
                      const char *sgr, const char *text);

#endif
