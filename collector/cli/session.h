/* Samples of one target until they agree, and the findings that stay.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A process that runs is looked at without stopping it, then sampled until two
 * samples in a row agree; of anything else there is one sample.
 */
#ifndef QH_SESSION_H
#define QH_SESSION_H

#include "cli/subject.h"
#include "diagnose/diagnose.h"

/* What the samples have come to; begin with QH_SESSION_EMPTY. */
struct qh_session {
    struct qh_snapshot *snapshot; /* of the last sample */
    struct qh_findings *findings; /* of the last sample, confirmed */
    struct qh_findings *before;   /* from before the first stop, or NULL */
    int64_t pause_ns;             /* the longest of all, or UNKNOWN */
    int64_t began_ns;             /* CLOCK_MONOTONIC of the first */
};
#define QH_SESSION_EMPTY                                                       \
    {                                                                          \
        .pause_ns = QH_TIME_UNKNOWN, .began_ns = QH_TIME_UNKNOWN               \
    }
void qh_session_deinit(struct qh_session *session);

/* Examines an open target; the caller has it and may go on with it. With
 * `no_stop` it is never stopped, and was opened so. */
struct qh_error *qh_session_take(struct qh_target *target, struct qh_qemu *qemu,
                                 bool no_stop,
                                 struct qh_session *session) QH_MUST_CHECK;
/*
 * The two halves of that, for who decides in between. The glance stops nobody:
 * it fills `snapshot`, with the last look's, and `before`. The samples stop the
 * process, and confirm what the glance has found.
 */
struct qh_error *qh_session_glance(struct qh_target *target,
                                   struct qh_qemu *qemu,
                                   struct qh_session *session) QH_MUST_CHECK;
struct qh_error *qh_session_sample(struct qh_qemu *qemu,
                                   struct qh_session *session) QH_MUST_CHECK;
/* The first finding that its second look confirmed, or NULL. */
const struct qh_finding *qh_session_suspected(const struct qh_session *session);
/* Opens the target, examines it, and lets it go before anything is said. */
struct qh_error *qh_session_examine(const struct qh_subject *subject,
                                    struct qh_session *session) QH_MUST_CHECK;
/* Only shows what is there, and looks for no hang: samples until one is whole,
 * or there is no hope for that. */
struct qh_error *qh_session_look(const struct qh_subject *subject,
                                 struct qh_snapshot **ret) QH_MUST_CHECK;

#endif
