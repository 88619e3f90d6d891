/* qhang list: the QEMUs of this host, and which of them are worth a look.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"
#include "report/list.h"

#include <string.h>
#include <unistd.h>

enum { OPTION_INTERVAL = 'i', OPTION_JSON = 'j' };

/* Long enough for a loop that has something to do to turn. */
#define INTERVAL_MS 1000
enum { MAX_INTERVAL_MS = 3600000 };

static const struct qh_option options[] = {
    { OPTION_INTERVAL, "interval", "MS",
      "between the two looks, in milliseconds (1000)" },
    { OPTION_JSON, "json", NULL, "print the list as JSON" },
    QH_HELP_OPTION,
};

struct request {
    int64_t interval_ns;
    bool json;
};

static bool read_interval(const char *text, int64_t *ret_ns)
{
    char *end;
    long ms = strtol(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || ms < 1 || ms > MAX_INTERVAL_MS) {
        return false;
    }
    *ret_ns = ms * INT64_C(1000000);
    return true;
}

static bool take_option(const struct qh_command *command, int code,
                        void *opaque)
{
    struct request *request = opaque;

    if (code == OPTION_JSON) {
        request->json = true;
    } else if (!read_interval(optarg, &request->interval_ns)) {
        qh_usage_error(command, "--interval: %s is not within 1 to %d", optarg,
                       MAX_INTERVAL_MS);
        return false;
    }
    return true;
}

static int status_of(const struct qh_watch *watch)
{
    int status = QH_EXIT_CLEAN;

    for (size_t i = 0; i < watch->count; i++) {
        enum qh_progress progress = watch->items[i].progress;
        if (qh_progress_is_suspicious(progress)) {
            return QH_EXIT_FINDING;
        }
        if (progress == QH_PROGRESS_UNKNOWN) {
            status = QH_EXIT_INCOMPLETE;
        }
    }
    return status;
}

static int run(const struct qh_command *command, int argc, char **argv)
{
    QH_CLEANUP(qh_watch_guard) struct qh_watch *watch = NULL;
    struct request request = { .interval_ns = INTERVAL_MS * INT64_C(1000000) };
    int status;

    if (!qh_read_options(command, argc, argv, take_option, &request, &status)) {
        return status;
    }
    if (optind < argc) {
        return qh_usage_error(command, "it lists all, not only %s",
                              argv[optind]);
    }
    struct qh_error *error = qh_watch_list(request.interval_ns, &watch);
    const struct qh_list_report report = {
        .watch = watch,
        .tool_version = QHANG_VERSION,
        .colour = qh_wants_colour(),
    };
    if (!error) {
        error = request.json ? qh_list_json(&report, stdout)
                             : qh_list_text(&report, stdout);
    }
    return error ? qh_fail(error) : status_of(watch);
}

const struct qh_command qh_command_list = {
    .name = "list",
    .usage = "usage: qhang list [OPTION]...",
    .about = "Lists the QEMUs here, and which are worth a diagnose.",
    .more = "Two looks at the counters in /proc tell whether each main thread "
            "has run, and\n"
            "where it sleeps. Nothing is stopped, and no memory read: a loop "
            "that has not\n"
            "turned may be idle or stuck, which only `qhang diagnose` tells.\n"
            "\n"
            "Exit status: 0 none stands out, 1 one does, 2 none does, but of "
            "some it was\n"
            "not shown where they sleep, 3 could not look, 64 wrong usage.\n"
            "\n"
            "Example: sudo qhang list\n",
    .options = options,
    .option_count = QH_COUNT(options),
    .run = run,
};
