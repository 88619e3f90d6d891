/* Findings: made by the rules, confirmed by the next sample, settled.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose/rules.h"

#include <string.h>

#define QH_NAME(constant, name) [constant] = name,

const char *qh_certainty_name(enum qh_certainty certainty)
{
    static const char *const names[] = { QH_CERTAINTIES(QH_NAME) };

    return names[certainty];
}

const char *qh_kick_name(enum qh_kick kick)
{
    static const char *const names[] = { QH_KICKS(QH_NAME) };

    return names[kick];
}

enum qh_kick qh_finding_kick(const struct qh_finding *finding)
{
    if (!strcmp(finding->rule, "sleep.wake-lost") ||
        !strcmp(finding->rule, "sleep.erased")) {
        return QH_KICK_TIMER;
    }
    return finding->context.value ? QH_KICK_NOTIFY : QH_KICK_NONE;
}

const char *qh_heals_name(enum qh_heals heals)
{
    static const char *const names[] = { QH_HEALS(QH_NAME) };

    return names[heals];
}

uint64_t qh_fingerprint_mix(uint64_t fingerprint, uint64_t value)
{
    for (int byte = 0; byte < 8; byte++) {
        fingerprint ^= value >> (8 * byte) & 0xff;
        fingerprint *= UINT64_C(0x100000001b3);
    }
    return fingerprint;
}

uint64_t qh_fingerprint_stack(uint64_t fingerprint,
                              const struct qh_backtrace *stack)
{
    for (size_t i = 0; i < stack->count; i++) {
        fingerprint =
            qh_fingerprint_mix(fingerprint, stack->frames[i].pc.value);
    }
    return fingerprint;
}

struct qh_error *qh_findings_add(struct qh_findings *findings,
                                 const struct qh_finding *finding)
{
    struct qh_finding *item =
        qh_list_add(&findings->arena, &findings->items, &findings->count,
                    &findings->room.items, sizeof(*item));

    if (!item) {
        return qh_error_no_memory();
    }
    *item = *finding;
    item->samples = 1;
    return NULL;
}

struct qh_error *qh_evidence_add(struct qh_findings *findings,
                                 struct qh_finding *finding, const char *what,
                                 struct raddr address, const char *value)
{
    if (!what || !value) {
        return qh_error_no_memory();
    }
    struct qh_evidence *evidence = qh_list_add(
        &findings->arena, &finding->evidence, &finding->evidence_count,
        &finding->evidence_room, sizeof(*evidence));
    if (!evidence) {
        return qh_error_no_memory();
    }
    *evidence = (struct qh_evidence){ what, address, value };
    return NULL;
}

struct qh_error *qh_note_add(struct qh_findings *findings, const char *what,
                             pid_t tid, const char *text)
{
    struct qh_note *note =
        text ? qh_list_add(&findings->arena, &findings->notes,
                           &findings->note_count, &findings->room.notes,
                           sizeof(*note))
             : NULL;

    if (!note) {
        return qh_error_no_memory();
    }
    *note = (struct qh_note){ what, tid, text };
    return NULL;
}

/* The surest first; among equals the order of the rules stays. */
static struct qh_error *sort_findings(struct qh_findings *findings)
{
    struct qh_finding *sorted = qh_arena_alloc(
        &findings->arena, (findings->count + 1) * sizeof(*sorted));
    size_t count = 0;

    if (!sorted) {
        return qh_error_no_memory();
    }
    for (int certainty = QH_PROOF; certainty >= QH_SUSPECT; certainty--) {
        for (size_t i = 0; i < findings->count; i++) {
            if ((int)findings->items[i].certainty == certainty) {
                sorted[count++] = findings->items[i];
            }
        }
    }
    findings->items = sorted;
    findings->room.items = count;
    return NULL;
}

/* Whether nothing moved while nobody was stopped. */
static bool stood_still(const struct qh_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        const struct qh_thread *thread = &snapshot->threads[i];
        if (thread->state == QH_THREAD_RUNNABLE && !thread->stack.count) {
            return false;
        }
    }
    return !snapshot->torn;
}

/*
 * What a process shows that is not stopped proves nothing. A finding about a
 * thread that waits must be about one wait, so that thread must not have run
 * until the next sample: its count of context switches goes into the
 * fingerprint. One that rests on memory alone needs a process that stood still:
 * a thread that runs may be the very waker.
 */
static void weigh_unstopped(const struct qh_snapshot *snapshot,
                            struct qh_findings *findings)
{
    bool still = stood_still(snapshot);
    size_t kept = 0;

    for (size_t i = 0; i < findings->count; i++) {
        struct qh_finding *finding = &findings->items[i];
        pid_t tid = finding->waiter || finding->coroutine.value
                        ? finding->waiter
                        : finding->tid;
        const struct qh_thread *waiter = qh_snapshot_thread(snapshot, tid);
        if ((!waiter || finding->of_memory) && !still) {
            findings->unsettled = true;
            continue;
        }
        if (finding->certainty > QH_STRONG) {
            finding->certainty = QH_STRONG;
        }
        finding->fingerprint = qh_fingerprint_mix(
            finding->fingerprint, waiter ? waiter->switches : 0);
        findings->items[kept++] = *finding;
    }
    findings->count = kept;
}

struct qh_error *qh_diagnose(const struct qh_snapshot *snapshot,
                             struct qh_findings **ret)
{
    QH_CLEANUP(qh_findings_guard)
    struct qh_findings *findings = calloc(1, sizeof(*findings));

    if (!findings) {
        return qh_error_no_memory();
    }
    findings->samples = 1;
    for (size_t i = 0; i < qh_rule_count; i++) {
        QH_TRY(qh_rules[i].judge(snapshot, findings));
    }
    if (snapshot->unstopped) {
        weigh_unstopped(snapshot, findings);
    }
    QH_TRY(sort_findings(findings));
    QH_TRY(qh_notes_take(snapshot, findings));
    QH_TRY(qh_progress_take(snapshot, findings));
    *ret = findings;
    findings = NULL;
    return NULL;
}

bool qh_finding_is_same(const struct qh_finding *one,
                        const struct qh_finding *other)
{
    return !strcmp(one->rule, other->rule) &&
           qh_raddr_equal(one->coroutine, other->coroutine) &&
           qh_raddr_equal(one->context, other->context) &&
           one->tid == other->tid;
}

void qh_findings_destroy(struct qh_findings *findings)
{
    if (findings) {
        qh_arena_deinit(&findings->arena);
        free(findings);
    }
}

void qh_findings_guard(struct qh_findings **findings)
{
    qh_findings_destroy(*findings);
}

static const struct qh_finding *same_finding(const struct qh_findings *findings,
                                             const struct qh_finding *like)
{
    for (size_t i = 0; i < findings->count; i++) {
        if (findings->items[i].fingerprint == like->fingerprint &&
            !strcmp(findings->items[i].rule, like->rule)) {
            return &findings->items[i];
        }
    }
    return NULL;
}

void qh_findings_confirm(const struct qh_findings *earlier,
                         struct qh_findings *later)
{
    for (size_t i = 0; i < later->count; i++) {
        const struct qh_finding *before =
            same_finding(earlier, &later->items[i]);
        if (before) {
            later->items[i].samples += before->samples;
        } else {
            later->unsettled = true;
        }
    }
    for (size_t i = 0; i < earlier->count; i++) {
        if (!same_finding(later, &earlier->items[i])) {
            later->unsettled = true;
        }
    }
    later->samples += earlier->samples;
    qh_progress_compare(&earlier->progress, &later->progress);
}

static bool has_alike(const struct qh_findings *findings,
                      const struct qh_finding *like)
{
    for (size_t i = 0; i < findings->count; i++) {
        const struct qh_finding *one = &findings->items[i];
        if (!strcmp(one->rule, like->rule) &&
            qh_raddr_equal(one->coroutine, like->coroutine) &&
            one->tid == like->tid) {
            return true;
        }
    }
    return false;
}

struct qh_error *qh_findings_note_cured(const struct qh_findings *before,
                                        struct qh_findings *findings)
{
    for (size_t i = 0; i < before->count; i++) {
        const struct qh_finding *was = &before->items[i];
        if (was->samples < 2 || has_alike(findings, was)) {
            continue;
        }
        QH_TRY(qh_note_add(
            findings, "stop.changed", was->waiter ? was->waiter : was->tid,
            qh_arena_printf(&findings->arena,
                            "before the stop it looked like %s (%s), after it "
                            "no more: a stop can end a hang",
                            was->rule, was->summary)));
    }
    return NULL;
}

bool qh_findings_settled(const struct qh_findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        if (findings->items[i].samples < 2) {
            return false;
        }
    }
    return findings->count || !findings->unsettled;
}

struct qh_error *qh_findings_settle(struct qh_findings *findings)
{
    size_t kept = 0;

    for (size_t i = 0; i < findings->count; i++) {
        if (findings->items[i].samples >= 2) {
            findings->items[kept++] = findings->items[i];
        }
    }
    findings->count = kept;
    if (kept && findings->samples > 1) {
        return qh_progress_note(findings);
    }
    if (!kept && findings->unsettled) {
        return qh_note_add(findings, "samples.unsettled", 0,
                           qh_arena_printf(&findings->arena,
                                           "a wake-up was on its way in the "
                                           "last of %u samples",
                                           findings->samples));
    }
    return NULL;
}
