/* Runs a program that reports line by line; private to verify/.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The child has a process group of its own in our session, so that it is ended
 * with all that it began, and still shares our share of the CPUs (autogroup,
 * sched(7)). SIGINT, SIGTERM and SIGHUP end it first: it gets SIGTERM, some
 * seconds to clean up, then SIGKILL together with its group. When we are killed
 * ourselves it is the child's own business to notice (PR_SET_PDEATHSIG).
 */
#ifndef QH_CHILD_H
#define QH_CHILD_H

#include "base/base.h"

enum qh_child_end {
    QH_CHILD_EXITED,      /* by itself: see `status` */
    QH_CHILD_NOT_STARTED, /* see `errnum` */
    QH_CHILD_SILENT,      /* no line within the limit; it was ended */
    QH_CHILD_REFUSED,     /* a line was not what it should be; it was ended */
    QH_CHILD_SIGNALLED    /* we got `signal`, and it was ended */
};

enum { QH_CHILD_WORDS = 512 };

struct qh_child_result {
    enum qh_child_end end;
    int status; /* as of waitpid() */
    int errnum;
    int signal;
    char words[QH_CHILD_WORDS]; /* the end of what it wrote to stderr */
};

struct qh_child {
    char *const *argv; /* found on the PATH; NULL at the end */
    unsigned limit_s;  /* a line must come so often */
    /* Takes a line without its newline, which it may change; false: that is
     * none of those that it should be. */
    bool (*take)(void *opaque, char *line);
    void *opaque;
};

/* Runs it to its end; whatever that is, the group has ended then. Errors:
 * SYSTEM, where not even a pipe is to be had. */
struct qh_error *qh_child_run(const struct qh_child *child,
                              struct qh_child_result *ret) QH_MUST_CHECK;

#endif
