/* Renderers: findings and snapshot in, bytes out. Pure but for the stream.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Every byte that comes from the target is escaped here: what a terminal must
 * not see becomes \xNN in the text, in DOT and HTML, and \u00NN (C0) or
 * U+FFFD in JSON.
 */
#ifndef QH_REPORT_H
#define QH_REPORT_H

#include "diagnose/graph.h"

#include <stdio.h>

struct qh_report {
    const struct qh_snapshot *snapshot;
    const struct qh_findings *findings;
    const struct qh_wait_graph *graph; /* of those two */
    unsigned samples;
    int64_t pause_ns; /* longest single stop of all samples, or UNKNOWN */
    bool colour;      /* text only */
    const char *tool_version; /* qhang's own */
};

/* The text report, 80 columns at most. */
struct qh_error *qh_report_text(const struct qh_report *report, FILE *out)
    QH_MUST_CHECK;
/* The JSON report, schema "qhang-report/1" (docs/qhang-report-1.json). */
struct qh_error *qh_report_json(const struct qh_report *report, FILE *out)
    QH_MUST_CHECK;

/* As many nodes of the wait-for graph are drawn. */
enum { QH_DRAWN_NODES = 60 };
/* The wait-for graph in the language of Graphviz. */
struct qh_error *qh_report_dot(const struct qh_report *report, FILE *out)
    QH_MUST_CHECK;
/*
 * The whole report as one page of HTML that needs nothing else. `svg` is what
 * Graphviz made of qh_report_dot(), or NULL: then the page has the graph as a
 * list alone.
 */
struct qh_error *qh_report_html(const struct qh_report *report, const char *svg,
                                FILE *out) QH_MUST_CHECK;

/*
 * Prints an error in up to three lines: what failed, where (thread, address,
 * file: as far as known), and what to try. `wrapped` is for a terminal: it
 * breaks them at 80 columns.
 */
void qh_report_error(const struct qh_error *error, bool wrapped, FILE *out);

#endif
