/* Letting traced threads go, those that do not stop when asked among them.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A thread that was seized and then entered state D cannot be detached until
 * it comes out. It is put on the list of the abandoned, and a SIGCHLD handler
 * detaches it in the very moment in which it stops, for as long as qhang
 * lives; the kernel does so when qhang ends.
 */
#include "target/release.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ABANDONED = 256 };

/* Threads that were seized and did not stop, 0 in free places. Written with
 * SIGCHLD blocked or in its handler. */
static volatile pid_t abandoned[MAX_ABANDONED];
static pid_t tracer;    /* the thread that the kernel lets detach them */
static pid_t own_child; /* the target, where qhang itself has started it */
static struct sigaction action_before;
static bool handling;

enum qh_outcome qh_release_look(pid_t tid, int *ret_signal)
{
    siginfo_t info = { 0 };

    if (waitid(P_PID, (id_t)tid, &info,
               WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL) < 0) {
        return QH_ENDED;
    }
    if (!info.si_pid) {
        return QH_STILL_RUNNING;
    }
    if (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED) {
        return QH_ENDED;
    }
    /* si_status is the event (PTRACE_EVENT_STOP) above the signal. */
    *ret_signal = info.si_status >> 8 ? 0 : info.si_status & 0x7f;
    return QH_STILL;
}

void qh_release_reap(pid_t tid)
{
    siginfo_t info;

    if (tid == own_child) {
        return;
    }
    waitid(P_PID, (id_t)tid, &info, WEXITED | WNOHANG | __WALL);
}

/* Async-signal-safe. True when the thread is off our hands. */
static bool let_go(pid_t tid)
{
    int signal = 0;

    switch (qh_release_look(tid, &signal)) {
    case QH_STILL_RUNNING:
        return false;
    case QH_STILL:
        /* When it fails the thread is being killed: its end will come. */
        return ptrace(PTRACE_DETACH, tid, NULL, (void *)(intptr_t)signal) == 0;
    case QH_ENDED:
        qh_release_reap(tid);
        return true;
    }
    return true;
}

void qh_release_spare(pid_t child)
{
    own_child = child;
}

void qh_release_abandoned(void)
{
    for (unsigned i = 0; i < MAX_ABANDONED; i++) {
        if (abandoned[i] && let_go(abandoned[i])) {
            abandoned[i] = 0;
        }
    }
}

static void on_sigchld(int signal)
{
    int saved = errno;
    pid_t self = (pid_t)syscall(SYS_gettid);

    if (self == tracer) {
        qh_release_abandoned();
    } else {
        syscall(SYS_tgkill, getpid(), tracer, SIGCHLD);
    }
    errno = saved;
}

void qh_release_abandon(pid_t tid)
{
    for (unsigned i = 0; i < MAX_ABANDONED; i++) {
        if (!abandoned[i]) {
            abandoned[i] = tid;
            return;
        }
    }
}

bool qh_release_take_back(pid_t tid)
{
    for (unsigned i = 0; i < MAX_ABANDONED; i++) {
        if (abandoned[i] == tid) {
            abandoned[i] = 0;
            return true;
        }
    }
    return false;
}

void qh_release_watch(void)
{
    bool wanted = false;

    for (unsigned i = 0; i < MAX_ABANDONED; i++) {
        wanted |= abandoned[i] != 0;
    }
    if (wanted && !handling) {
        struct sigaction action = { .sa_handler = on_sigchld,
                                    .sa_flags = SA_RESTART };
        tracer = (pid_t)syscall(SYS_gettid);
        handling = sigaction(SIGCHLD, &action, &action_before) == 0;
    } else if (!wanted && handling) {
        sigaction(SIGCHLD, &action_before, NULL);
        handling = false;
    }
}
