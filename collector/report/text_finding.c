/* A finding in the text report.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/escape.h"
#include "report/text.h"
#include "base/units.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { STACK_LINES = 3 };

void qh_text_coloured(const struct qh_report *report, struct qh_wrap *wrap,
                      const char *sgr, const char *text)
{
    if (report->colour) {
        fprintf(wrap->out, "\033[%sm", sgr);
    }
    qh_wrap_piece(wrap, text);
    if (report->colour) {
        fputs("\033[0m", wrap->out);
    }
}

static void print_headline(const struct qh_report *report,
                           const struct qh_finding *finding, FILE *out)
{
    struct qh_wrap wrap;
    char rule[128];

    snprintf(rule, sizeof(rule), "%s, %s", finding->rule,
             qh_certainty_name(finding->certainty));
    qh_wrap_begin_flush(&wrap, out, 6);
    qh_text_coloured(report, &wrap, "1;31", "HANG");
    qh_wrap_printf(&wrap, " %s", finding->summary);
    qh_wrap_right(&wrap, rule);
    qh_wrap_end(&wrap);
}

static void print_heals(const struct qh_report *report,
                        const struct qh_finding *finding, FILE *out)
{
    struct qh_wrap wrap;

    qh_wrap_begin(&wrap, out, "heals");
    if (finding->heals == QH_HEALS_NEVER) {
        qh_wrap_piece(&wrap, "never by itself");
    } else if (finding->heals == QH_HEALS_UNKNOWN) {
        qh_wrap_piece(&wrap, "not known whether by itself");
    } else if (finding->heals_in_ns == QH_TIME_UNKNOWN) {
        qh_wrap_piece(&wrap, "by itself when its timer fires; "
                             "not known when that is");
    } else {
        qh_wrap_printf(&wrap, "by itself in %s%s",
                       qh_duration(finding->heals_in_ns).text,
                       report->snapshot->kind == QH_TARGET_CORE
                           ? ", from when the core was taken"
                           : "");
    }
    qh_wrap_end(&wrap);
}

/* What the next command is. A core has nothing left to kick. */
static void print_kick(const struct qh_report *report,
                       const struct qh_finding *finding, FILE *out)
{
    struct qh_wrap wrap;

    if (report->snapshot->kind != QH_TARGET_LIVE) {
        return;
    }
    qh_wrap_begin(&wrap, out, "kick");
    if (qh_finding_kick(finding) == QH_KICK_NONE) {
        qh_wrap_piece(&wrap, "no rescue is known");
    } else if (report->snapshot->halted == QH_HALT_SIGNAL) {
        qh_wrap_printf(&wrap, "can end it, after kill -CONT %d: qhang kick %d",
                       (int)report->snapshot->pid, (int)report->snapshot->pid);
    } else {
        qh_wrap_printf(&wrap, "can end it: qhang kick %d",
                       (int)report->snapshot->pid);
    }
    qh_wrap_end(&wrap);
}

static void print_waiter(const struct qh_snapshot *snapshot,
                         const struct qh_thread *thread, FILE *out)
{
    struct qh_wrap wrap;

    qh_wrap_begin(&wrap, out, "waiter");
    qh_text_thread(&wrap, thread,
                   qh_text_has_burden(snapshot, thread) ? "," : "");
    qh_text_burden(&wrap, snapshot, thread);
    qh_text_frames(&wrap, &thread->stack, STACK_LINES);
    qh_wrap_end(&wrap);
}

static void print_stuck(const struct qh_snapshot *snapshot,
                        const struct qh_finding *finding, FILE *out)
{
    const struct qh_coroutine *coroutine =
        qh_snapshot_coroutine(snapshot, finding->coroutine);
    const struct qh_thread *home = qh_snapshot_thread(snapshot, finding->tid);
    struct qh_wrap wrap;

    bool sleeps = coroutine && coroutine->scheduled &&
                  !strcmp(coroutine->scheduled, "qemu_co_sleep_ns");

    qh_wrap_begin(&wrap, out, sleeps ? "sleeper" : "stuck");
    qh_wrap_printf(&wrap, "coroutine 0x%" PRIx64, finding->coroutine.value);
    if (coroutine && coroutine->entry) {
        qh_wrap_printf(&wrap, "%s%s", coroutine->entry, home ? "," : "");
    }
    if (home) {
        qh_text_thread(&wrap, home, "");
    }
    if (coroutine) {
        qh_text_frames(&wrap, &coroutine->stack, STACK_LINES);
    }
    qh_wrap_end(&wrap);
}

static void print_evidence(const struct qh_finding *finding, FILE *out)
{
    for (size_t i = 0; i < finding->evidence_count; i++) {
        const struct qh_evidence *evidence = &finding->evidence[i];
        struct qh_wrap wrap;
        char address[32];
        qh_wrap_begin(&wrap, out, i ? "" : "evidence");
        qh_wrap_words(&wrap, evidence->what);
        if (evidence->address.value) {
            snprintf(address, sizeof(address), "0x%" PRIx64,
                     evidence->address.value);
            qh_wrap_right(&wrap, address);
        }
        qh_wrap_end(&wrap);
    }
}

/* Reads "10.0.13" or "11.1"; false when it is nothing like that. */
static bool read_version(const char *text, long ret_parts[3])
{
    long parts[3] = { 0, 0, 0 };

    for (int i = 0; i < 3; i++) {
        char *end;
        if (*text < '0' || *text > '9') {
            return false;
        }
        parts[i] = strtol(text, &end, 10);
        text = end;
        if (*text != '.') {
            break;
        }
        text++;
    }
    memcpy(ret_parts, parts, sizeof(parts));
    return true;
}

/* Whether `version` calls itself one that has the fix: at or behind the fixed
 * release of its own series, or behind the last one listed. */
static bool claims_fix(const struct qh_finding *finding, const long version[3])
{
    for (size_t i = 0; i < finding->fixed_in_count; i++) {
        long fixed[3];
        bool newest = i + 1 == finding->fixed_in_count;
        if (!read_version(finding->fixed_in[i], fixed)) {
            continue;
        }
        bool same = version[0] == fixed[0] && version[1] == fixed[1];
        bool later = version[0] > fixed[0] ||
                     (version[0] == fixed[0] && version[1] > fixed[1]);
        if ((same && version[2] >= fixed[2]) || (newest && later)) {
            return true;
        }
    }
    return false;
}

static void print_fixed_in(const struct qh_report *report,
                           const struct qh_finding *finding, FILE *out)
{
    const char *version = report->snapshot->version;
    struct qh_wrap wrap;
    long parts[3];

    if (!finding->fixed_in_count) {
        return;
    }
    qh_wrap_begin(&wrap, out, "fixed in");
    qh_wrap_piece(&wrap, "QEMU");
    for (size_t i = 0; i < finding->fixed_in_count; i++) {
        qh_wrap_printf(&wrap, "%s%s", finding->fixed_in[i],
                       i + 1 < finding->fixed_in_count ? "," : "");
    }
    if (version && read_version(version, parts)) {
        qh_wrap_printf(&wrap,
                       claims_fix(finding, parts) ? "(this says it is %s)"
                                                  : "(not in %s)",
                       version);
    }
    qh_wrap_end(&wrap);
}

static void print_more(const struct qh_finding *finding, FILE *out)
{
    struct qh_wrap wrap;

    qh_wrap_begin(&wrap, out, "more");
    qh_wrap_printf(&wrap, "qhang explain %s", finding->rule);
    qh_wrap_end(&wrap);
}

void qh_text_finding(const struct qh_report *report,
                     const struct qh_finding *finding, FILE *out)
{
    const struct qh_snapshot *snapshot = report->snapshot;
    const struct qh_thread *waiter =
        qh_snapshot_thread(snapshot, finding->waiter);

    print_headline(report, finding, out);
    print_heals(report, finding, out);
    print_kick(report, finding, out);
    if (finding->waiter && waiter) {
        print_waiter(snapshot, waiter, out);
    }
    if (finding->coroutine.value) {
        print_stuck(snapshot, finding, out);
    }
    print_evidence(finding, out);
    print_fixed_in(report, finding, out);
    print_more(finding, out);
}
