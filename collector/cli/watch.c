/* qhang watch: waits for one QEMU to hang, and keeps what tells why.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"
#include "cli/watcher.h"

#include <getopt.h>
#include <signal.h>

#define MIN_SECONDS 0.01
#define MAX_SECONDS 86400

enum {
    OPTION_QMP = 'q',
    OPTION_AFTER = 'a',
    OPTION_INTERVAL = 'i',
    OPTION_CAPTURE = 'c',
    OPTION_EXEC = 'e',
    OPTION_METRICS = 'm',
    OPTION_ONCE = 'o',
    OPTION_DEBUGINFO = 'd'
};

static const struct qh_option options[] = {
    { OPTION_QMP, "qmp", "SOCKET", "also ask this QMP monitor" },
    { OPTION_AFTER, "after", "SECONDS",
      "how long without progress is suspicious (5)" },
    { OPTION_INTERVAL, "interval", "SECONDS", "between two looks (1)" },
    { OPTION_CAPTURE, "capture", "PATH",
      "file or folder for a small core of each hang" },
    { OPTION_EXEC, "exec", "COMMAND", "what to run on each hang, by sh -c" },
    { OPTION_METRICS, "metrics", "FILE", "keep figures for Prometheus there" },
    { OPTION_ONCE, "once", NULL, "end after the first hang" },
    { OPTION_DEBUGINFO, "debuginfo", "DIR",
      "look for separate debug files here, too" },
    QH_HELP_OPTION,
};

/* An empty name is a mistake in somebody's script. */
static bool read_text(const struct qh_command *command, const char *name,
                      const char **ret)
{
    *ret = optarg;
    if (!*optarg) {
        qh_usage_error(command, "%s is empty", name);
    }
    return *optarg;
}

static bool take_option(const struct qh_command *command, int code,
                        void *opaque)
{
    struct qh_watch_request *request = opaque;

    switch (code) {
    case OPTION_QMP:
        return read_text(command, "--qmp", &request->qmp);
    case OPTION_AFTER:
        return qh_read_seconds(command, "--after", MIN_SECONDS, MAX_SECONDS,
                               &request->after_ns);
    case OPTION_INTERVAL:
        return qh_read_seconds(command, "--interval", MIN_SECONDS, MAX_SECONDS,
                               &request->interval_ns);
    case OPTION_CAPTURE:
        return read_text(command, "--capture", &request->capture);
    case OPTION_EXEC:
        return read_text(command, "--exec", &request->command);
    case OPTION_METRICS:
        return read_text(command, "--metrics", &request->metrics);
    case OPTION_ONCE:
        request->once = true;
        return true;
    default: /* OPTION_DEBUGINFO */
        request->debuginfo = optarg;
        return true;
    }
}

static int check(const struct qh_command *command, int argc, char **argv,
                 struct qh_watch_request *request)
{
    if (argc == optind) {
        return request->qmp
                   ? 0
                   : qh_usage_error(command, "give a PID, or --qmp SOCKET");
    }
    if (argc - optind > 1) {
        return qh_usage_error(command, "one PID at a time, not also %s",
                              argv[optind + 1]);
    }
    return qh_read_pid(argv[optind], &request->pid) ? 0
                                                    : qh_no_pid(argv[optind]);
}

static int run(const struct qh_command *command, int argc, char **argv)
{
    struct qh_watch_request request = { .after_ns = INT64_C(5000000000),
                                        .interval_ns = INT64_C(1000000000) };
    uint64_t found = 0;
    int status;

    if (!qh_read_options(command, argc, argv, take_option, &request, &status)) {
        return status;
    }
    status = check(command, argc, argv, &request);
    if (status) {
        return status;
    }
    /* A limit on file sizes is an error to be told, not to die of. */
    signal(SIGXFSZ, SIG_IGN);
    struct qh_error *error = qh_watcher_run(&request, &found);
    if (error) {
        return qh_fail(error);
    }
    return found ? QH_EXIT_FINDING : QH_EXIT_CLEAN;
}

const struct qh_command qh_command_watch = {
    .name = "watch",
    .usage = "usage: qhang watch [OPTION]... PID\n"
             "       qhang watch [OPTION]... --qmp SOCKET [PID]",
    .about = "Waits for a QEMU to hang; keeps what tells why.",
    .more = "Counters in /proc tell if the main loop makes progress, and "
            "where it sleeps.\n"
            "Nothing is stopped until it is suspicious. A hang is captured, "
            "logged, and told\n"
            "to COMMAND, which finds QHANG_PID, QHANG_RULE, QHANG_CAPTURE and "
            "QHANG_SUMMARY\n"
            "in its environment. Ends with the process, or on SIGTERM.\n"
            "\n"
            "Exit status: 0 no hang was seen, 1 one was, 3 could not watch, "
            "64 wrong usage.\n"
            "\n"
            "Example: sudo qhang watch 19795 --exec 'qhang kick --yes "
            "$QHANG_PID'\n",
    .options = options,
    .option_count = QH_COUNT(options),
    .run = run,
};
