/* qhang coroutines: every coroutine, and what it waits for.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/session.h"
#include "report/coroutines.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum {
    OPTION_STATE = 's',
    OPTION_CONTEXT = 'c',
    OPTION_WITH = 'w',
    OPTION_WAITING_ON = 'o',
    OPTION_GROUP = 'g',
    OPTION_JSON = 'j'
};

static const struct qh_option options[] = {
    { OPTION_STATE, "state", "STATE", "only those in this state" },
    { OPTION_CONTEXT, "context", "CONTEXT",
      "only those of this AioContext: io0, main, 0x..." },
    { OPTION_WITH, "with", "FUNCTION",
      "only those with this function on their stack" },
    { OPTION_WAITING_ON, "waiting-on", "KIND",
      "only those that wait for this kind of thing" },
    { OPTION_GROUP, "group", "BY",
      "what is one bucket: stack (default), wait, none" },
    QH_SUBJECT_OPTIONS,
    { OPTION_JSON, "json", NULL, "print the report as JSON" },
    QH_HELP_OPTION,
};

struct request {
    struct qh_subject subject;
    struct qh_co_filter filter;
    enum qh_grouping grouping;
    bool json;
};

#define QH_NAME(constant, name) name,
static const char *const state_names[] = { QH_COROUTINE_STATES(QH_NAME) };
static const char *const kind_names[] = { QH_WAIT_KINDS(QH_NAME) };
static const char *const grouping_names[] = { QH_GROUPINGS(QH_NAME) };
#undef QH_NAME

/* The place of `text` among the names; -1 after it has said that there is no
 * such one, and which there are. */
static int choose(const struct qh_command *command, const char *option,
                  const char *const *names, size_t count, const char *text)
{
    char list[480] = "";
    size_t used = 0;

    for (size_t i = 0; i < count; i++) {
        if (!strcmp(names[i], text)) {
            return (int)i;
        }
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
                                 i ? ", " : "", names[i]);
        used = used < sizeof(list) ? used : sizeof(list) - 1;
    }
    qh_usage_error(command, "--%s %.40s: there is %s", option, text, list);
    return -1;
}

/* Takes one option that chooses; false after it has said what is wrong. */
static bool take_choice(const struct qh_command *command, int code,
                        struct request *request)
{
    struct qh_co_filter *filter = &request->filter;
    int at;

    switch (code) {
    case OPTION_STATE:
        at = choose(command, "state", state_names, QH_COUNT(state_names),
                    optarg);
        filter->by_state = true;
        filter->state = (enum qh_coroutine_state)at;
        return at >= 0;
    case OPTION_WAITING_ON:
        at = choose(command, "waiting-on", kind_names, QH_COUNT(kind_names),
                    optarg);
        filter->by_kind = true;
        filter->kind = (enum qh_wait_kind)at;
        return at >= 0;
    default:
        at = choose(command, "group", grouping_names, QH_COUNT(grouping_names),
                    optarg);
        request->grouping = (enum qh_grouping)at;
        return at >= 0;
    }
}

static bool take_option(const struct qh_command *command, int code,
                        void *opaque)
{
    struct request *request = opaque;

    switch (code) {
    case OPTION_STATE:
    case OPTION_WAITING_ON:
    case OPTION_GROUP:
        return take_choice(command, code, request);
    case OPTION_CONTEXT:
        request->filter.context = optarg;
        return true;
    case OPTION_WITH:
        request->filter.function = optarg;
        return true;
    case OPTION_JSON:
        request->json = true;
        return true;
    default:
        return qh_subject_option(command, code, &request->subject);
    }
}

/* A name that no context has would look like a context without coroutines. */
static struct qh_error *check_context(const struct qh_snapshot *snapshot,
                                      const char *wanted)
{
    struct qh_error *error = NULL;
    char list[480] = "";
    size_t used = 0;

    for (size_t i = 0; wanted && i < snapshot->context_count; i++) {
        const struct qh_context *context = &snapshot->contexts[i];
        if (qh_co_context_is(context, wanted)) {
            return NULL;
        }
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
                                 i ? ", " : "",
                                 context->name ? context->name : "?");
        used = used < sizeof(list) ? used : sizeof(list) - 1;
    }
    if (wanted) {
        error = qh_error_new(QH_ERR_USAGE, "--context %.80s: there is %s",
                             wanted, list);
        error = qh_error_try(error, "one of these, or its address");
    }
    return error;
}

static struct qh_error *print_report(const struct request *request,
                                     const struct qh_snapshot *snapshot)
{
    const struct qh_co_filter *filter = &request->filter;
    QH_CLEANUP(qh_co_buckets_deinit) struct qh_co_buckets buckets = { 0 };

    QH_TRY(check_context(snapshot, filter->context));
    QH_TRY(qh_co_buckets_make(snapshot, filter, request->grouping, &buckets));
    const struct qh_co_report report = {
        .snapshot = snapshot,
        .buckets = &buckets,
        .grouping = request->grouping,
        .filtered = filter->by_state || filter->by_kind || filter->context ||
                    filter->function,
        .colour = qh_wants_colour(),
        .tool_version = QHANG_VERSION,
    };
    return request->json ? qh_coroutines_json(&report, stdout)
                         : qh_coroutines_text(&report, stdout);
}

static int run(const struct qh_command *command, int argc, char **argv)
{
    QH_CLEANUP(qh_snapshot_guard) struct qh_snapshot *snapshot = NULL;
    struct request request = { .grouping = QH_GROUP_STACK };
    int status;

    if (!qh_read_options(command, argc, argv, take_option, &request, &status)) {
        return status;
    }
    status = qh_subject_finish(command, argc, argv, &request.subject);
    if (status) {
        return status;
    }
    struct qh_error *error = qh_session_look(&request.subject, &snapshot);
    if (!error) {
        error = print_report(&request, snapshot);
    }
    if (error) {
        return qh_fail(error);
    }
    return snapshot->gap_count ? QH_EXIT_INCOMPLETE : QH_EXIT_CLEAN;
}

const struct qh_command qh_command_coroutines = {
    .name = "coroutines",
    .usage = "usage: qhang coroutines [OPTION]... PID\n"
             "       qhang coroutines [OPTION]... PID --no-stop\n"
             "       qhang coroutines [OPTION]... PID --registers FILE\n"
             "       qhang coroutines [OPTION]... --core FILE [--exe FILE]",
    .about = "Shows every coroutine and what it waits for.",
    .more = "Coroutines with equal stacks are one bucket. The process is "
            "stopped for a few\n"
            "milliseconds, up to three times, and never changed.\n"
            "\n"
            "Exit status: 0 all shown, 2 not all could be read, 3 could not "
            "examine,\n"
            "64 wrong usage.\n"
            "\n"
            "Example: sudo qhang coroutines 19795 --waiting-on co-mutex\n",
    .options = options,
    .option_count = QH_COUNT(options),
    .run = run,
};
