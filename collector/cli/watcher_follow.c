/* Watching one QEMU: what becomes of a suspicion.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/journal.h"
#include "cli/watcher_parts.h"

#include <time.h>

#define MAX_DELAY_NS INT64_C(60000000000)
/* What a look has cost is waited for so many times over: 0.05 % of a CPU. */
enum { COST_TIMES = 2000 };

/* What the samples of a hang cost, and what is kept of it, is not counted: that
 * comes once. What stands, or may be a hang, is looked at again in time. */
static void put_off(struct qh_watcher *watcher, struct qh_backoff *backoff)
{
    int64_t delay = 2 * backoff->delay_ns;
    int64_t cost = watcher->glance_ns * COST_TIMES;

    if (delay < watcher->request->after_ns) {
        delay = watcher->request->after_ns;
    }
    backoff->delay_ns = delay < MAX_DELAY_NS ? delay : MAX_DELAY_NS;
    delay = cost > backoff->delay_ns ? cost : backoff->delay_ns;
    if (watcher->known_count && delay > MAX_DELAY_NS) {
        delay = MAX_DELAY_NS;
    }
    if (watcher->candidate_ns) {
        delay = watcher->request->after_ns;
    }
    backoff->next_ns = qh_watcher_now() + delay;
}

/* What the glance has seen twice: one that is known, or one that is not. */
static const struct qh_finding *glimpsed(const struct qh_inquiry *inquiry,
                                         bool known)
{
    const struct qh_findings *before = inquiry->session.before;

    for (size_t i = 0; before && i < before->count; i++) {
        const struct qh_finding *finding = &before->items[i];
        if (finding->samples > 1 &&
            qh_watcher_knows(inquiry->watcher, finding) == known) {
            return finding;
        }
    }
    return NULL;
}

/* The samples, and what they come to. `suspected` is new, or NULL. */
static struct qh_error *sample(struct qh_inquiry *inquiry,
                               const struct qh_finding *suspected)
{
    struct qh_watcher *watcher = inquiry->watcher;
    struct qh_session *session = &inquiry->session;

    if (suspected) {
        QH_TRY(qh_inquiry_capture(inquiry));
    }
    QH_TRY(qh_session_sample(watcher->qemu, session));
    qh_pulse_learn(&watcher->pulse, session->snapshot);
    /* What does not settle, or cannot be read, may stand all the same. */
    bool sure = !session->findings->unsettled && !session->snapshot->gap_count;
    if (sure) {
        qh_watcher_forget(watcher, session->findings);
    }
    if (qh_watcher_has_new(watcher, session->findings)) {
        QH_TRY(qh_inquiry_capture(inquiry));
        QH_TRY(qh_inquiry_tell(inquiry, session->findings));
    } else if (suspected && sure) {
        qh_journal_over(watcher->pid, suspected, true, 0);
    }
    return NULL;
}

/* Beside a main loop that does well a state of a moment is no hang yet. */
static bool is_lasting(struct qh_watcher *watcher,
                       const struct qh_finding *suspected)
{
    int64_t now = qh_watcher_now();

    if (!watcher->candidate_ns ||
        !qh_finding_is_same(&watcher->candidate, suspected)) {
        watcher->candidate = qh_watcher_print(suspected);
        watcher->candidate_ns = now;
    }
    return now - watcher->candidate_ns >= watcher->request->after_ns;
}

/* How a diagnosis came about. */
struct cause {
    enum qh_suspicion suspicion;
    bool owes;  /* the monitor owes an answer */
    bool stops; /* suspicious enough to stop it even if the look, which sees
                 * less, has found nothing; unless the loop is at home */
};

/* The look may have told only now where the loop is at home. */
static bool does_well(const struct qh_watcher *watcher,
                      const struct cause *cause)
{
    return cause->suspicion == QH_SUSPICION_NONE ||
           qh_pulse_is_home(&watcher->pulse);
}

static struct qh_error *inquire(struct qh_inquiry *inquiry,
                                const struct cause *cause)
{
    struct qh_watcher *watcher = inquiry->watcher;
    struct qh_session *session = &inquiry->session;
    int64_t cpu_ns = qh_watcher_cpu();

    QH_TRY(qh_session_glance(watcher->target, watcher->qemu, session));
    watcher->glance_ns = qh_watcher_cpu() - cpu_ns;
    qh_pulse_learn(&watcher->pulse, session->snapshot);
    const struct qh_finding *suspected = glimpsed(inquiry, false);
    if (!suspected && glimpsed(inquiry, true)) {
        watcher->candidate_ns = 0;
        return NULL; /* it stands, and all has been said */
    }
    if (suspected && !cause->stops && does_well(watcher, cause) &&
        !is_lasting(watcher, suspected)) {
        return NULL;
    }
    watcher->candidate_ns = 0;
    /* That a known one is over, only a stop tells for sure. */
    bool sure = cause->owes || watcher->known_count ||
                (cause->stops && !qh_pulse_is_home(&watcher->pulse));
    return suspected || sure ? sample(inquiry, suspected) : NULL;
}

/* An error of the diagnosis is told, and tried again later; an end is none. */
static struct qh_error *diagnose(struct qh_watcher *watcher,
                                 const struct cause *cause)
{
    struct qh_inquiry inquiry = { .watcher = watcher,
                                  .session = QH_SESSION_EMPTY };
    struct timespec now;
    uint64_t found = watcher->found;
    struct qh_error *error = inquire(&inquiry, cause);

    qh_session_deinit(&inquiry.session);
    clock_gettime(CLOCK_REALTIME, &now);
    watcher->diagnosed_realtime_ns =
        now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    watcher->diagnoses++;
    if (found != watcher->found) {
        watcher->known_ns = qh_watcher_now();
        watcher->known_sp = watcher->pulse.last.sp;
        qh_watcher_tell_metrics(watcher);
    }
    if (error && !qh_watcher_is_final(error)) {
        watcher->diagnoses_failed++;
        qh_watcher_complain(watcher, error);
        return NULL;
    }
    if (!error) {
        watcher->complaint = QH_COMPLAINT_NONE;
    }
    return error;
}

struct qh_error *qh_watcher_meet(struct qh_watcher *watcher)
{
    struct qh_inquiry inquiry = { .watcher = watcher,
                                  .session = QH_SESSION_EMPTY };
    struct qh_error *error =
        qh_session_glance(watcher->target, watcher->qemu, &inquiry.session);

    if (!error) {
        qh_pulse_learn(&watcher->pulse, inquiry.session.snapshot);
    }
    qh_session_deinit(&inquiry.session);
    watcher->well.next_ns = qh_watcher_now() + watcher->request->after_ns;
    return error;
}

/* A stall that was a hang may be over when the loop is seen in another place,
 * or the monitor has answered: the next look tells, which comes at once. */
static void see_progress(struct qh_watcher *watcher)
{
    const struct qh_reading *last = &watcher->pulse.last;
    /* That it runs tells nothing: the diagnosis has woken it. */
    bool elsewhere = last->state == 'S' && last->sp != watcher->known_sp;
    bool answered =
        watcher->monitor &&
        qh_monitor_answered_ns(watcher->monitor) > watcher->known_ns;

    if (watcher->known_count && watcher->known_by != QH_KNOWN_BY_LOOK &&
        (watcher->known_by == QH_KNOWN_BY_MONITOR ? answered : elsewhere)) {
        watcher->known_by = QH_KNOWN_BY_LOOK;
        watcher->well.next_ns = watcher->stall.next_ns = 0;
    }
}

static bool owes_answer(const struct qh_watcher *watcher, int64_t now_ns)
{
    return watcher->monitor && qh_monitor_owes_ns(watcher->monitor, now_ns) >=
                                   watcher->request->after_ns;
}

static enum qh_known_by known_by(const struct qh_watcher *watcher,
                                 const struct cause *cause)
{
    if (cause->owes) {
        return QH_KNOWN_BY_MONITOR;
    }
    return cause->suspicion >= QH_SUSPICION_TURNS &&
                   !qh_pulse_is_home(&watcher->pulse)
               ? QH_KNOWN_BY_STALL
               : QH_KNOWN_BY_LOOK;
}

struct qh_error *qh_watcher_follow(struct qh_watcher *watcher, int64_t now_ns)
{
    struct cause cause = {
        .suspicion = qh_pulse_suspicion(&watcher->pulse, now_ns,
                                        watcher->request->after_ns),
        .owes = owes_answer(watcher, now_ns),
    };
    cause.stops = cause.owes || cause.suspicion == QH_SUSPICION_STALLED;
    struct qh_backoff *backoff = cause.stops ? &watcher->stall : &watcher->well;

    see_progress(watcher);
    if (cause.suspicion == QH_SUSPICION_NONE && !cause.owes &&
        now_ns >= watcher->stall.next_ns) {
        watcher->stall.delay_ns = 0;
    }
    if (now_ns < backoff->next_ns ||
        (watcher->known_count && watcher->known_by != QH_KNOWN_BY_LOOK)) {
        return NULL;
    }
    uint64_t found = watcher->found;
    size_t known = watcher->known_count;
    struct qh_error *error = diagnose(watcher, &cause);
    if (found != watcher->found) {
        watcher->known_by = known_by(watcher, &cause);
    } else if (known != watcher->known_count) {
        qh_watcher_tell_metrics(watcher);
    }
    put_off(watcher, backoff);
    return error;
}
