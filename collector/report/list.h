/* Renderers of the list of QEMUs: text and JSON. Pure but for the stream.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_REPORT_LIST_H
#define QH_REPORT_LIST_H

#include "watch/watch.h"

#include <stdio.h>

struct qh_list_report {
    const struct qh_watch *watch;
    const char *tool_version; /* qhang's own */
    bool colour;              /* text only */
};

/* One line each, 80 columns at most, names cut to fit. */
struct qh_error *qh_list_text(const struct qh_list_report *report,
                              FILE *out) QH_MUST_CHECK;
/* Schema "qhang-list/1" (docs/qhang-list-1.json). */
struct qh_error *qh_list_json(const struct qh_list_report *report,
                              FILE *out) QH_MUST_CHECK;

#endif
