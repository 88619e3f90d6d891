/* Reports that go into files: whole or not at all.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_CLI_OUTPUT_H
#define QH_CLI_OUTPUT_H

#include "report/metrics.h"
#include "report/report.h"

/* Each renders into a file, over one that is there. It is written under another
 * name beside it and then renamed, so that nobody ever sees half of it; a
 * symbolic link at `path` is replaced and not followed, and anything else that
 * is no regular file is refused. */
struct qh_error *qh_write_dot(const struct qh_report *report,
                              const char *path) QH_MUST_CHECK;
/* With a picture where Graphviz is to be had; says on stderr when it is not. */
struct qh_error *qh_write_html(const struct qh_report *report,
                               const char *path) QH_MUST_CHECK;
/* For everybody to read, whatever the umask. */
struct qh_error *qh_write_metrics(const struct qh_metrics *metrics,
                                  const char *path) QH_MUST_CHECK;

/* The error for a report that could not be written to `path`. */
struct qh_error *qh_cannot_write(const char *path, int errnum) QH_MUST_CHECK;

/*
 * Has Graphviz's `dot` draw `text` as SVG: run as a child with a bound on its
 * time and on its output, never linked (its licence and the GPL do not go
 * together). The caller frees `*ret`.
 */
struct qh_error *qh_graphviz(const char *text, size_t bytes,
                             char **ret) QH_MUST_CHECK;

#endif
