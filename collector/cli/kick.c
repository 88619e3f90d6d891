/* qhang kick: gets a stuck QEMU going again.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/kick_parts.h"

#include <getopt.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

/* How long it is watched whether it goes on. */
enum { WATCH_S = 5, MAX_WATCH_S = 3600 };
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
    QH_STOP_BOUND_OPTION,
    { QH_SUBJECT_DEBUGINFO, "debuginfo", "DIR",
      "look for separate debug files here, too" },
    QH_HELP_OPTION,
};

static void run_deinit(struct qh_kick_run *run)
{
    qh_qemu_destroy(run->qemu);
    qh_debug_destroy(run->debug);
    qh_target_destroy(run->target);
}

struct qh_report qh_kick_report(const struct qh_snapshot *snapshot,
                                const struct qh_session *session)
{
    static const struct qh_findings none = { .samples = 1 };
    const struct qh_findings *findings = session ? session->findings : &none;

    return (struct qh_report){
        .snapshot = snapshot,
        .findings = findings,
        .samples = findings->samples,
        .pause_ns = session ? session->pause_ns : QH_TIME_UNKNOWN,
        .colour = qh_wants_colour(),
        .tool_version = QHANG_VERSION
    };
}

bool qh_kick_ask(const struct qh_kick_run *run)
{
    QH_CLEANUP(qh_free_guard) char *answer = NULL;
    size_t room = 0;

    if (run->request->yes) {
        return true;
    }
    tcflush(STDIN_FILENO, TCIFLUSH); /* what was typed before is no answer */
    fprintf(stderr, "\nDo this to process %d? [y/N] ",
            (int)qh_target_process(run->target)->pid);
    if (getline(&answer, &room, stdin) < 0) {
        return false;
    }
    return answer[0] == 'y' || answer[0] == 'Y';
}

static struct qh_error *kick(struct qh_kick_run *run)
{
    QH_TRY(qh_subject_open(&run->request->subject, &run->target, &run->debug,
                           &run->qemu));
    return run->request->notify ? qh_kick_loops(run) : qh_kick_hangs(run);
}

bool qh_kick_is_stuck(const struct qh_kick_run *run)
{
    for (size_t i = 0; i < run->tried_count; i++) {
        if (run->tried[i].waits || run->tried[i].stuck) {
            return true;
        }
    }
    return false;
}

static int status_of(const struct qh_kick_run *run)
{
    if (run->ended) {
        return run->ending.how == QH_ENDING_EXITED ? QH_EXIT_CLEAN
                                                   : QH_EXIT_FINDING;
    }
    if (!run->acted) {
        return run->refused ? QH_EXIT_FAILED : QH_EXIT_FINDING;
    }
    return qh_kick_is_stuck(run) || run->left || run->unseen || run->declined
               ? QH_EXIT_FINDING
               : QH_EXIT_CLEAN;
}

static bool take_option(const struct qh_command *command, int code,
                        void *opaque)
{
    struct qh_kick_request *request = opaque;

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
        return qh_subject_option(command, code, &request->subject);
    }
}

static int check(const struct qh_command *command, int argc, char **argv,
                 struct qh_kick_request *request)
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
    if (!request->yes && !request->dry && !isatty(STDIN_FILENO)) {
        return qh_usage_error(command,
                              "there is no terminal to ask on: add --yes, or "
                              "--dry-run");
    }
    return 0;
}

static int main_kick(const struct qh_command *command, int argc, char **argv)
{
    struct qh_kick_request request = { .watch_ns =
                                           WATCH_S * INT64_C(1000000000) };
    QH_CLEANUP(run_deinit) struct qh_kick_run run = { .request = &request };
    int status;

    if (!qh_read_options(command, argc, argv, take_option, &request, &status)) {
        return status;
    }
    status = check(command, argc, argv, &request);
    if (status) {
        return status;
    }
    struct qh_error *error = kick(&run);
    if (!error) {
        return status_of(&run);
    }
    /* 3 says that nothing was written. */
    status = qh_fail(error);
    return run.acted ? QH_EXIT_FINDING : status;
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
    .run = main_kick,
};
