/* The rules, and what they build their findings with; private to diagnose/.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A rule is one function in one file. It walks the snapshot, adds a finding
 * for each fault that it is sure of, and sets `findings->unsettled` for each
 * that would be one but for a wake that may be on its way. It trusts no value:
 * whatever is unknown in the snapshot keeps it silent or lowers its certainty.
 */
#ifndef QH_RULES_H
#define QH_RULES_H

#include "diagnose/diagnose.h"

struct qh_rule {
    const char *id; /* "family.what", as in the findings and in docs/ */
    struct qh_error *(*judge)(const struct qh_snapshot *snapshot,
                              struct qh_findings *findings);
};

extern const struct qh_rule qh_rules[];
extern const size_t qh_rule_count;

/* Each adds its findings to `findings`. Only lack of memory is an error. */
struct qh_error *qh_rule_sleep_wake_lost(const struct qh_snapshot *snapshot,
                                         struct qh_findings *findings)
    QH_MUST_CHECK;
struct qh_error *qh_rule_sleep_erased(const struct qh_snapshot *snapshot,
                                      struct qh_findings *findings)
    QH_MUST_CHECK;
struct qh_error *
qh_rule_graph_writer_unkicked(const struct qh_snapshot *snapshot,
                              struct qh_findings *findings) QH_MUST_CHECK;

struct qh_error *qh_rule_lock_cycle(const struct qh_snapshot *snapshot,
                                    struct qh_findings *findings)
    QH_MUST_CHECK;
struct qh_error *qh_rule_lock_owner_gone(const struct qh_snapshot *snapshot,
                                         struct qh_findings *findings)
    QH_MUST_CHECK;
struct qh_error *qh_rule_wait_condition_met(const struct qh_snapshot *snapshot,
                                            struct qh_findings *findings)
    QH_MUST_CHECK;
struct qh_error *
qh_rule_aio_queued_unnotified(const struct qh_snapshot *snapshot,
                              struct qh_findings *findings) QH_MUST_CHECK;
struct qh_error *
qh_rule_timer_expired_unserved(const struct qh_snapshot *snapshot,
                               struct qh_findings *findings) QH_MUST_CHECK;
struct qh_error *qh_rule_kernel_stuck(const struct qh_snapshot *snapshot,
                                      struct qh_findings *findings)
    QH_MUST_CHECK;
struct qh_error *qh_rule_rcu_stalled(const struct qh_snapshot *snapshot,
                                     struct qh_findings *findings)
    QH_MUST_CHECK;
struct qh_error *qh_rule_coroutine_orphan(const struct qh_snapshot *snapshot,
                                          struct qh_findings *findings)
    QH_MUST_CHECK;

struct qh_error *
qh_rule_comutex_handoff_lost(const struct qh_snapshot *snapshot,
                             struct qh_findings *findings) QH_MUST_CHECK;
struct qh_error *qh_rule_corwlock_stalled(const struct qh_snapshot *snapshot,
                                          struct qh_findings *findings)
    QH_MUST_CHECK;
struct qh_error *qh_rule_io_lost_completion(const struct qh_snapshot *snapshot,
                                            struct qh_findings *findings)
    QH_MUST_CHECK;
struct qh_error *
qh_rule_iothread_stop_unkicked(const struct qh_snapshot *snapshot,
                               struct qh_findings *findings) QH_MUST_CHECK;
struct qh_error *
qh_rule_threadpool_idle_worker(const struct qh_snapshot *snapshot,
                               struct qh_findings *findings) QH_MUST_CHECK;

struct qh_error *
qh_rule_throttle_timer_unarmed(const struct qh_snapshot *snapshot,
                               struct qh_findings *findings) QH_MUST_CHECK;
struct qh_error *qh_rule_monitor_suspended(const struct qh_snapshot *snapshot,
                                           struct qh_findings *findings)
    QH_MUST_CHECK;

/* Adds the context: what is good to know and no fault. */
struct qh_error *qh_notes_take(const struct qh_snapshot *snapshot,
                               struct qh_findings *findings) QH_MUST_CHECK;
/* What moves: taken of a sample, compared with the next one, told. */
struct qh_error *qh_progress_take(const struct qh_snapshot *snapshot,
                                  struct qh_findings *findings) QH_MUST_CHECK;
void qh_progress_compare(const struct qh_progress *before,
                         struct qh_progress *after);
struct qh_error *qh_progress_note(struct qh_findings *findings) QH_MUST_CHECK;
/* Adds one note; `text` lives in the arena of `findings`, or for ever. NULL
 * stands for a printf that found no memory. */
struct qh_error *qh_note_add(struct qh_findings *findings, const char *what,
                             pid_t tid, const char *text) QH_MUST_CHECK;

/* Takes `finding` in, by value; what it points to must live as long as
 * `findings` does: in its arena, or for ever. */
struct qh_error *qh_findings_add(struct qh_findings *findings,
                                 const struct qh_finding *finding)
    QH_MUST_CHECK;

/*
 * Adds a line of evidence to a finding that is being built. `what` and `value`
 * as for qh_note_add(): a NULL is taken for lack of memory.
 */
struct qh_error *qh_evidence_add(struct qh_findings *findings,
                                 struct qh_finding *finding, const char *what,
                                 struct raddr address, const char *value)
    QH_MUST_CHECK;

/* The releases that carry the wake with the sentinel and the unconditional
 * kick of the graph lock: both came in the same two (LAB.md's table, read off
 * the machine code of the packages). */
extern const char *const qh_fixed_in[];
extern const size_t qh_fixed_in_count;

/* FNV-1a, for fingerprints: begin with QH_FINGERPRINT, mix in each value. */
#define QH_FINGERPRINT UINT64_C(0xcbf29ce484222325)
uint64_t qh_fingerprint_mix(uint64_t fingerprint, uint64_t value);
/* Mixes in the code addresses of a stack, as a sign that nobody moved. */
uint64_t qh_fingerprint_stack(uint64_t fingerprint,
                              const struct qh_backtrace *stack);

#endif
