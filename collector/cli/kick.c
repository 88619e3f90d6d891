/* qhang kick: gets a stuck QEMU going again.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/journal.h"
#include "cli/session.h"
#include "report/kick.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* So many hangs of one process are kicked, one after the other. */
enum { MAX_KICKS = 16 };
/* How long it is watched whether it goes on. */
enum { WATCH_S = 5, MAX_WATCH_S = 3600 };
/* On a busy host the threads may be on their way in every sample of a session;
 * then there is another. */
enum { MAX_SESSIONS = 4 };

enum {
    OPTION_YES = 'y',
    OPTION_DRY = 'n',
    OPTION_NOTIFY = 'o',
    OPTION_WAIT = 'w'
};

static const struct qh_option options[] = {
    { OPTION_YES, "yes", NULL, "do not ask" },
    { OPTION_DRY, "dry-run", NULL, "only print what would be written" },
    { OPTION_NOTIFY, "notify-only", NULL,
      "notify every event loop, and write nothing" },
    { OPTION_WAIT, "wait", "SECONDS", "how long to watch it afterwards (5)" },
    { QH_SUBJECT_DEBUGINFO, "debuginfo", "DIR",
      "look for separate debug files here, too" },
    QH_HELP_OPTION,
};

struct request {
    struct qh_subject subject;
    bool yes, dry, notify;
    int64_t watch_ns;
};

/* A finding that was dealt with, one way or another. */
struct tried {
    const char *rule; /* static */
    struct raddr coroutine, context;
    pid_t tid;
};

/* One run over one process. */
struct kick {
    const struct request *request;
    struct qh_target *target;
    struct qh_debug *debug;
    struct qh_qemu *qemu;
    struct tried tried[MAX_KICKS];
    size_t tried_count;
    size_t acted, stuck, refused;
    size_t left; /* hangs at the end */
    bool unseen; /* the last diagnosis did not see all */
    bool exited, declined;
};

static void kick_deinit(struct kick *kick)
{
    qh_qemu_destroy(kick->qemu);
    qh_debug_destroy(kick->debug);
    qh_target_destroy(kick->target);
}

static bool was_tried(const struct kick *kick, const struct qh_finding *finding)
{
    for (size_t i = 0; i < kick->tried_count; i++) {
        const struct tried *tried = &kick->tried[i];
        if (!strcmp(tried->rule, finding->rule) &&
            qh_raddr_equal(tried->coroutine, finding->coroutine) &&
            qh_raddr_equal(tried->context, finding->context) &&
            tried->tid == finding->tid) {
            return true;
        }
    }
    return false;
}

static const struct qh_finding *next_finding(const struct kick *kick,
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

static struct qh_report report_of(const struct qh_session *session)
{
    return (struct qh_report){ .snapshot = session->snapshot,
                               .findings = session->findings,
                               .samples = session->findings->samples,
                               .pause_ns = session->pause_ns,
                               .colour = qh_wants_colour(),
                               .tool_version = QHANG_VERSION };
}

/* On a terminal alone; elsewhere --yes was asked for before. */
static bool ask(const struct kick *kick)
{
    QH_CLEANUP(qh_free_guard) char *answer = NULL;
    size_t room = 0;

    tcflush(STDIN_FILENO, TCIFLUSH); /* what was typed before is no answer */
    fprintf(stderr, "\nDo this to process %d? [y/N] ",
            (int)qh_target_process(kick->target)->pid);
    if (getline(&answer, &room, stdin) < 0) {
        return false;
    }
    return answer[0] == 'y' || answer[0] == 'Y';
}

static struct qh_error *watch(struct kick *kick,
                              const struct qh_session *session,
                              const struct qh_finding *finding)
{
    const struct qh_report report = report_of(session);
    struct qh_rescue_outcome outcome;

    struct qh_error *error =
        qh_rescue_watch(kick->target, kick->qemu, finding,
                        kick->request->watch_ns, &outcome);
    if (error) {
        kick->stuck++;
        qh_kick_text_unwatched(stdout);
        qh_fail(error);
        return NULL;
    }
    kick->stuck += !outcome.unstuck;
    kick->exited = outcome.exited;
    qh_kick_text_outcome(&report, &outcome, stdout);
    qh_journal_outcome(qh_target_process(kick->target)->pid, finding,
                       &outcome);
    return NULL;
}

/* Shows the plan, asks, carries it out and watches. */
static struct qh_error *kick_shown(struct kick *kick,
                                   const struct qh_session *session,
                                   const struct qh_finding *finding)
{
    const struct qh_report report = report_of(session);
    struct qh_rescue_plan plan, done;

    QH_TRY(qh_rescue(kick->target, kick->qemu, finding, QH_RESCUE_DRY, NULL,
                     &plan));
    qh_kick_text_plan(&report, &plan, stdout);
    fflush(stdout); /* should it be cut short, this was said */
    if (kick->request->dry) {
        return NULL;
    }
    if (!kick->request->yes && !ask(kick)) {
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
    return watch(kick, session, finding);
}

/* A refusal ends this finding's turn, not the others'. */
static struct qh_error *kick_one(struct kick *kick,
                                 const struct qh_session *session,
                                 const struct qh_finding *finding)
{
    const struct qh_report report = report_of(session);

    kick->tried[kick->tried_count++] =
        (struct tried){ finding->rule, finding->coroutine, finding->context,
                        finding->tid };
    if (kick->tried_count > 1) {
        putchar('\n');
    }
    qh_kick_text_finding(&report, finding, stdout);
    fflush(stdout);
    struct qh_error *error = kick_shown(kick, session, finding);
    if (error && error->code == QH_ERR_EXITED) {
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
static struct qh_error *ended_by_stop(const struct kick *kick,
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

static struct qh_error *nothing_hangs(const struct kick *kick,
                                      const struct qh_session *session)
{
    pid_t pid = qh_target_process(kick->target)->pid;
    const struct qh_finding *before = qh_session_suspected(session);

    if (before && !session->findings->unsettled &&
        !session->snapshot->gap_count) {
        return ended_by_stop(kick, before);
    }
    const char *but = session->findings->unsettled
                          ? ", but it never stood still"
                      : session->snapshot->gap_count
                          ? ", but not all of it could be read"
                          : "";

    return qh_error_tid(qh_error_new(QH_ERR_REFUSED,
                                     "no hang found in process %d%s; nothing "
                                     "was written",
                                     (int)pid, but),
                        pid);
}

static struct qh_error *diagnose(struct kick *kick, struct qh_session *ret)
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
            taken == MAX_SESSIONS) {
            *ret = session;
            return NULL;
        }
        qh_session_deinit(&session);
        session = (struct qh_session)QH_SESSION_EMPTY;
    }
}

/* Diagnoses, kicks the first hang that has not had its turn, and again. */
static struct qh_error *kick_all(struct kick *kick)
{
    while (!kick->exited && !kick->declined) {
        QH_CLEANUP(qh_session_deinit)
        struct qh_session session = QH_SESSION_EMPTY;

        QH_TRY(diagnose(kick, &session));
        const struct qh_finding *finding = next_finding(kick, &session);
        if (!finding && !kick->tried_count) {
            return nothing_hangs(kick, &session);
        }
        if (!finding || kick->tried_count == MAX_KICKS) {
            const struct qh_report report = report_of(&session);
            kick->left = session.findings->count;
            kick->unseen = session.findings->unsettled ||
                           session.snapshot->gap_count;
            if (kick->acted) {
                qh_kick_text_left(&report, kick->left, kick->unseen, stdout);
            }
            return NULL;
        }
        QH_TRY(kick_one(kick, &session, finding));
    }
    return NULL;
}

static struct qh_error *notify_all(struct kick *kick)
{
    enum qh_rescue_mode mode =
        kick->request->dry ? QH_RESCUE_DRY : QH_RESCUE_DO;
    size_t count;

    QH_TRY(qh_rescue_notify(kick->target, kick->qemu, mode, &count));
    qh_kick_text_notified(qh_target_process(kick->target), count,
                          kick->request->dry, stdout);
    return NULL;
}

static struct qh_error *run_kick(struct kick *kick)
{
    QH_TRY(qh_subject_open(&kick->request->subject, &kick->target,
                           &kick->debug, &kick->qemu));
    if (kick->request->notify) {
        return notify_all(kick);
    }
    struct qh_error *error = kick_all(kick);
    if (error && error->code == QH_ERR_EXITED && kick->acted) {
        /* It went on, and to its end: what else was to be seen is gone. */
        qh_error_destroy(error);
        kick->exited = true;
        return NULL;
    }
    return error;
}

static int status_of(const struct kick *kick)
{
    const struct request *request = kick->request;

    if (request->notify || kick->exited) {
        return QH_EXIT_CLEAN;
    }
    if (!kick->acted) {
        return kick->refused ? QH_EXIT_FAILED : QH_EXIT_FINDING;
    }
    return kick->stuck || kick->left || kick->unseen || kick->declined
               ? QH_EXIT_FINDING
               : QH_EXIT_CLEAN;
}

static bool take_option(const struct qh_command *command, int code,
                        void *opaque)
{
    struct request *request = opaque;

    switch (code) {
    case OPTION_YES:
        request->yes = true;
        return true;
    case OPTION_DRY:
        request->dry = true;
        return true;
    case OPTION_NOTIFY:
        request->notify = true;
        return true;
    case OPTION_WAIT:
        return qh_read_seconds(command, "--wait", 0, MAX_WATCH_S,
                               &request->watch_ns);
    default:
        return qh_subject_option(&request->subject, code, optarg);
    }
}

static int check(const struct qh_command *command, int argc, char **argv,
                 struct request *request)
{
    if (argc == optind) {
        return qh_usage_error(command, "give a PID");
    }
    if (argc - optind > 1) {
        return qh_usage_error(command, "one PID at a time, not also %s",
                              argv[optind + 1]);
    }
    if (!qh_read_pid(argv[optind], &request->subject.pid)) {
        return qh_no_pid(argv[optind]);
    }
    if (!request->yes && !request->dry && !request->notify &&
        !isatty(STDIN_FILENO)) {
        return qh_usage_error(command,
                              "there is no terminal to ask on: add --yes, or "
                              "--dry-run");
    }
    return 0;
}

static int run(const struct qh_command *command, int argc, char **argv)
{
    struct request request = { .watch_ns = WATCH_S * INT64_C(1000000000) };
    QH_CLEANUP(kick_deinit) struct kick kick = { .request = &request };
    int status;

    if (!qh_read_options(command, argc, argv, take_option, &request, &status)) {
        return status;
    }
    status = check(command, argc, argv, &request);
    if (status) {
        return status;
    }
    struct qh_error *error = run_kick(&kick);
    if (!error) {
        return status_of(&kick);
    }
    /* 3 says that nothing was written. */
    status = qh_fail(error);
    return kick.acted ? QH_EXIT_FINDING : status;
}

const struct qh_command qh_command_kick = {
    .name = "kick",
    .usage = "usage: qhang kick [OPTION]... PID",
    .about = "Gets a stuck QEMU going again.",
    .more = "Diagnoses, shows what it would write, asks, and proves the hang "
            "once more on the\n"
            "stopped process before it writes. No code runs in it. Where "
            "anything is in doubt\n"
            "nothing is written.\n"
            "\n"
            "Exit status: 0 it goes on, 1 still stuck (or --dry-run), 3 "
            "refused or\n"
            "impossible, nothing written, 64 wrong usage.\n"
            "\n"
            "Example: sudo qhang kick 19795\n",
    .options = options,
    .option_count = QH_COUNT(options),
    .run = run,
};
