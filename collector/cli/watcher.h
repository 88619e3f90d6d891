/* Watching one QEMU until it ends; private to cli/.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Once an interval, the counters of the main thread are read from /proc and its
 * pulse is taken (watch/pulse.h); a QMP monitor is asked, where there is one.
 * That stops nobody, reads no memory and costs some 100 us. What goes on from
 * there goes only as far as it must:
 *
 *   the loop does well, now and then     a look (it stops nobody), for the
 *                                        loops beside it
 *   it has been idle for long            a look
 *   it is always seen in one other wait  a look
 *   it stands still in another wait, or  a look, then samples (each stops the
 *   the monitor owes an answer           process for a millisecond)
 *   a look has found a hang, twice       samples; where the loop does well or
 *                                        is idle, if it is there after_ns
 *                                        later, too
 *
 * Where a look has found a hang, the capture is taken before the samples are:
 * the evidence is there first, should somebody end the process. A hang that the
 * samples confirm is counted, logged and has the command run, once. That the
 * loop is seen elsewhere, or the monitor has answered, leads to a look at once;
 * it is over when samples that settle do not find it any more.
 *
 * A suspicion that comes to nothing is put off: twice as long each time, up to
 * a minute, and a look never takes more than a two-thousandth of a CPU.
 */
#ifndef QH_WATCHER_H
#define QH_WATCHER_H

#include "base/base.h"

struct qh_watch_request {
    pid_t pid;           /* 0: who listens at `qmp` */
    const char *qmp;     /* path of a monitor's socket, or NULL */
    const char *capture; /* file, or folder for files; or NULL */
    const char *command; /* for sh -c, or NULL */
    const char *metrics; /* file, or NULL */
    const char *debuginfo;
    int64_t after_ns;
    int64_t interval_ns;
    bool once; /* end after the first hang */
};

/* Watches until the process ends, or SIGTERM, SIGINT or SIGHUP comes. `*ret`
 * is how many hangs were found. Errors: what keeps it from beginning. */
struct qh_error *qh_watcher_run(const struct qh_watch_request *request,
                                uint64_t *ret) QH_MUST_CHECK;

#endif
