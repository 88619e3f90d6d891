/* qhang diagnose: says why a QEMU hangs, live or from its core.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/output.h"
#include "cli/subject.h"
#include "report/report.h"

#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What could not be read may be there in the next sample, a thread that got to
 * no CPU, say; or never. */
enum { MAX_SAMPLES = 5, MAX_INCOMPLETE = 3 };
/* Between two samples: long for a wake that is on its way, short for one who
 * waits for the report. */
static const struct timespec sample_pause = { .tv_nsec = 200000000 };
/* Between two looks before the first stop. */
static const struct timespec look_pause = { .tv_nsec = 50000000 };

enum { OPTION_JSON = 'j', OPTION_DOT = 'o', OPTION_HTML = 'm' };

static const struct qh_option options[] = {
    QH_SUBJECT_OPTIONS,
    { OPTION_JSON, "json", NULL, "print the report as JSON" },
    { OPTION_HTML, "html", "FILE", "also write it as a page of HTML" },
    { OPTION_DOT, "dot", "FILE",
      "also write who waits for whom, for Graphviz" },
    QH_HELP_OPTION,
};

struct request {
    struct qh_subject subject;
    const char *html; /* files to write, or NULL */
    const char *dot;
    bool json;
};

/* What the samples of one target have come to. */
struct session {
    struct qh_snapshot *snapshot; /* of the last sample */
    struct qh_findings *findings; /* of the last sample, confirmed */
    struct qh_findings *before;   /* from before the first stop, or NULL */
    int64_t pause_ns;             /* the longest of all */
    int64_t began_ns;             /* CLOCK_MONOTONIC of the first */
};

static void session_deinit(struct session *session)
{
    qh_findings_destroy(session->before);
    qh_findings_destroy(session->findings);
    qh_snapshot_destroy(session->snapshot);
}

/* Takes one more sample and has the one before confirm it. */
static struct qh_error *take_sample(struct qh_qemu *qemu,
                                    struct session *session)
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
static void tell_blocked(struct session *session)
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

/* Whether one more sample, after `taken`, could tell nothing more. */
static bool is_enough(const struct session *session, int taken)
{
    return taken >= MAX_SAMPLES ||
           (qh_findings_settled(session->findings) &&
            (!session->snapshot->gap_count || session->findings->count ||
             taken >= MAX_INCOMPLETE));
}

static struct qh_error *look_once(struct qh_qemu *qemu,
                                  struct qh_findings **ret)
{
    QH_CLEANUP(qh_snapshot_guard) struct qh_snapshot *snapshot = NULL;

    QH_TRY(qh_qemu_sample(qemu, &snapshot));
    return qh_diagnose(snapshot, ret);
}

/*
 * A stop wakes every thread, which can end the very hang: so the process is
 * looked at before. Only where that finds something, a second look, a little
 * later, tells whether it stays.
 */
static struct qh_error *look_before(struct qh_qemu *qemu,
                                    struct session *session)
{
    struct qh_findings *again;

    QH_TRY(look_once(qemu, &session->before));
    if (!session->before->count) {
        return NULL;
    }
    nanosleep(&look_pause, NULL);
    QH_TRY(look_once(qemu, &again));
    qh_findings_confirm(session->before, again);
    qh_findings_destroy(session->before);
    session->before = again;
    return NULL;
}

static struct qh_error *look_unless_told(struct qh_target *target,
                                         struct qh_qemu *qemu,
                                         const struct request *request,
                                         struct session *session)
{
    if (request->subject.no_stop ||
        qh_target_process(target)->kind != QH_TARGET_LIVE) {
        return NULL;
    }
    qh_target_leave_running(target, true);
    struct qh_error *error = look_before(qemu, session);
    qh_target_leave_running(target, false);
    return error;
}

/* A process that runs is sampled until two in a row agree; of anything else
 * there is one sample. */
static struct qh_error *take_samples(struct qh_qemu *qemu,
                                     struct session *session)
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

/* Opens the target, examines it, and lets it go before anything is said. */
static struct qh_error *examine(const struct request *request,
                                struct session *session)
{
    QH_CLEANUP(qh_target_guard) struct qh_target *target = NULL;
    QH_CLEANUP(qh_debug_guard) struct qh_debug *debug = NULL;
    QH_CLEANUP(qh_qemu_guard) struct qh_qemu *qemu = NULL;

    QH_TRY(qh_subject_open(&request->subject, &target, &debug, &qemu));
    QH_TRY(look_unless_told(target, qemu, request, session));
    return take_samples(qemu, session);
}

static struct qh_error *print_report(const struct request *request,
                                     const struct session *session)
{
    QH_CLEANUP(qh_wait_graph_guard) struct qh_wait_graph *graph = NULL;

    QH_TRY(qh_wait_graph_build(session->snapshot, session->findings, &graph));
    const struct qh_report report = {
        .snapshot = session->snapshot,
        .findings = session->findings,
        .graph = graph,
        .samples = session->findings->samples,
        .pause_ns = session->pause_ns,
        .colour = qh_wants_colour(),
        .tool_version = QHANG_VERSION,
    };

    QH_TRY(request->json ? qh_report_json(&report, stdout)
                         : qh_report_text(&report, stdout));
    if (request->dot) {
        QH_TRY(qh_write_dot(&report, request->dot));
    }
    return request->html ? qh_write_html(&report, request->html) : NULL;
}

static int status_of(const struct session *session)
{
    if (session->findings->count) {
        return QH_EXIT_FINDING;
    }
    return session->snapshot->gap_count ? QH_EXIT_INCOMPLETE : QH_EXIT_CLEAN;
}

/* Fills the request; gives 0, or the exit status once that is all. */
static int read_arguments(const struct qh_command *command, int argc,
                          char **argv, struct request *request, bool *ret_done)
{
    int code;

    *ret_done = true;
    while ((code = qh_next_option(command, argc, argv)) != -1) {
        if (qh_subject_option(&request->subject, code, optarg)) {
            continue;
        }
        switch (code) {
        case OPTION_JSON:
            request->json = true;
            break;
        case OPTION_HTML:
            request->html = optarg;
            break;
        case OPTION_DOT:
            request->dot = optarg;
            break;
        case QH_OPTION_HELP:
            qh_print_help(command, stdout);
            return QH_EXIT_CLEAN;
        default:
            return QH_EXIT_USAGE;
        }
    }
    int status = qh_subject_finish(command, argc, argv, &request->subject);
    *ret_done = status != 0;
    return status;
}

static int run(const struct qh_command *command, int argc, char **argv)
{
    QH_CLEANUP(session_deinit)
    struct session session = { .pause_ns = QH_TIME_UNKNOWN,
                               .began_ns = QH_TIME_UNKNOWN };
    struct request request = { .json = false };
    bool done;
    int status = read_arguments(command, argc, argv, &request, &done);

    if (done) {
        return status;
    }
    struct qh_error *error = examine(&request, &session);
    if (!error) {
        error = print_report(&request, &session);
    }
    return error ? qh_fail(error) : status_of(&session);
}

const struct qh_command qh_command_diagnose = {
    .name = "diagnose",
    .usage = "usage: qhang diagnose [OPTION]... PID\n"
             "       qhang diagnose [OPTION]... PID --no-stop\n"
             "       qhang diagnose [OPTION]... PID --registers FILE\n"
             "       qhang diagnose [OPTION]... --core FILE [--exe FILE]",
    .about = "Says what a QEMU hangs on and whether it heals.",
    .more = "The process is stopped for about a millisecond, up to five "
            "times, and never\n"
            "changed. The debug symbols of exactly this build are needed.\n"
            "\n"
            "Exit status: 0 no hang found, 1 a hang found, 2 none found but "
            "not all could\n"
            "be read, 3 could not examine, 64 wrong usage.\n"
            "\n"
            "Example: sudo qhang diagnose 19795\n",
    .options = options,
    .option_count = QH_COUNT(options),
    .run = run,
};
