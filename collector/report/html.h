/* Pieces of the HTML report; private to report/.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Markup is printed with fprintf(), what comes from the target never is: it
 * goes through qh_html_text(), which escapes it.
 */
#ifndef QH_HTML_H
#define QH_HTML_H

#include "report/report.h"

/* Escaped; what a terminal must not see becomes \xNN. NULL prints nothing. */
void qh_html_text(FILE *out, const char *text);
/* <tag class="class">text</tag>; `class` may be NULL. */
void qh_html_element(FILE *out, const char *tag, const char *class,
                     const char *text);
/* In a list of facts: begins one, whose text and </li> follow. */
void qh_html_begin_fact(FILE *out, const char *name);
/* The same with its text and its end, unless `text` is NULL. `class` may be
 * NULL. */
void qh_html_fact(FILE *out, const char *class, const char *name,
                  const char *text);
/* 0x7f8e280039c0 in code, or a dash for none. */
void qh_html_address(FILE *out, struct raddr address);
/* "main thread 19795" */
void qh_html_thread_name(FILE *out, const struct qh_thread *thread);
/* A backtrace as a list; nothing of an empty one. */
void qh_html_frames(FILE *out, const struct qh_backtrace *stack);
/* Begins a section with its heading, and how much there is in it. */
void qh_html_section(FILE *out, const char *title, size_t count);

/* The findings, or that there are none (html_verdict.c). */
void qh_html_verdict(const struct qh_report *report, FILE *out);
/* Context, and what could not be read. */
void qh_html_notes(const struct qh_report *report, FILE *out);
/* Chain, picture and tree (html_graph.c). */
struct qh_error *qh_html_graph(const struct qh_report *report, const char *svg,
                               FILE *out) QH_MUST_CHECK;
/* The wait-for graph as nested lists (html_tree.c). */
struct qh_error *qh_html_tree(const struct qh_wait_graph *graph,
                              FILE *out) QH_MUST_CHECK;
/* Threads and contexts (html_objects.c). */
void qh_html_threads(const struct qh_report *report, FILE *out);
void qh_html_contexts(const struct qh_report *report, FILE *out);
/* Coroutines, those with equal stacks in one (html_coroutines.c). */
struct qh_error *qh_html_coroutines(const struct qh_report *report,
                                    FILE *out) QH_MUST_CHECK;

#endif
