/* What the files of the kick share: the request, and one run of it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_KICK_PARTS_H
#define QH_KICK_PARTS_H

#include "cli/session.h"
#include "report/kick.h"

/* So many hangs of one process are kicked, one after the other. */
enum { QH_MAX_KICKS = 16 };

struct qh_kick_request {
    struct qh_subject subject;
    bool yes, dry, notify;
    int64_t watch_ns;
};

/* A finding that was dealt with, one way or another. */
struct qh_kick_tried {
    struct qh_finding finding;    /* what is not static of it is not set */
    bool waits;                   /* it is over, and its waiter still waits */
    struct qh_rescue_place place; /* where that one does */
    size_t acted;                 /* so many were kicked when it was seen so */
    bool stuck;                   /* it is not known to be over */
};

/* One run over one process. */
struct qh_kick_run {
    const struct qh_kick_request *request;
    struct qh_target *target;
    struct qh_debug *debug;
    struct qh_qemu *qemu;
    struct qh_kick_tried tried[QH_MAX_KICKS];
    size_t tried_count;
    size_t acted, refused;
    size_t left; /* hangs at the end */
    bool unseen; /* the last diagnosis did not see all */
    bool declined;
    bool ended; /* the process has, after a rescue */
    struct qh_ending ending;
};

/* Whether something that was kicked is not known to have gone on. */
bool qh_kick_is_stuck(const struct qh_kick_run *run);
/* Asks on the terminal; without one --yes was asked for before. */
bool qh_kick_ask(const struct qh_kick_run *run);
struct qh_report qh_kick_report(const struct qh_snapshot *snapshot,
                                const struct qh_session *session);

/* Diagnoses, kicks each hang, and watches what becomes of it. */
struct qh_error *qh_kick_hangs(struct qh_kick_run *run) QH_MUST_CHECK;
/* Notifies every loop. */
struct qh_error *qh_kick_loops(struct qh_kick_run *run) QH_MUST_CHECK;

#endif
