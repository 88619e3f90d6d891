/* What the files of the watcher share: when, what then, and what is told.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_WATCHER_PARTS_H
#define QH_WATCHER_PARTS_H

#include "cli/hook.h"
#include "cli/monitor.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/watcher.h"
#include "watch/pulse.h"

#include <limits.h>

/* So many hangs at once are told apart. */
enum { QH_MAX_KNOWN = 16, QH_MAX_RULES = 32 };
enum { QH_COMPLAINT_NONE = -1 };

/* What has led to the hangs that stand, and what ends them. */
enum qh_known_by {
    QH_KNOWN_BY_STALL,   /* of the main loop: until it is seen elsewhere */
    QH_KNOWN_BY_MONITOR, /* until it answers */
    QH_KNOWN_BY_LOOK     /* the main loop does well: until samples find none */
};

/* A suspicion that came to nothing is not looked into again before `next_ns`.
 */
struct qh_backoff {
    int64_t delay_ns; /* the last; 0: none yet */
    int64_t next_ns;
};

struct qh_watcher {
    const struct qh_watch_request *request;
    pid_t pid;
    int process; /* pidfd */
    int folder;  /* /proc/PID */
    int signals; /* signalfd */
    struct qh_target *target;
    struct qh_debug *debug;
    struct qh_qemu *qemu;
    struct qh_monitor *monitor; /* NULL: there is none */
    bool monitor_checked;
    struct qh_hook hook;
    struct qh_pulse pulse;
    /* Of a main loop that is at rest or turns, and of one that stands. */
    struct qh_backoff well, stall;
    int64_t glance_ns; /* CPU time that the last look took */

    /* What a look has found beside a main loop that does well: it counts if it
     * is there as long as a main loop would have to stand. Of findings what is
     * not static is not set. */
    struct qh_finding candidate;
    int64_t candidate_ns; /* when it was first found; 0: there is none */

    /* The hangs that stand. */
    struct qh_finding known[QH_MAX_KNOWN];
    size_t known_count;
    int64_t known_ns;  /* when the diagnosis that found them was over */
    uint64_t known_sp; /* where the main thread slept then */
    enum qh_known_by known_by;

    struct qh_metric_hangs hangs[QH_MAX_RULES];
    size_t hangs_count;
    uint64_t found, diagnoses, diagnoses_failed, captures;
    int64_t diagnosed_realtime_ns;
    int64_t metrics_ns; /* when they were last written */
    int complaint;      /* code of the last error that was told */
    bool ended;         /* the process has */
    bool told;          /* we were told to end */
};

int64_t qh_watcher_now(void);
int64_t qh_watcher_cpu(void); /* that qhang has used */
void qh_watcher_complain(struct qh_watcher *watcher, struct qh_error *error);
void qh_watcher_tell_metrics(struct qh_watcher *watcher);

/* A first look, at whatever state: the main loop may be idle just now. */
struct qh_error *qh_watcher_meet(struct qh_watcher *watcher) QH_MUST_CHECK;
/*
 * Follows the suspicion that there is. Without any there is a look all the
 * same, now and then, that stops nobody: another loop may be stuck beside a
 * main loop that does well. Errors: EXITED and NO_PROCESS, MEMORY.
 */
struct qh_error *qh_watcher_follow(struct qh_watcher *watcher,
                                   int64_t now_ns) QH_MUST_CHECK;

/* One diagnosis, from the first look to what is told of it. */
struct qh_inquiry {
    struct qh_watcher *watcher;
    struct qh_session session;
    char capture[PATH_MAX]; /* "" while there is none */
};

/* --- what is kept, and told (watcher_tell.c) --- */

/* What tells it from others, without anything that a snapshot owns. */
struct qh_finding qh_watcher_print(const struct qh_finding *finding);
/* Whether it has been told, and is not over. */
bool qh_watcher_knows(const struct qh_watcher *watcher,
                      const struct qh_finding *finding);
/* Tells of those that `findings` do not have that they are over. */
void qh_watcher_forget(struct qh_watcher *watcher,
                       const struct qh_findings *findings);
/* Whether it ends the watch: the process is gone, or there is no memory. */
bool qh_watcher_is_final(const struct qh_error *error);
/* Keeps a capture, unless there is one already or there is to be none; that it
 * could not be taken is told, and is no error unless it is final. */
struct qh_error *qh_inquiry_capture(struct qh_inquiry *inquiry) QH_MUST_CHECK;
/* Whether there is one that has not been told. */
bool qh_watcher_has_new(const struct qh_watcher *watcher,
                        const struct qh_findings *findings);
/* What is found for the first time is told, and the command run for the worst
 * of it. */
struct qh_error *
qh_inquiry_tell(struct qh_inquiry *inquiry,
                const struct qh_findings *findings) QH_MUST_CHECK;

#endif
