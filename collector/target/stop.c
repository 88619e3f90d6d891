/* Stops every thread of a running process and lets it go as it was.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Why nothing is left behind when qhang is killed. PTRACE_SEIZE without
 * PTRACE_O_EXITKILL: when the tracer dies the kernel detaches every thread,
 * puts a group-stopped one back into its group stop, and lets a stop that a
 * signal caused go on with that signal. The last works only as long as nobody
 * has taken the stop's status away, so all waiting here is done with WNOWAIT.
 *
 * Threads that do not stop. A thread that is in state D is not touched at all.
 * One that enters it in the moment after it was looked at has been seized and
 * asked to stop; release.c lets it go when it comes out.
 *
 * Source: ptrace(2); kernel/ptrace.c and kernel/signal.c of Linux.
 */
#include "target/arch.h"
#include "target/live.h"
#include "target/procfs.h"
#include "target/release.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <time.h>
#include <unistd.h>

enum {
    /* Before anything is stopped, so much time for short waits on storage. */
    SETTLE_NS = 2000000,
    SETTLE_STEP_NS = 200000,
    /* A look at the threads at least so often while waiting, should SIGCHLD
     * not come (it is coalesced, and another thread may take it). */
    LOOK_NS = 500000,
    /* A thread seen in state D for so long after it was asked to stop is not
     * waited for any longer; the others are waiting with it. */
    IN_KERNEL_NS = 5000000
};

/* Until SIGCHLD is unblocked, stops are noticed by sigtimedwait only. The
 * others would stop qhang itself from the terminal (Ctrl-Z), and with it the
 * target for as long as nobody goes on: they wait until it is let go. */
static void block_signals(sigset_t *ret_before)
{
    sigset_t those;

    sigemptyset(&those);
    sigaddset(&those, SIGCHLD);
    sigaddset(&those, SIGTSTP);
    sigaddset(&those, SIGTTIN);
    sigaddset(&those, SIGTTOU);
    pthread_sigmask(SIG_BLOCK, &those, ret_before);
}

/* While the target stands: SIGCHLD as it was before. */
static void unblock_sigchld(const sigset_t *before)
{
    sigset_t only;

    sigemptyset(&only);
    sigaddset(&only, SIGCHLD);
    if (!sigismember(before, SIGCHLD)) {
        pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    }
}

static struct qh_error *refused(struct qh_live *live, struct qh_tracee *tracee)
{
    char status[8192];
    pid_t tid = tracee->task.tid;
    char state = qh_live_state(live, tid);

    /* The kernel says EPERM of a thread that is just ending, too. */
    if (state == 'X' || state == 'Z') {
        tracee->task.state = state;
        tracee->hold = QH_HOLD_GONE;
        return NULL;
    }
    if (qh_proc_read_task(live->tasks, tid, "status", status, sizeof(status)) >
        0) {
        QH_TRY(qh_access_traced(tid, status));
    }
    return qh_access_refused(live);
}

/* Seizes a thread, which does not stop it yet, unless it is in state D. */
static struct qh_error *seize(struct qh_live *live, struct qh_tracee *tracee)
{
    pid_t tid = tracee->task.tid;
    char state = qh_live_state(live, tid);

    tracee->task.state = state;
    if (state == 'X' || state == 'Z') {
        tracee->hold = QH_HOLD_GONE;
    } else if (state == 'D') {
        tracee->hold = QH_HOLD_KERNEL;
    } else if (qh_release_take_back(tid) ||
               ptrace(PTRACE_SEIZE, tid, NULL, NULL) == 0) {
        tracee->hold = QH_HOLD_SEIZED;
    } else if (errno == ESRCH) {
        tracee->hold = QH_HOLD_GONE;
    } else {
        return refused(live, tracee);
    }
    return NULL;
}

static bool all_settled(struct qh_live *live)
{
    bool settled = true;

    for (size_t i = 0; i < live->count; i++) {
        struct qh_tracee *tracee = &live->tracees[i];
        int signal = 0;
        if (tracee->hold != QH_HOLD_SEIZED) {
            continue;
        }
        switch (qh_release_look(tracee->task.tid, &signal)) {
        case QH_STILL_RUNNING:
            settled = false;
            break;
        case QH_STILL:
            tracee->hold = QH_HOLD_STOPPED;
            tracee->signal = signal;
            break;
        case QH_ENDED:
            qh_release_reap(tracee->task.tid);
            tracee->hold = QH_HOLD_GONE;
            break;
        }
    }
    return settled;
}

/* Gives up on threads that cannot stop: at once on dead ones, after a while on
 * those in state D, at the deadline on all. */
static void give_up(struct qh_live *live, int64_t since_ns, int64_t deadline_ns)
{
    int64_t now = qh_now_ns(CLOCK_MONOTONIC);

    for (size_t i = 0; i < live->count; i++) {
        struct qh_tracee *tracee = &live->tracees[i];
        if (tracee->hold != QH_HOLD_SEIZED) {
            continue;
        }
        char state = qh_live_state(live, tracee->task.tid);
        bool dead = state == 'X' || state == 'Z';
        if (dead || now >= deadline_ns ||
            (state == 'D' && now - since_ns >= IN_KERNEL_NS)) {
            tracee->task.state = state;
            tracee->hold = dead ? QH_HOLD_GONE : QH_HOLD_KERNEL;
            qh_release_abandon(tracee->task.tid);
        }
    }
}

/* Waits until each thread that was asked has stopped, ended or been given up.
 */
static void wait_for_stops(struct qh_live *live, int64_t deadline_ns)
{
    const struct timespec longest = { .tv_nsec = LOOK_NS };
    int64_t since = qh_now_ns(CLOCK_MONOTONIC);
    int64_t looked = since;
    sigset_t only;

    sigemptyset(&only);
    sigaddset(&only, SIGCHLD);
    while (!all_settled(live)) {
        int64_t now = qh_now_ns(CLOCK_MONOTONIC);
        if (now - looked >= 2 * LOOK_NS || now >= deadline_ns) {
            looked = now;
            give_up(live, since, deadline_ns);
            continue;
        }
        sigtimedwait(&only, NULL, &longest);
    }
}

/* Before anything is stopped: many a thread is in state D for a moment only. */
static void let_settle(struct qh_live *live)
{
    const struct timespec step = { .tv_nsec = SETTLE_STEP_NS };
    int64_t end = qh_now_ns(CLOCK_MONOTONIC) + SETTLE_NS;
    bool waiting = true;

    while (waiting && qh_now_ns(CLOCK_MONOTONIC) < end) {
        waiting = false;
        for (size_t i = 0; i < live->count && !waiting; i++) {
            waiting = qh_live_state(live, live->tracees[i].task.tid) == 'D';
        }
        if (waiting) {
            nanosleep(&step, NULL);
        }
    }
}

static struct qh_error *seize_from(struct qh_live *live, size_t first)
{
    for (size_t i = first; i < live->count; i++) {
        QH_TRY(seize(live, &live->tracees[i]));
    }
    return NULL;
}

static void interrupt_from(struct qh_live *live, size_t first)
{
    for (size_t i = first; i < live->count; i++) {
        if (live->tracees[i].hold == QH_HOLD_SEIZED) {
            ptrace(PTRACE_INTERRUPT, live->tracees[i].task.tid, NULL, NULL);
        }
    }
}

/* One more chance, now that the others stand, for those that were in state D:
 * no waiting, but some have come out of it. */
static struct qh_error *try_kernel_again(struct qh_live *live,
                                         int64_t deadline_ns)
{
    for (size_t i = 0; i < live->count; i++) {
        struct qh_tracee *tracee = &live->tracees[i];
        if (tracee->hold == QH_HOLD_KERNEL &&
            qh_live_state(live, tracee->task.tid) != 'D') {
            QH_TRY(seize(live, tracee));
            if (tracee->hold == QH_HOLD_SEIZED) {
                ptrace(PTRACE_INTERRUPT, tracee->task.tid, NULL, NULL);
            }
        }
    }
    wait_for_stops(live, deadline_ns);
    return NULL;
}

/* New threads are born until the last of their parents has stopped. */
static struct qh_error *stop_all(struct qh_live *live)
{
    size_t added = live->count, first = 0;

    live->disturbed = true;
    QH_TRY(seize_from(live, 0));
    live->pause_start_ns = qh_now_ns(CLOCK_MONOTONIC);
    int64_t deadline = live->pause_start_ns + live->stop_bound_ns;
    while (added) {
        interrupt_from(live, first);
        wait_for_stops(live, deadline);
        first = live->count;
        int failed = qh_live_list(live, true, &added);
        if (failed == -ENOMEM) {
            return qh_error_no_memory();
        }
        if (failed || qh_now_ns(CLOCK_MONOTONIC) >= deadline) {
            break;
        }
        QH_TRY(seize_from(live, first));
    }
    return try_kernel_again(live, deadline);
}

static void read_registers(const struct qh_live *live, struct qh_tracee *tracee)
{
    struct user_regs_struct user;
    struct qh_task *task = &tracee->task;

    if (tracee->hold == QH_HOLD_STOPPED &&
        ptrace(PTRACE_GETREGS, task->tid, NULL, &user) == 0) {
        qh_arch_registers(&user, &task->regs, &task->fs_base, &task->orig_rax);
        _Static_assert(sizeof(task->user) == sizeof(user), "register set");
        memcpy(task->user, &user, sizeof(user));
        task->stop = QH_TASK_STOPPED;
    } else if (tracee->hold == QH_HOLD_STOPPED ||
               tracee->hold == QH_HOLD_GONE) {
        task->stop = QH_TASK_GONE; /* killed: that gets through a stop */
    } else {
        task->stop = QH_TASK_IN_KERNEL;
        qh_live_read_syscall(live, task);
    }
}

static struct qh_error *read_maps(struct qh_target *target)
{
    struct qh_live *live = target->live;
    int failed =
        qh_proc_read_all(live->maps, &live->text, &live->text_capacity);

    if (failed == -ENOMEM) {
        return qh_error_no_memory();
    }
    if (failed || !live->text[0]) {
        return qh_error_tid(qh_error_new(QH_ERR_EXITED, "process %d has exited",
                                         (int)live->pid),
                            live->pid);
    }
    return qh_maps_parse(target, live->text);
}

static struct qh_error *look_around(struct qh_target *target)
{
    struct qh_live *live = target->live;

    for (size_t i = 0; i < live->count; i++) {
        read_registers(live, &live->tracees[i]);
    }
    QH_TRY(qh_live_publish_tasks(target));
    live->stop_monotonic_ns = qh_now_ns(CLOCK_MONOTONIC);
    live->stop_realtime_ns = qh_now_ns(CLOCK_REALTIME);
    return read_maps(target);
}

/* Everything that can be known before is read before: a stop is short. */
static struct qh_error *prepare(struct qh_target *target)
{
    struct qh_live *live = target->live;

    QH_TRY(qh_live_observe(target, !live->disturbed));
    live->maps = openat(live->dir, "maps", O_RDONLY | O_CLOEXEC);
    if (live->maps < 0) {
        return errno == EACCES || errno == EPERM
                   ? qh_access_refused(live)
                   : qh_error_tid(qh_error_errno(QH_ERR_EXITED, errno,
                                                 "cannot read the memory map "
                                                 "of process %d",
                                                 (int)live->pid),
                                  live->pid);
    }
    let_settle(live);
    return NULL;
}

/* A thread that was stopped in the middle of receiving a signal gets it now.
 * One in a group stop goes back into it: PTRACE_DETACH does that by itself. */
static void let_go(struct qh_target *target)
{
    struct qh_live *live = target->live;

    for (size_t i = 0; i < live->count; i++) {
        struct qh_tracee *tracee = &live->tracees[i];
        pid_t tid = tracee->task.tid;
        if (tracee->hold == QH_HOLD_STOPPED &&
            ptrace(PTRACE_DETACH, tid, NULL, (void *)(intptr_t)tracee->signal) <
                0) {
            /* Killed meanwhile; its end is to be noted. */
            qh_release_abandon(tid);
        } else if (tracee->hold == QH_HOLD_SEIZED) {
            qh_release_abandon(tid);
        }
        tracee->hold = QH_HOLD_NONE;
    }
    target->pause_ns = qh_now_ns(CLOCK_MONOTONIC) - live->pause_start_ns;
    qh_priority_restore(&live->priority);
    /* The handler first: no stop may fall between the look and it. */
    qh_release_watch();
    qh_release_abandoned();
    qh_release_watch();
}

static struct qh_error *stop_and_look(struct qh_target *target)
{
    struct qh_live *live = target->live;

    QH_TRY(prepare(target));
    qh_priority_raise(&live->priority);
    struct qh_error *error = stop_all(live);
    if (!error) {
        error = look_around(target);
    }
    if (error) {
        let_go(target);
    }
    return error;
}

struct qh_error *qh_live_stop(struct qh_target *target)
{
    struct qh_live *live = target->live;

    block_signals(&live->signals);
    qh_release_abandoned();
    qh_release_spare(live->own_child ? live->pid : 0);
    struct qh_error *error = stop_and_look(target);
    if (live->maps >= 0) {
        close(live->maps);
        live->maps = -1;
    }
    qh_release_watch();
    if (error) {
        pthread_sigmask(SIG_SETMASK, &live->signals, NULL);
    } else {
        unblock_sigchld(&live->signals);
    }
    return error;
}

void qh_live_resume(struct qh_target *target)
{
    sigset_t standing;

    block_signals(&standing);
    let_go(target);
    pthread_sigmask(SIG_SETMASK, &target->live->signals, NULL);
}
