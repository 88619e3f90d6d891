/* Watching one QEMU until it ends: what happens when.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/watcher.h"

#include "cli/watcher_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A monitor greets at once; one that does not by then is looked into. */
#define GREETING_NS INT64_C(1000000000)
/* While all is well; node_exporter is asked about as often. */
#define METRICS_NS INT64_C(15000000000)

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int64_t qh_watcher_now(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

int64_t qh_watcher_cpu(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static void watcher_deinit(struct qh_watcher *watcher)
{
    /* Told to end, the one that runs is left to run. */
    if (!watcher->told) {
        qh_hook_reap(&watcher->hook);
    }
    qh_monitor_destroy(watcher->monitor);
    qh_qemu_destroy(watcher->qemu);
    qh_debug_destroy(watcher->debug);
    qh_target_destroy(watcher->target);
    qh_close_guard(&watcher->signals);
    qh_close_guard(&watcher->folder);
    qh_close_guard(&watcher->process);
}

/* Says what went wrong, and that the watch goes on; takes the error over. */
void qh_watcher_complain(struct qh_watcher *watcher, struct qh_error *error)
{
    if ((int)error->code != watcher->complaint) {
        fflush(stdout);
        qh_report_error(error, isatty(STDERR_FILENO), stderr);
    }
    watcher->complaint = (int)error->code;
    qh_error_destroy(error);
}

static struct qh_error *write_metrics(struct qh_watcher *watcher)
{
    int64_t now = qh_watcher_now();
    const struct qh_metrics metrics = {
        .pid = watcher->pid,
        .comm = qh_target_process(watcher->target)->name,
        .up = !watcher->ended,
        .stalled_ns =
            watcher->ended ? 0 : qh_pulse_stalled_ns(&watcher->pulse, now),
        .hangs = watcher->hangs,
        .hangs_count = watcher->hangs_count,
        .hung = watcher->known_count > 0 && !watcher->ended,
        .diagnoses = watcher->diagnoses,
        .diagnoses_failed = watcher->diagnoses_failed,
        .captures = watcher->captures,
        .diagnosed_realtime_ns = watcher->diagnosed_realtime_ns,
        .cpu_ns = qh_watcher_cpu(),
    };

    if (!watcher->request->metrics) {
        return NULL;
    }
    watcher->metrics_ns = now;
    return qh_write_metrics(&metrics, watcher->request->metrics);
}

void qh_watcher_tell_metrics(struct qh_watcher *watcher)
{
    struct qh_error *error = write_metrics(watcher);

    if (error) {
        qh_watcher_complain(watcher, error);
    }
}

static struct qh_error *find_listener(struct qh_watcher *watcher)
{
    const char *path = watcher->request->qmp;
    pid_t listener;

    QH_TRY(qh_monitor_open(path, &watcher->monitor, &listener));
    if (watcher->pid) {
        return NULL; /* whoever listened then may have handed it on */
    }
    if (listener <= 0) {
        return qh_error_try(
            qh_error_path(qh_error_new(QH_ERR_NO_PROCESS,
                                       "who listens there cannot be seen from "
                                       "this pid namespace"),
                          path),
            "give the PID as well");
    }
    watcher->pid = listener;
    return NULL;
}

static struct qh_error *open_process(struct qh_watcher *watcher)
{
    char path[32];

    watcher->process = (int)syscall(SYS_pidfd_open, watcher->pid, 0);
    if (watcher->process < 0) {
        return qh_error_tid(
            qh_error_errno(errno == ESRCH ? QH_ERR_NO_PROCESS : QH_ERR_SYSTEM,
                           errno, "no process %d", (int)watcher->pid),
            watcher->pid);
    }
    snprintf(path, sizeof(path), "/proc/%d", (int)watcher->pid);
    watcher->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return watcher->folder < 0
               ? qh_error_errno(QH_ERR_NO_PROCESS, errno, "no process %d",
                                (int)watcher->pid)
               : NULL;
}

/* Blocked, they wait until they are asked for, and interrupt nothing. One that
 * is ignored, as nohup(1) has it, would be kept for us all the same. */
static struct qh_error *catch_signals(struct qh_watcher *watcher)
{
    static const int ends[] = { SIGTERM, SIGINT, SIGHUP };
    struct sigaction action;
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < QH_COUNT(ends); i++) {
        if (!sigaction(ends[i], NULL, &action) &&
            action.sa_handler != SIG_IGN) {
            sigaddset(&set, ends[i]);
        }
    }
    sigprocmask(SIG_BLOCK, &set, NULL);
    watcher->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return watcher->signals < 0
               ? qh_error_errno(QH_ERR_SYSTEM, errno, "cannot take signals")
               : NULL;
}

static struct qh_error *begin(struct qh_watcher *watcher)
{
    const struct qh_watch_request *request = watcher->request;

    watcher->pid = request->pid;
    if (request->qmp) {
        QH_TRY(find_listener(watcher));
    }
    QH_TRY(open_process(watcher));
    const struct qh_subject subject = { .pid = watcher->pid,
                                        .debuginfo = request->debuginfo };
    struct qh_error *error = qh_subject_open(&subject, &watcher->target,
                                             &watcher->debug, &watcher->qemu);
    if (error && request->qmp && !request->pid) {
        error = qh_error_try(error,
                             "give the PID as well, if %d, which opened "
                             "the socket, is no QEMU: %s",
                             (int)watcher->pid, qh_error_advice(error));
    }
    QH_TRY(error);
    QH_TRY(catch_signals(watcher));
    return write_metrics(watcher);
}

/* That the process has ended is no error any more. */
static struct qh_error *unless_ended(struct qh_watcher *watcher,
                                     struct qh_error *error)
{
    if (!qh_error_is_gone(error)) {
        return error;
    }
    qh_error_destroy(error);
    watcher->ended = true;
    return NULL;
}

/* Whether another has the monitor; then it tells nothing about its QEMU. */
static struct qh_error *check_taken(struct qh_watcher *watcher, int64_t now)
{
    struct qh_monitor *monitor = watcher->monitor;

    if (!monitor || watcher->monitor_checked ||
        qh_monitor_owes_ns(monitor, now) < GREETING_NS) {
        return NULL;
    }
    watcher->monitor_checked = true;
    if (!qh_monitor_is_taken(monitor)) {
        return NULL;
    }
    return qh_error_try(
        qh_error_path(qh_error_new(QH_ERR_SYSTEM,
                                   "the monitor is in use by another client"),
                      watcher->request->qmp),
        "give QEMU a monitor for qhang alone, a second -qmp, or watch by PID "
        "without --qmp");
}

static void check_monitor(struct qh_watcher *watcher)
{
    if (watcher->monitor && qh_monitor_fd(watcher->monitor) < 0 &&
        !watcher->ended) {
        qh_watcher_complain(
            watcher,
            qh_error_try(qh_error_path(qh_error_new(QH_ERR_SYSTEM,
                                                    "the monitor has hung up"),
                                       watcher->request->qmp),
                         "nothing: the watch goes on without it"));
        qh_monitor_destroy(watcher->monitor);
        watcher->monitor = NULL;
        if (watcher->known_by == QH_KNOWN_BY_MONITOR) {
            watcher->known_by = QH_KNOWN_BY_LOOK;
        }
    }
}

/* What is to be done once an interval. */
static struct qh_error *tick(struct qh_watcher *watcher)
{
    int64_t now = qh_watcher_now();
    struct qh_reading reading;

    qh_reading_take_main(watcher->folder, watcher->pid, &reading);
    qh_pulse_feed(&watcher->pulse, &reading, now);
    if (watcher->monitor) {
        qh_monitor_ask(watcher->monitor, now);
        check_monitor(watcher);
    }
    QH_TRY(check_taken(watcher, now));
    QH_TRY(unless_ended(watcher, qh_watcher_follow(watcher, now)));
    if (qh_pulse_stalled_ns(&watcher->pulse, now) >=
            watcher->request->after_ns ||
        now - watcher->metrics_ns >= METRICS_NS) {
        qh_watcher_tell_metrics(watcher);
    }
    return NULL;
}

enum { ON_PROCESS, ON_SIGNAL, ON_MONITOR, ON_HOOK, ON_COUNT };

/* Until `until_ns` or until something has happened. */
static void wait_for(struct qh_watcher *watcher, int64_t until_ns)
{
    struct pollfd fds[ON_COUNT] = {
        [ON_PROCESS] = { watcher->process, POLLIN, 0 },
        [ON_SIGNAL] = { watcher->signals, POLLIN, 0 },
        [ON_MONITOR] = { watcher->monitor ? qh_monitor_fd(watcher->monitor)
                                          : -1,
                         POLLIN, 0 },
        [ON_HOOK] = { watcher->hook.child ? watcher->hook.handle : -1, POLLIN,
                      0 },
    };
    int64_t left_ns = until_ns - qh_watcher_now();
    const struct timespec left = {
        .tv_sec = left_ns > 0 ? left_ns / 1000000000 : 0,
        .tv_nsec = left_ns > 0 ? left_ns % 1000000000 : 0,
    };

    if (ppoll(fds, ON_COUNT, &left, NULL) <= 0) {
        return;
    }
    watcher->ended = watcher->ended || fds[ON_PROCESS].revents;
    watcher->told = watcher->told || fds[ON_SIGNAL].revents;
    if (fds[ON_HOOK].revents) {
        qh_hook_reap(&watcher->hook);
    }
    if (fds[ON_MONITOR].revents) {
        qh_monitor_read(watcher->monitor, qh_watcher_now());
    }
}

static struct qh_error *watch(struct qh_watcher *watcher)
{
    int64_t next;

    QH_TRY(unless_ended(watcher, qh_watcher_meet(watcher)));
    next = qh_watcher_now();
    while (!watcher->ended && !watcher->told &&
           !(watcher->request->once && watcher->found)) {
        int64_t now = qh_watcher_now();
        if (now >= next) {
            QH_TRY(tick(watcher));
            next += watcher->request->interval_ns;
            next = next > now ? next : now + watcher->request->interval_ns;
        }
        wait_for(watcher, next);
    }
    watcher->ended = watcher->ended || !watcher->told;
    qh_watcher_tell_metrics(watcher);
    return NULL;
}

struct qh_error *qh_watcher_run(const struct qh_watch_request *request,
                                uint64_t *ret)
{
    QH_CLEANUP(watcher_deinit)
    struct qh_watcher watcher = { .request = request,
                                  .process = -1,
                                  .folder = -1,
                                  .signals = -1,
                                  .hook = { .handle = -1 },
                                  .complaint = QH_COMPLAINT_NONE };

    QH_TRY(begin(&watcher));
    QH_TRY(watch(&watcher));
    *ret = watcher.found;
    return NULL;
}
