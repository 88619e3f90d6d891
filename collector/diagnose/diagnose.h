/* Rules: snapshot in, findings out. Pure: no I/O, no clock, no target.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A rule looks at one snapshot and makes findings. A busy, healthy QEMU passes
 * through every suspicious state for an instant, so a rule makes none while
 * the wake may still be on its way: it asks that the waiting thread is asleep
 * in the kernel (a), and that no thread and no coroutine is inside a function
 * that does the waking (b). Where (a) or (b) cannot be told, the certainty is
 * at most `strong`. On a live target a finding counts only when the next
 * sample makes the same one (c): qh_findings_confirm().
 *
 * So the caller of a live target takes samples, confirms each by the one
 * before, until they are settled or it has taken enough, then settles them. A
 * core is one sample, and its findings count as they are.
 *
 * Of a process that is not stopped every finding is at most `strong`, and is
 * confirmed only by a sample until which its waiter has not run.
 */
#ifndef QH_DIAGNOSE_H
#define QH_DIAGNOSE_H

#include "snapshot/snapshot.h"

#define QH_CERTAINTIES(X)                                                      \
    X(QH_SUSPECT, "suspect")                                                   \
    X(QH_STRONG, "strong")                                                     \
    X(QH_PROOF, "proof")
#define QH_HEALS(X)                                                            \
    X(QH_HEALS_UNKNOWN, "unknown")                                             \
    X(QH_HEALS_TIMER, "timer")                                                 \
    X(QH_HEALS_NEVER, "never")

/* What `qhang kick` can do about a finding. */
#define QH_KICKS(X)                                                            \
    X(QH_KICK_NONE, "none")     /* no rescue is known */                       \
    X(QH_KICK_TIMER, "timer")   /* have the sleeper's timer fire */            \
    X(QH_KICK_NOTIFY, "notify") /* notify the finding's context */

#define QH_ENUMERATOR(constant, name) constant,
enum qh_kick { QH_KICKS(QH_ENUMERATOR) };
enum qh_certainty { QH_CERTAINTIES(QH_ENUMERATOR) };
enum qh_heals { QH_HEALS(QH_ENUMERATOR) };
#undef QH_ENUMERATOR

const char *qh_certainty_name(enum qh_certainty certainty);
const char *qh_heals_name(enum qh_heals heals);
const char *qh_kick_name(enum qh_kick kick);

/* One fact that a finding rests on, with the place to check it by hand. */
struct qh_evidence {
    const char *what;     /* "cache_clean_interval = 0: told to stop" */
    struct raddr address;
    const char *value;    /* the bare value: "0", "0x7f8e280039c0" */
};

struct qh_finding {
    const char *rule;         /* "sleep.wake-lost" */
    const char *user;         /* "qcow2.cache-clean-timer", or NULL */
    enum qh_certainty certainty;
    struct raddr coroutine;   /* the one that is stuck, or 0 */
    pid_t tid;                /* its home thread; graph lock: the writer */
    pid_t waiter;             /* the thread that waits for it, or 0 */
    bool of_memory;           /* it rests on memory, whoever waits */
    struct raddr context;     /* the AioContext that to notify ends it, or 0 */
    enum qh_heals heals;
    int64_t heals_in_ns;      /* QH_TIME_UNKNOWN unless known */
    const char *summary;      /* one line, 45 columns at most */
    struct qh_evidence *evidence;
    size_t evidence_count, evidence_room;
    const char *const *fixed_in; /* static; "10.0.13", "11.1" */
    size_t fixed_in_count;
    /* What must be the same in the next sample for the finding to stand:
     * addresses and raw values, without anything that time moves. */
    uint64_t fingerprint;
    /* How many samples in a row made it; 1 from qh_diagnose(). */
    unsigned samples;
};

/* Told by its rule and its context; whether it may be done is for rescue/ to
 * find out. */
enum qh_kick qh_finding_kick(const struct qh_finding *finding);

/* The two are of one fault: same rule, same who and where. */
bool qh_finding_is_same(const struct qh_finding *one,
                        const struct qh_finding *other);

/* Something good to know that is no fault ("holds the graph write lock"). */
struct qh_note {
    const char *what;  /* "kernel.stuck", "graph.write-locked", ... */
    pid_t tid;         /* thread it is about, or 0 */
    const char *text;  /* one line */
};

/* What shows that something moves: compared from sample to sample. */
struct qh_thread_print {
    pid_t tid;
    uint64_t print;
};
struct qh_progress {
    struct qh_thread_print *threads;
    size_t count;
    uint64_t rest; /* of all but the threads */
    size_t moved;  /* threads that have, at most between two samples */
    bool rest_moved;
};

struct qh_findings {
    struct qh_arena arena;
    struct qh_finding *items; /* worst first */
    size_t count;
    struct qh_note *notes;
    size_t note_count;
    /* Something looked like a finding but a wake may have been on its way:
     * another sample is worth taking. */
    bool unsettled;
    /* How many samples stand behind it; 1 from qh_diagnose(). */
    unsigned samples;
    struct qh_progress progress;

    struct {
        size_t items, notes;
    } room;
};

/* Judges one snapshot. Findings refer to static strings and to their own
 * arena, never to the snapshot's. */
struct qh_error *qh_diagnose(const struct qh_snapshot *snapshot,
                             struct qh_findings **ret) QH_MUST_CHECK;
void qh_findings_destroy(struct qh_findings *findings); /* NULL is fine */
void qh_findings_guard(struct qh_findings **findings);

/*
 * Compares two samples of a live target, one right after the other: a finding
 * of `later` that `earlier` made too, with the same fingerprint, counts that
 * one's samples on top of its own; `later->samples` goes up likewise. Where
 * the two differ, `later->unsettled` is set. Nothing is taken away yet, so
 * that a finding that is new in `later` can still be confirmed by the next.
 */
void qh_findings_confirm(const struct qh_findings *earlier,
                         struct qh_findings *later);
/* Whether another sample could tell nothing more: there are findings and each
 * is confirmed, or there are none and nothing looked like one. */
bool qh_findings_settled(const struct qh_findings *findings);
/*
 * Ends the sampling of a live target: takes away what only one sample made,
 * because a hang is a state that stays. If that leaves nothing and the last
 * sample was unsettled, a note says so.
 */
struct qh_error *qh_findings_settle(struct qh_findings *findings) QH_MUST_CHECK;
/*
 * Notes each confirmed finding of `before`, which nobody was stopped for, that
 * `findings`, made with the process stopped, do not have.
 */
struct qh_error *
qh_findings_note_cured(const struct qh_findings *before,
                       struct qh_findings *findings) QH_MUST_CHECK;

#endif
