/* What a watch has seen, for Prometheus. Pure but for the stream.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * In the text format that node_exporter's textfile collector takes. Source:
 * "Exposition formats", text-based format 0.0.4, in Prometheus's documentation.
 */
#ifndef QH_REPORT_METRICS_H
#define QH_REPORT_METRICS_H

#include "base/base.h"

#include <stdio.h>

/* Hangs by one rule. */
struct qh_metric_hangs {
    const char *rule;
    uint64_t count;
};

struct qh_metrics {
    pid_t pid;
    const char *comm; /* raw bytes of the target */
    bool up;          /* it is there, and watched */
    int64_t stalled_ns;
    const struct qh_metric_hangs *hangs;
    size_t hangs_count;
    bool hung; /* one of them still stands */
    uint64_t diagnoses, diagnoses_failed, captures;
    int64_t diagnosed_realtime_ns; /* the last, CLOCK_REALTIME; 0: none yet */
    int64_t cpu_ns;                /* qhang's own */
};

struct qh_error *qh_metrics_text(const struct qh_metrics *metrics,
                                 FILE *out) QH_MUST_CHECK;

#endif
