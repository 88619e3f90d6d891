/* The text report of verifications.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/verify.h"
#include "report/wrap.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

const struct qh_verification *
qh_verify_worst(const struct qh_verify_report *report)
{
    const struct qh_verification *worst = report->programs[0];

    for (size_t i = 1; i < report->count; i++) {
        if (qh_safety_rank(report->programs[i]->verdict) >
            qh_safety_rank(worst->verdict)) {
            worst = report->programs[i];
        }
    }
    return worst;
}

static void print_head(const struct qh_verify_report *report,
                       const struct qh_verification *program, FILE *out)
{
    const char *sgr = program->verdict == QH_SAFE         ? "1;32"
                      : program->verdict == QH_VULNERABLE ? "1;31"
                                                          : "1;33";
    const char *name = qh_safety_name(program->verdict);
    struct qh_wrap wrap;

    if (report->colour) {
        fprintf(out, "\033[%sm", sgr);
    }
    for (; *name; name++) {
        fputc(toupper((unsigned char)*name), out);
    }
    fputs(report->colour ? "\033[0m  " : "  ", out);
    qh_wrap_begin_flush(&wrap, out, 2);
    wrap.column = strlen(qh_safety_name(program->verdict)) + 2;
    qh_wrap_piece(&wrap, program->path);
    if (*program->build_id) {
        qh_wrap_printf(&wrap, "(build %.8s)", program->build_id);
    }
    qh_wrap_end(&wrap);
}

/* Races with one reason for all of them, such as what is missing here. */
static bool is_alike(const struct qh_verify_check *a,
                     const struct qh_verify_check *b)
{
    return strchr(a->name, '.') && strchr(b->name, '.') && !a->where &&
           !b->where && a->verdict == b->verdict && strcmp(a->why, b->why) == 0;
}

/* "sleep-wake" stands in a column for "wake", "race.erased" for "race", and
 * the `alike` ones that follow are named along with it. */
static void begin_check(const struct qh_verify_check *check, unsigned alike,
                        FILE *out, struct qh_wrap *wrap)
{
    const char *dash = strrchr(check->name, '-');

    if (!strchr(check->name, '.')) {
        qh_wrap_begin(wrap, out, dash ? dash + 1 : check->name);
        return;
    }
    qh_wrap_begin(wrap, out, "race");
    for (unsigned i = 0; i <= alike; i++) {
        qh_wrap_printf(wrap, "%s,", strchr(check[i].name, '.') + 1);
    }
}

static void print_check(const struct qh_verify_check *check, unsigned alike,
                        FILE *out)
{
    struct qh_wrap wrap;

    begin_check(check, alike, out, &wrap);
    qh_wrap_printf(&wrap, "%s:", qh_safety_name(check->verdict));
    qh_wrap_words(&wrap, check->why);
    if (check->where) {
        qh_wrap_break(&wrap);
        qh_wrap_words(&wrap, check->where);
        if (check->copies > 1) {
            qh_wrap_printf(&wrap, "decides for %u copies", check->copies);
        }
    }
    for (int i = 0; i < QH_VERIFY_LINES; i++) {
        if (check->code[i]) {
            qh_wrap_break(&wrap);
            qh_wrap_piece(&wrap, check->code[i]);
        }
    }
    qh_wrap_end(&wrap);
}

/* One row of the table for each check that ran the program. */
static void print_trials(const struct qh_verification *program, FILE *out)
{
    struct qh_wrap wrap;
    bool begun = false;

    for (unsigned i = 0; i < program->check_count; i++) {
        const struct qh_verify_trial *trial = program->checks[i].trial;

        if (!trial || !trial->rounds) {
            continue;
        }
        if (!begun) {
            qh_wrap_begin(&wrap, out, "trials");
            qh_wrap_printf(&wrap, "%-20s %6s %6s %9s %5s %7s", "", "rounds",
                           "hung", "as judged", "late", "s each");
            begun = true;
        }
        qh_wrap_break(&wrap);
        qh_wrap_printf(&wrap, "%-20s %6u %6u %9u %5u %7.1f",
                       program->checks[i].name, trial->rounds, trial->hung,
                       trial->agreed, trial->late,
                       trial->seconds / trial->rounds);
    }
    if (begun) {
        qh_wrap_end(&wrap);
    }
}

static bool is_told(const struct qh_verification *program, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (program->users[i].what &&
            strcmp(program->users[i].what, program->users[at].what) == 0) {
            return true;
        }
    }
    return false;
}

/* What they are, each once; of the others, how many. */
static void print_users(const struct qh_verification *program, FILE *out)
{
    struct qh_wrap wrap;
    size_t others = 0;

    if (!program->user_count) {
        return;
    }
    qh_wrap_begin(&wrap, out, "users");
    for (size_t i = 0; i < program->user_count; i++) {
        if (!program->users[i].what) {
            others++;
        } else if (!is_told(program, i)) {
            qh_wrap_printf(&wrap, "%s,", program->users[i].what);
        }
    }
    qh_wrap_printf(&wrap, "%zu function%s without a known name", others,
                   others == 1 ? "" : "s");
    qh_wrap_end(&wrap);
}

static void print_program(const struct qh_verify_report *report,
                          const struct qh_verification *program, FILE *out)
{
    struct qh_wrap wrap;

    print_head(report, program, out);
    for (unsigned i = 0, alike; i < program->check_count; i += alike + 1) {
        for (alike = 0;
             i + alike + 1 < program->check_count &&
             is_alike(&program->checks[i], &program->checks[i + alike + 1]);
             alike++) {
        }
        print_check(&program->checks[i], alike, out);
    }
    print_trials(program, out);
    print_users(program, out);
    if (program->verdict == QH_VULNERABLE) {
        qh_wrap_begin(&wrap, out, "fixed in");
        qh_wrap_words(&wrap, "QEMU 10.0.13, 11.1; qhang-repair brings it into "
                             "a source tree");
        qh_wrap_end(&wrap);
    }
}

struct qh_error *qh_verify_text(const struct qh_verify_report *report,
                                FILE *out)
{
    for (size_t i = 0; i < report->count; i++) {
        if (i) {
            fputc('\n', out);
        }
        print_program(report, report->programs[i], out);
    }
    return ferror(out)
               ? qh_error_errno(QH_ERR_SYSTEM, errno, "cannot write the report")
               : NULL;
}
