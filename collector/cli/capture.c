/* qhang capture: keeps what a later diagnosis needs in a small core.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/units.h"
#include "capture/capture.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/subject.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* So much is written in an instant, and needs no bar. */
#define LONG_BYTES (UINT64_C(16) << 20)

enum { OPTION_OUTPUT = 'o', OPTION_KILL = 'k' };

static const struct qh_option options[] = {
    { OPTION_OUTPUT, "output", "FILE", "the core; -o for short; must not exist",
      .letter = true },
    { OPTION_KILL, "kill-after", "[SIG]",
      "once it is on the disk, send this signal (KILL)" },
    QH_STOP_BOUND_OPTION,
    QH_HELP_OPTION,
};

struct request {
    pid_t pid;
    const char *path;
    int signal; /* 0: none */
    int64_t stop_bound_ns;
};

/* How far the bar on the terminal has come. */
struct bar {
    bool on;
    unsigned shown; /* MiB; 0: nothing yet */
};

static void draw(void *opaque, uint64_t done, uint64_t total)
{
    struct bar *bar = opaque;
    unsigned mib = (unsigned)(done >> 20);

    if (!bar->on || total < LONG_BYTES || mib <= bar->shown) {
        return;
    }
    bar->shown = mib;
    qh_progress_show("writing, MiB", mib, (unsigned)(total >> 20));
}

static void wipe(const struct bar *bar)
{
    if (bar->shown) {
        qh_progress_clear();
    }
}

static void print_result(const struct request *request,
                         const struct qh_capture_result *result)
{
    printf("%s: %.1f MB, %zu thread%s, paused %s\n", request->path,
           (double)result->file_bytes / 1e6, result->thread_count,
           result->thread_count == 1 ? "" : "s",
           qh_duration(result->pause_ns).text);
    if (result->ram_bytes) {
        printf("  left out   %.1f MB of guest RAM, or what may be that\n",
               (double)result->ram_bytes / 1e6);
    }
    if (result->unstopped_count) {
        printf("  unstopped  %zu thread%s, in state D, or with no CPU\n",
               result->unstopped_count,
               result->unstopped_count == 1 ? "" : "s");
    }
    if (result->unreadable_bytes) {
        printf("  missing    %.1f MB that could not be read\n",
               (double)result->unreadable_bytes / 1e6);
    }
}

/* The target is let go, and the core is on the disk, before it is killed. */
static struct qh_error *capture(const struct request *request)
{
    QH_CLEANUP(qh_target_guard) struct qh_target *target = NULL;
    QH_CLEANUP(qh_close_guard) int process = -1;
    struct bar bar = { .on = isatty(STDERR_FILENO) };
    const struct qh_capture_options capture_options = {
        .tool_version = QHANG_VERSION,
        .progress = draw,
        .opaque = &bar,
    };
    const struct qh_live_options live = { .stop_bound_ns =
                                              request->stop_bound_ns };
    struct qh_capture_result result;

    QH_TRY(qh_target_open_live(request->pid, &live, &target));
    if (request->signal) {
        QH_TRY(qh_kill_prepare(target, &process));
    }
    struct qh_error *error =
        qh_capture(target, request->path, &capture_options, &result);
    wipe(&bar);
    QH_TRY(error);
    print_result(request, &result);
    if (!request->signal) {
        return NULL;
    }
    pid_t pid = qh_target_process(target)->pid;
    error = qh_kill(process, pid, request->signal);
    if (error && error->code == QH_ERR_EXITED) {
        qh_error_destroy(error);
        printf("  exited     before the signal: %d\n", (int)pid);
        return NULL;
    }
    QH_TRY(error);
    printf("  sent       signal %d to %d\n", request->signal, (int)pid);
    return NULL;
}

/* "TERM", "SIGTERM", "15"; 0 when it is none. */
static int read_signal(const char *text)
{
    const char *name = strncmp(text, "SIG", 3) == 0 ? text + 3 : text;
    char *end;
    long number = strtol(text, &end, 10);

    if (*text >= '0' && *text <= '9' && !*end) {
        return number > 0 && number <= SIGRTMAX ? (int)number : 0;
    }
    for (int i = 1; i < NSIG; i++) {
        const char *known = sigabbrev_np(i);
        if (known && !strcmp(known, name)) {
            return i;
        }
    }
    return 0;
}

static bool take_option(const struct qh_command *command, int code,
                        void *opaque)
{
    struct request *request = opaque;

    if (code == OPTION_OUTPUT) {
        request->path = optarg;
        return true;
    }
    if (code == QH_SUBJECT_STOP_BOUND) {
        return qh_read_stop_bound(command, &request->stop_bound_ns);
    }
    request->signal = optarg ? read_signal(optarg) : SIGKILL;
    if (!request->signal) {
        qh_usage_error(command, "no such signal: %s", optarg);
    }
    return request->signal;
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
    if (!request->path || !*request->path) {
        return qh_usage_error(command, "give the core a name with -o FILE");
    }
    return qh_read_pid(argv[optind], &request->pid) ? 0
                                                    : qh_no_pid(argv[optind]);
}

static int run(const struct qh_command *command, int argc, char **argv)
{
    struct request request = { .pid = 0 };
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
    struct qh_error *error = capture(&request);
    return error ? qh_fail(error) : QH_EXIT_CLEAN;
}

const struct qh_command qh_command_capture = {
    .name = "capture",
    .usage = "usage: qhang capture [OPTION]... PID -o FILE",
    .about = "Keeps what a diagnosis needs in a small core.",
    .more = "The process is stopped for some milliseconds. Its guest's memory "
            "is never in the\n"
            "core, and no debug symbols are needed to take it.\n"
            "\n"
            "Exit status: 0 written, 3 could not, 64 wrong usage.\n"
            "\n"
            "Example: sudo qhang capture 19795 -o stuck.core\n",
    .options = options,
    .option_count = QH_COUNT(options),
    .run = run,
};
