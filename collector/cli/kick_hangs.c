/* Kicks the hangs of one process, one after the other.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/journal.h"
#include "cli/kick_parts.h"

#include <stdio.h>
#include <string.h>

/* On a busy host the threads may be on their way in every sample of a session;
 * then there is another. */
enum { MAX_SESSIONS = 4 };

static bool was_tried(const struct qh_kick_run *kick,
                      const struct qh_finding *finding)
{
    for (size_t i = 0; i < kick->tried_count; i++) {
        if (qh_finding_is_same(&kick->tried[i].finding, finding)) {
            return true;
        }
    }
    return false;
}

static const struct qh_finding *next_finding(const struct qh_kick_run *kick,
                                             const struct qh_session *session)
{
    for (size_t i = 0; i < session->findings->count; i++) {
        const struct qh_finding *finding = &session->findings->items[i];
        if (!was_tried(kick, finding)) {
            return finding;
        }
    }
    return NULL;
}

/* Who waited for several faults goes on with the last of them. */
static void take_outcome(struct qh_kick_run *kick,
                         const struct qh_rescue_outcome *outcome)
{
    struct qh_kick_tried *last = &kick->tried[kick->tried_count - 1];

    last->waits = outcome->result == QH_RESCUE_WAITS;
    last->place = outcome->place;
    last->acted = kick->acted;
    last->stuck = !last->waits && !qh_rescue_is_over(outcome);
    if (outcome->result == QH_RESCUE_ENDED) {
        kick->ended = true;
        kick->ending = outcome->ending;
    }
    if (outcome->result != QH_RESCUE_UNSTUCK || !last->finding.waiter) {
        return;
    }
    for (size_t i = 0; i < kick->tried_count; i++) {
        struct qh_kick_tried *tried = &kick->tried[i];
        tried->waits &= tried->finding.waiter != last->finding.waiter;
    }
}

static void watch(struct qh_kick_run *kick, const struct qh_session *session,
                  const struct qh_finding *finding)
{
    const struct qh_report report = qh_kick_report(session->snapshot, session);
    struct qh_rescue_outcome outcome;

    struct qh_error *error =
        qh_rescue_watch(kick->target, kick->qemu, session->snapshot, finding,
                        kick->request->watch_ns, &outcome);
    if (error) {
        kick->tried[kick->tried_count - 1].stuck = true;
        qh_kick_text_unwatched(stdout);
        qh_fail(error);
        return;
    }
    take_outcome(kick, &outcome);
    qh_kick_text_outcome(&report, &outcome, stdout);
    qh_journal_outcome(qh_target_process(kick->target)->pid, finding, &outcome);
}

/* Shows the plan, asks, carries it out and watches. */
static struct qh_error *kick_shown(struct qh_kick_run *kick,
                                   const struct qh_session *session,
                                   const struct qh_finding *finding)
{
    const struct qh_report report = qh_kick_report(session->snapshot, session);
    struct qh_rescue_plan plan, done;

    QH_TRY(qh_rescue(kick->target, kick->qemu, finding, QH_RESCUE_DRY, NULL,
                     &plan));
    qh_kick_text_plan(&report, &plan, stdout);
    fflush(stdout); /* should it be cut short, this was said */
    if (kick->request->dry) {
        return NULL;
    }
    if (!qh_kick_ask(kick)) {
        kick->declined = true;
        return NULL;
    }
    pid_t pid = qh_target_process(kick->target)->pid;
    /* Before, so that it is on record whatever becomes of qhang meanwhile. */
    qh_journal_kick(pid, finding, &plan);
    struct qh_error *error = qh_rescue(kick->target, kick->qemu, finding,
                                       QH_RESCUE_DO, &plan, &done);
    if (error) {
        qh_journal_refused(pid, finding);
        return error;
    }
    kick->acted++;
    watch(kick, session, finding);
    return NULL;
}

/* A refusal ends this finding's turn, not the others'. */
static struct qh_error *kick_one(struct qh_kick_run *kick,
                                 const struct qh_session *session,
                                 const struct qh_finding *finding)
{
    const struct qh_report report = qh_kick_report(session->snapshot, session);

    kick->tried[kick->tried_count++] =
        (struct qh_kick_tried){ .finding = { .rule = finding->rule,
                                             .coroutine = finding->coroutine,
                                             .context = finding->context,
                                             .tid = finding->tid,
                                             .waiter = finding->waiter } };
    if (kick->tried_count > 1) {
        putchar('\n');
    }
    qh_kick_text_finding(&report, finding, stdout);
    fflush(stdout);
    struct qh_error *error = kick_shown(kick, session, finding);
    if (qh_error_is_gone(error)) {
        return error;
    }
    if (error && error != qh_error_no_memory()) {
        kick->refused++;
        qh_kick_text_refusal(&report, error, stdout);
        qh_error_destroy(error);
        return NULL;
    }
    return error;
}

/* What was looked at before the first stop, and hangs no more after it. */
static struct qh_error *ended_by_stop(const struct qh_kick_run *kick,
                                      const struct qh_finding *before)
{
    pid_t pid = qh_target_process(kick->target)->pid;

    return qh_error_tid(
        qh_error_new(QH_ERR_REFUSED,
                     "process %d looked like %s until it was stopped for the "
                     "diagnosis, and hangs no more; nothing was written",
                     (int)pid, before->rule),
        pid);
}

static struct qh_error *nothing_hangs(const struct qh_kick_run *kick,
                                      const struct qh_session *session)
{
    pid_t pid = qh_target_process(kick->target)->pid;
    const struct qh_finding *before = qh_session_suspected(session);

    QH_TRY(qh_rescue_check_runs(session->snapshot));
    if (before && !session->findings->unsettled &&
        !session->snapshot->gap_count) {
        return ended_by_stop(kick, before);
    }
    const char *but =
        session->findings->unsettled   ? ", but it never stood still"
        : session->snapshot->gap_count ? ", but not all of it could be read"
                                       : "";

    return qh_error_tid(qh_error_new(QH_ERR_REFUSED,
                                     "no hang found in process %d%s; nothing "
                                     "was written",
                                     (int)pid, but),
                        pid);
}

/* Not one that was patient already, nor one for which all stood long. */
static bool is_worth_another(const struct qh_session *session)
{
    const struct qh_snapshot *snapshot = session->snapshot;

    return !qh_session_suspected(session) && !snapshot->gap_count &&
           snapshot->halted != QH_HALT_SIGNAL;
}

static struct qh_error *diagnose(struct qh_kick_run *kick,
                                 struct qh_session *ret)
{
    struct qh_session session = QH_SESSION_EMPTY;

    for (int taken = 1;; taken++) {
        struct qh_error *error =
            qh_session_take(kick->target, kick->qemu, false, &session);
        if (error) {
            qh_session_deinit(&session);
            return error;
        }
        if (session.findings->count || !session.findings->unsettled ||
            !is_worth_another(&session) || taken == MAX_SESSIONS) {
            *ret = session;
            return NULL;
        }
        qh_session_deinit(&session);
        session = (struct qh_session)QH_SESSION_EMPTY;
    }
}

/* It went on, and then to its end: what else was to be seen is gone. */
static void tell_end(struct qh_kick_run *kick)
{
    const struct qh_process *process = qh_target_process(kick->target);
    const struct qh_report report = { .colour = qh_wants_colour() };

    kick->ended = true;
    kick->ending = qh_target_ending(kick->target);
    qh_kick_text_ended(&report, &kick->ending, stdout);
    qh_journal_ended(process->pid, &kick->ending);
}

/* Who still waited may go on with what was kicked after it. */
static struct qh_error *watch_waiters(struct qh_kick_run *kick)
{
    for (size_t i = 0; i < kick->tried_count && !kick->ended; i++) {
        struct qh_kick_tried *tried = &kick->tried[i];
        struct qh_rescue_outcome outcome;

        if (!tried->waits || tried->acted == kick->acted) {
            continue;
        }
        QH_TRY(qh_rescue_watch_place(kick->target, kick->qemu, &tried->place,
                                     kick->request->watch_ns, &outcome));
        tried->waits = outcome.result == QH_RESCUE_WAITS ||
                       outcome.result == QH_RESCUE_UNCLEAR;
        if (outcome.result == QH_RESCUE_UNSTUCK) {
            qh_journal_went_on(qh_target_process(kick->target)->pid,
                               &tried->finding);
        } else if (outcome.result == QH_RESCUE_ENDED) {
            tell_end(kick);
        }
    }
    return NULL;
}

/* All have had their turn: what is left? */
static void finish(struct qh_kick_run *kick, const struct qh_session *session)
{
    const struct qh_report report = qh_kick_report(session->snapshot, session);

    kick->left = session->findings->count;
    kick->unseen = session->findings->unsettled || session->snapshot->gap_count;
    if (kick->acted && !kick->ended) {
        qh_kick_text_left(&report, kick->left, kick->unseen,
                          qh_kick_is_stuck(kick), stdout);
    }
}

/* Diagnoses, kicks the first hang that has not had its turn, and again. */
static struct qh_error *kick_all(struct qh_kick_run *kick)
{
    while (!kick->ended && !kick->declined) {
        QH_CLEANUP(qh_session_deinit)
        struct qh_session session = QH_SESSION_EMPTY;

        QH_TRY(diagnose(kick, &session));
        const struct qh_finding *finding = next_finding(kick, &session);
        if (!finding && !kick->tried_count) {
            return nothing_hangs(kick, &session);
        }
        if (!finding || kick->tried_count == QH_MAX_KICKS) {
            QH_TRY(watch_waiters(kick));
            finish(kick, &session);
            return NULL;
        }
        QH_TRY(kick_one(kick, &session, finding));
    }
    return NULL;
}

struct qh_error *qh_kick_hangs(struct qh_kick_run *kick)
{
    struct qh_error *error = kick_all(kick);

    if (qh_error_is_gone(error) && kick->acted) {
        qh_error_destroy(error);
        tell_end(kick);
        return NULL;
    }
    return error;
}
