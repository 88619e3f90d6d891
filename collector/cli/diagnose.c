/* qhang diagnose: says why a QEMU hangs, live or from its core.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/output.h"
#include "cli/session.h"
#include "report/report.h"

#include <getopt.h>

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

static struct qh_error *print_report(const struct request *request,
                                     const struct qh_session *session)
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

static int status_of(const struct qh_session *session)
{
    if (session->findings->count) {
        return QH_EXIT_FINDING;
    }
    return session->snapshot->gap_count ? QH_EXIT_INCOMPLETE : QH_EXIT_CLEAN;
}

static bool take_option(const struct qh_command *command, int code,
                        void *opaque)
{
    struct request *request = opaque;

    switch (code) {
    case OPTION_JSON:
        request->json = true;
        return true;
    case OPTION_HTML:
        request->html = optarg;
        return true;
    case OPTION_DOT:
        request->dot = optarg;
        return true;
    default:
        return qh_subject_option(command, code, &request->subject);
    }
}

static int run(const struct qh_command *command, int argc, char **argv)
{
    QH_CLEANUP(qh_session_deinit)
    struct qh_session session = QH_SESSION_EMPTY;
    struct request request = { .json = false };
    int status;

    if (!qh_read_options(command, argc, argv, take_option, &request, &status)) {
        return status;
    }
    status = qh_subject_finish(command, argc, argv, &request.subject);
    if (status) {
        return status;
    }
    struct qh_error *error = qh_session_examine(&request.subject, &session);
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
    .more = "The process is stopped for about a millisecond, a few "
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
