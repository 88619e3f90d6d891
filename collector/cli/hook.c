/* The command that a watch runs when it has found a hang.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/hook.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT_RUN = 127 };

static void set_environment(const struct qh_hook_facts *facts)
{
    char pid[16];

    snprintf(pid, sizeof(pid), "%d", (int)facts->pid);
    setenv("QHANG_PID", pid, 1);
    setenv("QHANG_RULE", facts->rule, 1);
    setenv("QHANG_CAPTURE", facts->capture, 1);
    setenv("QHANG_SUMMARY", facts->summary, 1);
}

static void set_signals(void)
{
    sigset_t none;

    sigemptyset(&none);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* After a fork of a process with one thread: all functions are allowed. */
static void __attribute__((noreturn))
become(const char *command, const struct qh_hook_facts *facts)
{
    int null = open("/dev/null", O_RDONLY);

    if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
        dup2(STDERR_FILENO, STDOUT_FILENO) < 0 ||
        syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0) < 0) {
        _exit(CANNOT_RUN);
    }
    setpgid(0, 0);
    set_signals();
    set_environment(facts);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(CANNOT_RUN);
}

struct qh_error *qh_hook_run(struct qh_hook *hook, const char *command,
                             const struct qh_hook_facts *facts)
{
    if (hook->child) {
        return qh_error_new(QH_ERR_SYSTEM,
                            "--exec: not run again, the one before still runs");
    }
    fflush(stdout);
    fflush(stderr);
    pid_t child = fork();
    if (child < 0) {
        return qh_error_errno(QH_ERR_SYSTEM, errno, "--exec: cannot fork");
    }
    if (child == 0) {
        become(command, facts);
    }
    hook->handle = (int)syscall(SYS_pidfd_open, child, 0);
    hook->child = child;
    return NULL;
}

void qh_hook_reap(struct qh_hook *hook)
{
    int status = 0;

    if (!hook->child) {
        return;
    }
    while (waitpid(hook->child, &status, 0) < 0 && errno == EINTR) {
    }
    qh_close_guard(&hook->handle);
    *hook = (struct qh_hook){ .handle = -1 };
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "qhang: --exec: ended by signal %d\n",
                WTERMSIG(status));
    } else if (WEXITSTATUS(status)) {
        fprintf(stderr, "qhang: --exec: exit status %d\n", WEXITSTATUS(status));
    }
}
