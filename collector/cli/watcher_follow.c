/* Watching one QEMU: what becomes of a suspicion.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/units.h"
#include "capture/capture.h"
#include "cli/journal.h"
#include "cli/watcher_parts.h"
#include "report/escape.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_DELAY_NS INT64_C(60000000000)
/* What a look has cost is waited for so many times over: 0.05 % of a CPU. */
enum { COST_TIMES = 2000 };
/* Of one run: a process that hangs again and again must not fill the disk. */
enum { MAX_CAPTURES = 10 };

/* One diagnosis, from the first look to what is told of it. */
struct inquiry {
    struct qh_watcher *watcher;
    struct qh_session session;
    char capture[PATH_MAX]; /* "" while there is none */
};

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

/* What tells it from others, without anything that a snapshot owns. */
static struct qh_finding print_of(const struct qh_finding *finding)
{
    return (struct qh_finding){ .rule = finding->rule,
                                .tid = finding->tid,
                                .coroutine = finding->coroutine,
                                .context = finding->context };
}

static bool is_known(const struct qh_watcher *watcher,
                     const struct qh_finding *finding)
{
    for (size_t i = 0; i < watcher->known_count; i++) {
        if (qh_finding_is_same(&watcher->known[i], finding)) {
            return true;
        }
    }
    return false;
}

/* Tells of those that `findings` do not have that they are over. */
static void forget(struct qh_watcher *watcher,
                   const struct qh_findings *findings)
{
    size_t kept = 0;

    for (size_t i = 0; i < watcher->known_count; i++) {
        bool stands = false;
        for (size_t j = 0; j < findings->count; j++) {
            stands |=
                qh_finding_is_same(&watcher->known[i], &findings->items[j]);
        }
        if (stands) {
            watcher->known[kept++] = watcher->known[i];
            continue;
        }
        qh_journal_over(watcher->pid, &watcher->known[i], false,
                        qh_watcher_now() - watcher->known_ns);
    }
    watcher->known_count = kept;
}

static void count(struct qh_watcher *watcher, const char *rule)
{
    for (size_t i = 0; i < watcher->hangs_count; i++) {
        if (!strcmp(watcher->hangs[i].rule, rule)) {
            watcher->hangs[i].count++;
            return;
        }
    }
    if (watcher->hangs_count < QH_MAX_RULES) {
        watcher->hangs[watcher->hangs_count++] =
            (struct qh_metric_hangs){ rule, 1 };
    }
}

/* The file of the next capture; false when there is to be none. */
static bool name_capture(const struct qh_watcher *watcher, char *ret,
                         size_t size)
{
    const char *path = watcher->request->capture;
    struct stat stat_;
    char when[32];
    time_t now = time(NULL);
    struct tm parts;

    if (!path || watcher->captures >= MAX_CAPTURES) {
        return false;
    }
    if (stat(path, &stat_) < 0 || !S_ISDIR(stat_.st_mode)) {
        return (size_t)snprintf(ret, size, "%s", path) < size;
    }
    gmtime_r(&now, &parts);
    strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &parts);
    return (size_t)snprintf(ret, size, "%s/qhang-%d-%s.core", path,
                            (int)watcher->pid, when) < size;
}

/* Whether it ends the watch: the process is gone, or there is no memory. */
static bool is_final(const struct qh_error *error)
{
    return qh_error_is_gone(error) || error->code == QH_ERR_MEMORY;
}

static struct qh_error *write_capture(struct inquiry *inquiry, const char *path)
{
    QH_CLEANUP(qh_target_guard) struct qh_target *target = NULL;
    const struct qh_capture_options options = { .tool_version = QHANG_VERSION };
    struct qh_capture_result result;

    /* One of its own: what it reads is not what the session has read. */
    QH_TRY(qh_target_open_live(inquiry->watcher->pid, NULL, &target));
    QH_TRY(qh_capture(target, path, &options, &result));
    inquiry->watcher->captures++;
    strcpy(inquiry->capture, path);
    return NULL;
}

/* That it could not be taken keeps nobody from the rest. */
static struct qh_error *capture(struct inquiry *inquiry)
{
    char path[PATH_MAX];

    if (*inquiry->capture ||
        !name_capture(inquiry->watcher, path, sizeof(path))) {
        return NULL;
    }
    struct qh_error *error = write_capture(inquiry, path);
    if (!error || is_final(error)) {
        return error;
    }
    qh_watcher_complain(inquiry->watcher, error);
    return NULL;
}

/* `text` safe to print; malloc'd, or NULL. */
static char *escaped(const char *text)
{
    char *safe = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&safe, &bytes);
    struct qh_rune rune;

    if (!out) {
        return NULL;
    }
    while ((rune = qh_rune_at(text)).bytes) {
        qh_print_rune(text, rune, out);
        text += rune.bytes;
    }
    fclose(out);
    return safe;
}

static struct qh_error *run_command(struct inquiry *inquiry,
                                    const struct qh_finding *finding,
                                    const char *summary)
{
    struct qh_watcher *watcher = inquiry->watcher;
    const struct qh_hook_facts facts = { .pid = watcher->pid,
                                         .rule = finding->rule,
                                         .capture = inquiry->capture,
                                         .summary = summary };

    return watcher->request->command
               ? qh_hook_run(&watcher->hook, watcher->request->command, &facts)
               : NULL;
}

/* What is found for the first time is told, and the command run for the worst
 * of it. */
static struct qh_error *tell(struct inquiry *inquiry,
                             const struct qh_findings *findings)
{
    struct qh_watcher *watcher = inquiry->watcher;
    const struct qh_finding *worst = NULL;

    for (size_t i = 0; i < findings->count; i++) {
        const struct qh_finding *finding = &findings->items[i];
        if (is_known(watcher, finding) ||
            watcher->known_count == QH_MAX_KNOWN) {
            continue;
        }
        QH_CLEANUP(qh_free_guard) char *summary = escaped(finding->summary);
        if (!summary) {
            return qh_error_no_memory();
        }
        worst = worst ? worst : finding;
        watcher->found++;
        watcher->known[watcher->known_count++] = print_of(finding);
        count(watcher, finding->rule);
        qh_journal_hang(watcher->pid, finding, summary, inquiry->capture);
        if (worst == finding) {
            struct qh_error *error = run_command(inquiry, finding, summary);
            if (error) {
                qh_watcher_complain(watcher, error);
            }
        }
    }
    return NULL;
}

static bool has_new(const struct qh_watcher *watcher,
                    const struct qh_findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        if (!is_known(watcher, &findings->items[i])) {
            return true;
        }
    }
    return false;
}

/* What the glance has seen twice: one that is known, or one that is not. */
static const struct qh_finding *glimpsed(const struct inquiry *inquiry,
                                         bool known)
{
    const struct qh_findings *before = inquiry->session.before;

    for (size_t i = 0; before && i < before->count; i++) {
        const struct qh_finding *finding = &before->items[i];
        if (finding->samples > 1 &&
            is_known(inquiry->watcher, finding) == known) {
            return finding;
        }
    }
    return NULL;
}

/* The samples, and what they come to. `suspected` is new, or NULL. */
static struct qh_error *sample(struct inquiry *inquiry,
                               const struct qh_finding *suspected)
{
    struct qh_watcher *watcher = inquiry->watcher;
    struct qh_session *session = &inquiry->session;

    if (suspected) {
        QH_TRY(capture(inquiry));
    }
    QH_TRY(qh_session_sample(watcher->qemu, session));
    qh_pulse_learn(&watcher->pulse, session->snapshot);
    /* What does not settle, or cannot be read, may stand all the same. */
    bool sure = !session->findings->unsettled && !session->snapshot->gap_count;
    if (sure) {
        forget(watcher, session->findings);
    }
    if (has_new(watcher, session->findings)) {
        QH_TRY(capture(inquiry));
        QH_TRY(tell(inquiry, session->findings));
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
        watcher->candidate = print_of(suspected);
        watcher->candidate_ns = now;
    }
    return now - watcher->candidate_ns >= watcher->request->after_ns;
}

/* How a diagnosis came about. */
struct cause {
    enum qh_suspicion suspicion;
    bool owes;  /* the monitor does an answer */
    bool stops; /* suspicious enough to stop it even if the look, which sees
                 * less, has found nothing; unless the loop is at home */
};

static struct qh_error *inquire(struct inquiry *inquiry,
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
    if (suspected && cause->suspicion == QH_SUSPICION_NONE && !cause->owes &&
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
    struct inquiry inquiry = { .watcher = watcher,
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
    if (error && !is_final(error)) {
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
    struct inquiry inquiry = { .watcher = watcher,
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
