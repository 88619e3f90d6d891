/* Renderers: findings and snapshot in, bytes out. Pure but for the stream.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Every byte that comes from the target is escaped here: what a terminal must
 * not see becomes \xNN in the text, and \u00NN (C0) or U+FFFD in JSON.
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

/*
 * Prints an error in up to three lines: what failed, where (thread, address,
 * file: as far as known), and what to try. `wrapped` is for a terminal: it
 * breaks them at 80 columns.
 */
void qh_report_error(const struct qh_error *error, bool wrapped, FILE *out);

#endif
