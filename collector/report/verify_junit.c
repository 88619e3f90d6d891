/* Verifications as JUnit XML.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/escape.h"
#include "report/verify.h"

#include <errno.h>

/* The text of an attribute; what a terminal must not see becomes '?', for XML
 * 1.0 has no way to write it. */
static void print_text(const char *text, FILE *out)
{
    struct qh_rune rune;

    for (; (rune = qh_rune_at(text)).bytes; text += rune.bytes) {
        if (rune.code == '&') {
            fputs("&amp;", out);
        } else if (rune.code == '<') {
            fputs("&lt;", out);
        } else if (rune.code == '"') {
            fputs("&quot;", out);
        } else if (qh_rune_is_plain(rune)) {
            fwrite(text, 1, rune.bytes, out);
        } else {
            fputc('?', out);
        }
    }
}

static void print_attribute(const char *name, const char *text, FILE *out)
{
    fprintf(out, " %s=\"", name);
    print_text(text, out);
    fputc('"', out);
}

static void print_check(const struct qh_verification *program,
                        const struct qh_verify_check *check, FILE *out)
{
    static const char *const outcomes[] = {
        [QH_VULNERABLE] = "failure",
        [QH_UNDETERMINED] = "error",
        [QH_NOT_THERE] = "skipped",
    };

    fputs("  <testcase", out);
    print_attribute("classname", program->path, out);
    print_attribute("name", check->name, out);
    if (check->verdict == QH_SAFE) {
        fputs("/>\n", out);
        return;
    }
    fprintf(out, ">\n   <%s", outcomes[check->verdict]);
    print_attribute("message", check->why, out);
    fputc('>', out);
    print_text(check->where ? check->where : "", out);
    for (int i = 0; i < QH_VERIFY_LINES; i++) {
        if (check->code[i]) {
            fputc('\n', out);
            print_text(check->code[i], out);
        }
    }
    fprintf(out, "</%s>\n  </testcase>\n", outcomes[check->verdict]);
}

static unsigned count(const struct qh_verification *program,
                      enum qh_safety verdict)
{
    unsigned found = 0;

    for (unsigned i = 0; i < program->check_count; i++) {
        found += program->checks[i].verdict == verdict;
    }
    return found;
}

struct qh_error *qh_verify_junit(const struct qh_verify_report *report,
                                 FILE *out)
{
    fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n", out);
    for (size_t i = 0; i < report->count; i++) {
        const struct qh_verification *program = report->programs[i];

        fputs(" <testsuite", out);
        print_attribute("name", program->path, out);
        fprintf(out,
                " tests=\"%u\" failures=\"%u\" errors=\"%u\" "
                "skipped=\"%u\">\n",
                program->check_count, count(program, QH_VULNERABLE),
                count(program, QH_UNDETERMINED), count(program, QH_NOT_THERE));
        for (unsigned c = 0; c < program->check_count; c++) {
            print_check(program, &program->checks[c], out);
        }
        fputs(" </testsuite>\n", out);
    }
    fputs("</testsuites>\n", out);
    return ferror(out) ? qh_error_errno(QH_ERR_SYSTEM, errno,
                                        "cannot write the JUnit report")
                       : NULL;
}
