/* A child in a process group of its own, its lines, its end.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "verify/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_LINE = 64 * 1024, CLEANUP_S = 15 };

extern char **environ;

struct pipes {
    int out;
    int out_child;
    int err;
    int err_child;
};

struct run {
    const struct qh_child *child;
    struct qh_child_result *result;
    struct pipes pipes;
    int signals; /* a signalfd */
    sigset_t before;
    bool masked;
    pid_t pid;
    bool ending; /* it was told to end */
    bool killed;
    bool over; /* it has ended, and waits to be reaped */
    int64_t deadline_ms;
    char *line;
    size_t length;
};

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void run_deinit(struct run *run)
{
    qh_close_guard(&run->pipes.out);
    qh_close_guard(&run->pipes.out_child);
    qh_close_guard(&run->pipes.err);
    qh_close_guard(&run->pipes.err_child);
    qh_close_guard(&run->signals);
    free(run->line);
    if (run->masked) {
        sigprocmask(SIG_SETMASK, &run->before, NULL);
    }
}

/* --- beginning --- */

static struct qh_error *run_init(struct run *run)
{
    sigset_t mask;
    int out[2];
    int err[2];

    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGCHLD);
    /* One that is inherited as ignored would not come. */
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_BLOCK, &mask, &run->before);
    run->masked = true;
    run->line = malloc(MAX_LINE);
    if (!run->line) {
        return qh_error_no_memory();
    }
    run->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (run->signals < 0 || pipe2(out, O_CLOEXEC) < 0) {
        return qh_error_errno(QH_ERR_SYSTEM, errno, "cannot run a program");
    }
    run->pipes.out = out[0];
    run->pipes.out_child = out[1];
    if (pipe2(err, O_CLOEXEC) < 0) {
        return qh_error_errno(QH_ERR_SYSTEM, errno, "cannot run a program");
    }
    run->pipes.err = err[0];
    run->pipes.err_child = err[1];
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    fcntl(err[0], F_SETFL, O_NONBLOCK);
    return NULL;
}

/* Gives 0 or an errno. */
static int spawn(struct run *run)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    int errnum;

    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, run->pipes.out_child, 1);
    posix_spawn_file_actions_adddup2(&actions, run->pipes.err_child, 2);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP |
                                              POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &run->before);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    errnum = posix_spawnp(&run->pid, run->child->argv[0], &actions, &attributes,
                          run->child->argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    qh_close_guard(&run->pipes.out_child);
    qh_close_guard(&run->pipes.err_child);
    run->pipes.out_child = run->pipes.err_child = -1;
    return errnum;
}

/* --- ending --- */

static void tell_to_end(struct run *run, enum qh_child_end why)
{
    if (!run->ending) {
        run->ending = true;
        run->result->end = why;
        run->deadline_ms =
            now_ms() + (run->child->limit_s < CLEANUP_S ? run->child->limit_s
                                                        : CLEANUP_S) *
                           INT64_C(1000);
        kill(run->pid, SIGTERM);
    }
}

static void on_deadline(struct run *run)
{
    if (!run->ending) {
        tell_to_end(run, QH_CHILD_SILENT);
    } else {
        run->killed = true;
        kill(-run->pid, SIGKILL);
    }
}

static void on_signals(struct run *run)
{
    struct signalfd_siginfo info;
    siginfo_t ended = { .si_pid = 0 };

    while (read(run->signals, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo != SIGCHLD) {
            run->result->signal = (int)info.ssi_signo;
            tell_to_end(run, QH_CHILD_SIGNALLED);
            /* Also where it was being ended for another reason. */
            run->result->end = QH_CHILD_SIGNALLED;
        }
    }
    /* It stays a zombie until its group has been killed: so long nobody else
     * can have that number. */
    if (waitid(P_PID, (id_t)run->pid, &ended, WEXITED | WNOHANG | WNOWAIT) ==
            0 &&
        ended.si_pid == run->pid) {
        run->over = true;
    }
}

/* --- what it says --- */

static void take_lines(struct run *run)
{
    char *line = run->line;
    char *end;

    while (!run->ending &&
           (end = memchr(line, '\n', run->length - (line - run->line)))) {
        *end = 0;
        run->deadline_ms = now_ms() + run->child->limit_s * INT64_C(1000);
        if (strlen(line) != (size_t)(end - line) ||
            !run->child->take(run->child->opaque, line)) {
            tell_to_end(run, QH_CHILD_REFUSED);
        }
        line = end + 1;
    }
    run->length -= line - run->line;
    memmove(run->line, line, run->length);
    if (run->length == MAX_LINE) {
        tell_to_end(run, QH_CHILD_REFUSED);
    }
}

/* Reads what there is; closes at the end of file. */
static void read_lines(struct run *run)
{
    ssize_t got;

    do {
        if (run->ending) {
            run->length = 0; /* read on, so that it is not held up */
        }
        got = read(run->pipes.out, run->line + run->length,
                   MAX_LINE - run->length);
        if (got > 0) {
            run->length += got;
            take_lines(run);
        }
    } while (got > 0);
    if (got == 0 || errno != EAGAIN) {
        qh_close_guard(&run->pipes.out);
        run->pipes.out = -1;
    }
}

/* Keeps the end of it. */
static void read_words(struct run *run)
{
    char *words = run->result->words;
    char new[QH_CHILD_WORDS / 2];
    ssize_t got;

    while ((got = read(run->pipes.err, new, sizeof(new))) > 0) {
        size_t old = strlen(words);
        size_t drop =
            old + got >= QH_CHILD_WORDS ? old + got - QH_CHILD_WORDS + 1 : 0;

        for (ssize_t i = 0; i < got; i++) {
            new[i] = new[i] ? new[i] : '?';
        }
        memmove(words, words + drop, old - drop);
        memcpy(words + old - drop, new, got);
        words[old - drop + got] = 0;
    }
    if (got == 0 || errno != EAGAIN) {
        qh_close_guard(&run->pipes.err);
        run->pipes.err = -1;
    }
}

static void wait_for_end(struct run *run)
{
    run->deadline_ms = now_ms() + run->child->limit_s * INT64_C(1000);
    while (!run->over) {
        struct pollfd fds[] = { { run->signals, POLLIN, 0 },
                                { run->pipes.out, POLLIN, 0 },
                                { run->pipes.err, POLLIN, 0 } };
        int64_t left = run->deadline_ms - now_ms();

        if (!run->killed && left <= 0) {
            on_deadline(run);
            continue;
        }
        poll(fds, QH_COUNT(fds), run->killed ? -1 : (int)left);
        on_signals(run);
        if (fds[1].revents) {
            read_lines(run);
        }
        if (fds[2].revents) {
            read_words(run);
        }
    }
    if (run->pipes.out >= 0) {
        read_lines(run);
    }
    if (run->pipes.err >= 0) {
        read_words(run);
    }
    kill(-run->pid, SIGKILL);
    waitpid(run->pid, &run->result->status, 0);
}

struct qh_error *qh_child_run(const struct qh_child *child,
                              struct qh_child_result *ret)
{
    struct qh_child_result result = { .end = QH_CHILD_EXITED };
    QH_CLEANUP(run_deinit)
    struct run run = { .child = child,
                       .result = &result,
                       .pipes = { -1, -1, -1, -1 },
                       .signals = -1 };

    QH_TRY(run_init(&run));
    result.errnum = spawn(&run);
    if (result.errnum) {
        result.end = QH_CHILD_NOT_STARTED;
    } else {
        wait_for_end(&run);
    }
    *ret = result;
    return NULL;
}
