/* The report of `qhang coroutines`, as text and as JSON.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_COROUTINES_H
#define QH_COROUTINES_H

#include "report/buckets.h"
#include "report/report.h"

struct qh_co_report {
    const struct qh_snapshot *snapshot;
    const struct qh_co_buckets *buckets;
    enum qh_grouping grouping;
    bool filtered; /* some may have been left out */
    bool colour;   /* text only */
    const char *tool_version;
};

struct qh_error *qh_coroutines_text(const struct qh_co_report *report,
                                    FILE *out) QH_MUST_CHECK;
/* Schema "qhang-coroutines/1" (docs/qhang-coroutines-1.json). */
struct qh_error *qh_coroutines_json(const struct qh_co_report *report,
                                    FILE *out) QH_MUST_CHECK;

#endif
