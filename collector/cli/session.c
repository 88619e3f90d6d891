/* Samples of one target until they agree, and the findings that stay.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/session.h"

#include <time.h>

/*
 * What could not be read may be there in the next sample, a thread that got to
 * no CPU, say; or never. And where the look before the first stop has seen a
 * hang, it pays to wait until the threads that the stops woke are back asleep,
 * which may take them long on a busy host; but not while one of them is kept
 * from stopping, for which all others stand as long as they may.
 */
enum { MAX_SAMPLES = 5, MAX_SUSPECTED = 20, MAX_INCOMPLETE = 3 };
/* Between two samples: long for a wake that is on its way, short for one who
 * waits for the report. */
static const struct timespec sample_pause = { .tv_nsec = 200000000 };
/* Between two looks before the first stop. */
static const struct timespec look_pause = { .tv_nsec = 50000000 };

void qh_session_deinit(struct qh_session *session)
{
    qh_findings_destroy(session->before);
    qh_findings_destroy(session->findings);
    qh_snapshot_destroy(session->snapshot);
}

/* Takes one more sample and has the one before confirm it. */
static struct qh_error *take_sample(struct qh_qemu *qemu,
                                    struct qh_session *session)
{
    QH_CLEANUP(qh_snapshot_guard) struct qh_snapshot *snapshot = NULL;
    struct qh_findings *findings;

    QH_TRY(qh_qemu_sample(qemu, &snapshot));
    QH_TRY(qh_diagnose(snapshot, &findings));
    if (session->findings) {
        qh_findings_confirm(session->findings, findings);
    } else {
        session->began_ns = snapshot->monotonic_ns;
    }
    if (snapshot->pause_ns > session->pause_ns) {
        session->pause_ns = snapshot->pause_ns;
    }
    qh_findings_destroy(session->findings);
    qh_snapshot_destroy(session->snapshot);
    session->findings = findings;
    session->snapshot = snapshot;
    snapshot = NULL;
    return NULL;
}

/* Where no other sign tells how long the hang has lasted, it is at least as
 * long as the samples are apart. */
static void tell_blocked(struct qh_session *session)
{
    struct qh_snapshot *snapshot = session->snapshot;

    if (snapshot->blocked_ns == QH_TIME_UNKNOWN && session->findings->count &&
        session->began_ns != QH_TIME_UNKNOWN &&
        snapshot->monotonic_ns > session->began_ns) {
        snapshot->blocked_ns = snapshot->monotonic_ns - session->began_ns;
        snapshot->blocked_source = "samples";
        snapshot->blocked_at_least = true;
    }
}

/* Whether one more sample, after `taken`, could not make it more whole. */
static bool is_whole(const struct qh_snapshot *snapshot, int taken)
{
    return !snapshot->gap_count || taken >= MAX_INCOMPLETE;
}

/* Whether one more sample, after `taken`, could tell nothing more. */
static bool is_enough(const struct qh_session *session, int taken)
{
    bool patient =
        qh_session_suspected(session) && !session->snapshot->gap_count;
    int most = patient ? MAX_SUSPECTED : MAX_SAMPLES;

    return taken >= most ||
           (qh_findings_settled(session->findings) &&
            (session->findings->count || is_whole(session->snapshot, taken)));
}

static struct qh_error *look_once(struct qh_qemu *qemu,
                                  struct qh_session *session,
                                  struct qh_findings **ret)
{
    struct qh_snapshot *snapshot;

    QH_TRY(qh_qemu_sample(qemu, &snapshot));
    qh_snapshot_destroy(session->snapshot);
    session->snapshot = snapshot;
    return qh_diagnose(snapshot, ret);
}

/*
 * A stop wakes every thread, which can end the very hang: so the process is
 * looked at before. Only where that finds something, a second look, a little
 * later, tells whether it stays.
 */
static struct qh_error *look_before(struct qh_qemu *qemu,
                                    struct qh_session *session)
{
    struct qh_findings *again;

    QH_TRY(look_once(qemu, session, &session->before));
    if (!session->before->count) {
        return NULL;
    }
    nanosleep(&look_pause, NULL);
    QH_TRY(look_once(qemu, session, &again));
    qh_findings_confirm(session->before, again);
    qh_findings_destroy(session->before);
    session->before = again;
    return NULL;
}

struct qh_error *qh_session_glance(struct qh_target *target,
                                   struct qh_qemu *qemu,
                                   struct qh_session *session)
{
    qh_target_leave_running(target, true);
    struct qh_error *error = look_before(qemu, session);
    qh_target_leave_running(target, false);
    return error;
}

const struct qh_finding *qh_session_suspected(const struct qh_session *session)
{
    const struct qh_findings *before = session->before;

    for (size_t i = 0; before && i < before->count; i++) {
        if (before->items[i].samples > 1) {
            return &before->items[i];
        }
    }
    return NULL;
}

/* A process that runs is sampled until two in a row agree; of anything else
 * there is one sample. */
struct qh_error *qh_session_sample(struct qh_qemu *qemu,
                                   struct qh_session *session)
{
    QH_TRY(take_sample(qemu, session));
    if (session->snapshot->kind != QH_TARGET_LIVE) {
        return NULL;
    }
    for (int taken = 1; !is_enough(session, taken); taken++) {
        nanosleep(&sample_pause, NULL);
        QH_TRY(take_sample(qemu, session));
    }
    QH_TRY(qh_findings_settle(session->findings));
    tell_blocked(session);
    return session->before
               ? qh_findings_note_cured(session->before, session->findings)
               : NULL;
}

struct qh_error *qh_session_take(struct qh_target *target, struct qh_qemu *qemu,
                                 bool no_stop, struct qh_session *session)
{
    if (!no_stop && qh_target_process(target)->kind == QH_TARGET_LIVE) {
        QH_TRY(qh_session_glance(target, qemu, session));
    }
    return qh_session_sample(qemu, session);
}

struct qh_error *qh_session_examine(const struct qh_subject *subject,
                                    struct qh_session *session)
{
    QH_CLEANUP(qh_target_guard) struct qh_target *target = NULL;
    QH_CLEANUP(qh_debug_guard) struct qh_debug *debug = NULL;
    QH_CLEANUP(qh_qemu_guard) struct qh_qemu *qemu = NULL;

    QH_TRY(qh_subject_open(subject, &target, &debug, &qemu));
    return qh_session_take(target, qemu, subject->no_stop, session);
}

struct qh_error *qh_session_look(const struct qh_subject *subject,
                                 struct qh_snapshot **ret)
{
    QH_CLEANUP(qh_target_guard) struct qh_target *target = NULL;
    QH_CLEANUP(qh_debug_guard) struct qh_debug *debug = NULL;
    QH_CLEANUP(qh_qemu_guard) struct qh_qemu *qemu = NULL;

    QH_TRY(qh_subject_open(subject, &target, &debug, &qemu));
    for (int taken = 1;; taken++) {
        QH_CLEANUP(qh_snapshot_guard) struct qh_snapshot *snapshot = NULL;
        QH_TRY(qh_qemu_sample(qemu, &snapshot));
        if (snapshot->kind != QH_TARGET_LIVE || is_whole(snapshot, taken)) {
            *ret = snapshot;
            snapshot = NULL;
            return NULL;
        }
        nanosleep(&sample_pause, NULL);
    }
}
