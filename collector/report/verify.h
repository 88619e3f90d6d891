/* Renderers of verifications: text, JSON, JUnit XML. Pure but for the stream.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Names come from the symbol table of a file that nobody vouches for; they are
 * escaped as in report.h.
 */
#ifndef QH_REPORT_VERIFY_H
#define QH_REPORT_VERIFY_H

#include "verify/verify.h"

#include <stdio.h>

struct qh_verify_report {
    struct qh_verification *const *programs;
    size_t count;             /* at least one */
    const char *tool_version; /* qhang's own */
    bool colour;              /* text only */
};

/* The program that decides: the first one with the worst verdict. */
const struct qh_verification *
qh_verify_worst(const struct qh_verify_report *report);

struct qh_error *qh_verify_text(const struct qh_verify_report *report,
                                FILE *out) QH_MUST_CHECK;
/* Schema "qhang-verify/1" (docs/qhang-verify-1.json). */
struct qh_error *qh_verify_json(const struct qh_verify_report *report,
                                FILE *out) QH_MUST_CHECK;
/* One test suite a program, one test case a check, as CI servers read it:
 * vulnerable is a failure, undetermined an error, absent skipped. */
struct qh_error *qh_verify_junit(const struct qh_verify_report *report,
                                 FILE *out) QH_MUST_CHECK;

#endif
