/* qhang verify: says whether a build of QEMU can lose these wake-ups.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/programs.h"
#include "cli/progress.h"
#include "report/verify.h"
#include "verify/trial.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum {
    OPTION_JSON = 'j',
    OPTION_JUNIT = 'x',
    OPTION_RACE = 'r',
    OPTION_STRESS = 's'
};
enum { USUAL_RACES = 3 };

static const struct qh_option options[] = {
    { OPTION_JSON, "json", NULL, "print the report as JSON" },
    { OPTION_JUNIT, "junit", "FILE", "also write it as JUnit XML, for CI" },
    { OPTION_RACE, "race", "[N]",
      "run it, force each race N times, usually 3" },
    { OPTION_STRESS, "stress", "N",
      "run it under load, N rounds, count hangs" },
    QH_HELP_OPTION,
};

struct request {
    const char *path;
    unsigned races;
    unsigned rounds;
    const char *junit;
    bool json;
};

/* --- the command --- */

static struct qh_error *write_junit(const struct qh_verify_report *report,
                                    const char *path)
{
    FILE *out = fopen(path, "we");

    if (!out) {
        return qh_cannot_write(path, errno);
    }
    struct qh_error *error = qh_verify_junit(report, out);
    if (fclose(out) && !error) {
        error = qh_cannot_write(path, errno);
    }
    return error;
}

static struct qh_error *print(const struct request *request,
                              const struct qh_programs *programs)
{
    const struct qh_verify_report report = {
        .programs = programs->items,
        .count = programs->count,
        .tool_version = QHANG_VERSION,
        .colour = qh_wants_colour(),
    };

    if (request->junit) {
        QH_TRY(write_junit(&report, request->junit));
    }
    return request->json ? qh_verify_json(&report, stdout)
                         : qh_verify_text(&report, stdout);
}

static int status_of(const struct qh_programs *programs)
{
    const struct qh_verify_report report = { .programs = programs->items,
                                             .count = programs->count };

    switch (qh_verify_worst(&report)->verdict) {
    case QH_SAFE:
        return QH_EXIT_CLEAN;
    case QH_VULNERABLE:
        return QH_EXIT_FINDING;
    default:
        return QH_EXIT_INCOMPLETE;
    }
}

/* --- the trial --- */

/* Those that hold a block layer and answer QMP. */
static bool is_triable(const struct qh_verification *program)
{
    const char *slash = strrchr(program->path, '/');
    const char *name = slash ? slash + 1 : program->path;

    return strncmp(name, "qemu-storage-daemon", 19) == 0 ||
           strncmp(name, "qemu-system-", 12) == 0;
}

static struct qh_error *try_one(const struct request *request,
                                struct qh_programs *programs, size_t at)
{
    /* The driver does not work in our folder. A process's own file keeps its
     * place below /proc: it may be nowhere else any more. */
    QH_CLEANUP(qh_free_guard)
    char *full = strncmp(programs->run_as[at], "/proc/", 6)
                     ? realpath(programs->run_as[at], NULL)
                     : NULL;
    const struct qh_trial trial = {
        .program = full ? full : programs->run_as[at],
        .race_rounds = request->races,
        .stress_rounds = request->rounds,
        .progress = isatty(STDERR_FILENO) ? qh_progress_show : NULL,
    };
    int signum;
    struct qh_error *error = qh_trial_run(&trial, programs->items[at], &signum);

    if (trial.progress) {
        qh_progress_clear();
    }
    if (!error && signum) {
        /* All is cleaned up: end as if the signal had come now. */
        signal(signum, SIG_DFL);
        raise(signum);
    }
    return error;
}

/* Of a build folder, those that can be; of one program, that one. */
static struct qh_error *try_programs(const struct request *request,
                                     struct qh_programs *programs)
{
    bool any = false;

    if (!request->races && !request->rounds) {
        return NULL;
    }
    for (size_t i = 0; i < programs->count; i++) {
        any = any || is_triable(programs->items[i]);
    }
    for (size_t i = 0; i < programs->count; i++) {
        if (any && programs->count > 1 && !is_triable(programs->items[i])) {
            continue;
        }
        QH_TRY(try_one(request, programs, i));
    }
    return NULL;
}

/* --- the command line --- */

/* A number from 1 to `most`, or 0. */
static unsigned number_of(const char *text, unsigned most)
{
    unsigned long number =
        strspn(text, "0123456789") == strlen(text) && strlen(text) < 10
            ? strtoul(text, NULL, 10)
            : 0;

    return number <= most ? (unsigned)number : 0;
}

static bool read_rounds(const struct qh_command *command, const char *option,
                        const char *text, unsigned most, unsigned *ret)
{
    *ret = number_of(text, most);
    if (!*ret) {
        qh_usage_error(command, "--%s takes a number from 1 to %u, not %s",
                       option, most, text);
    }
    return *ret;
}

static bool take_option(const struct qh_command *command, int code,
                        void *opaque)
{
    struct request *request = opaque;

    switch (code) {
    case OPTION_JSON:
        request->json = true;
        return true;
    case OPTION_JUNIT:
        request->junit = optarg;
        return true;
    case OPTION_RACE:
        request->races = USUAL_RACES;
        return !optarg || read_rounds(command, "race", optarg,
                                      QH_TRIAL_MOST_RACES, &request->races);
    default:
        return read_rounds(command, "stress", optarg, QH_TRIAL_MOST_ROUNDS,
                           &request->rounds);
    }
}

static int run(const struct qh_command *command, int argc, char **argv)
{
    QH_CLEANUP(qh_programs_deinit) struct qh_programs programs = { .count = 0 };
    struct request request = { .path = NULL };
    struct qh_error *error;
    int status;

    if (!qh_read_options(command, argc, argv, take_option, &request, &status)) {
        return status;
    }
    if (argc - optind != 1) {
        return argc == optind
                   ? qh_usage_error(command, "give a PATH or a PID")
                   : qh_usage_error(command, "one PATH at a time, not also %s",
                                    argv[optind + 1]);
    }
    request.path = argv[optind];
    error = qh_programs_judge(request.path, &programs);
    if (!error) {
        error = try_programs(&request, &programs);
    }
    if (!error) {
        error = print(&request, &programs);
    }
    return error ? qh_fail(error) : status_of(&programs);
}

const struct qh_command qh_command_verify = {
    .name = "verify",
    .usage = "usage: qhang verify [OPTION]... PATH|PID",
    .about = "Says whether a build of QEMU can lose these wake-ups.",
    .more = "PATH is an executable or a QEMU build folder. Its machine code is "
            "judged;\n"
            "nothing is run, and no symbols are needed. --race and --stress "
            "run it:\n"
            "a storage daemon or a system emulator, with an image of its own."
            "\n"
            "\n"
            "Exit status: 0 safe, 1 vulnerable, 2 undetermined, 3 cannot be "
            "opened,\n"
            "64 wrong usage.\n"
            "\n"
            "Example: qhang verify /usr/bin/qemu-system-x86_64\n",
    .options = options,
    .option_count = QH_COUNT(options),
    .run = run,
};
