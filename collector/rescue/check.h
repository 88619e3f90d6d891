/* What must hold before a word is written; private to rescue/.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Judges what was read under the stop. Each precondition is one function that
 * says what is in doubt; all of them must hold.
 */
#ifndef QH_RESCUE_CHECK_H
#define QH_RESCUE_CHECK_H

#include "rescue/rescue.h"

/* A sleeper with everything around it; points into its sources. */
struct qh_rescue_view {
    const struct qh_snapshot *snapshot;
    const struct qh_finding *finding;
    const struct qh_sleeper *sleeper;
    const struct qh_coroutine *coroutine;
    const struct qh_rescue_sleep *sleep;
    const struct qh_rescue_notifier *notifier;
    size_t linked;   /* how often the timer is on its list */
    size_t position; /* where it is first; the list's length if it is not */
};

/* A REFUSED error about the object at `address` (0: none). */
struct qh_error *qh_refuse(struct raddr address, const char *format,
                           ...) QH_MUST_CHECK QH_PRINTF(2, 3);

/* The same of a state that may be over in a moment: somebody just moves. */
struct qh_error *qh_refuse_for_now(struct raddr address, const char *format,
                                   ...) QH_MUST_CHECK QH_PRINTF(2, 3);

/* Fills the view. Errors: REFUSED when the sleeper is there no more. */
struct qh_error *qh_rescue_look(const struct qh_snapshot *snapshot,
                                const struct qh_finding *finding,
                                const struct qh_rescue_sleep *sleep,
                                const struct qh_rescue_notifier *notifier,
                                struct qh_rescue_view *ret) QH_MUST_CHECK;
/* All preconditions of a write to a sleeper and its timer. */
struct qh_error *
qh_rescue_check_sleep(const struct qh_rescue_view *view) QH_MUST_CHECK;
/* Those of a notification. */
struct qh_error *qh_rescue_check_notifier(
    const struct qh_snapshot *snapshot,
    const struct qh_rescue_notifier *notifier) QH_MUST_CHECK;

/* What cannot be read, or contradicts itself, is a doubt like any other: such
 * an error becomes a refusal. NULL is fine. */
struct qh_error *qh_rescue_doubt(struct qh_error *error) QH_MUST_CHECK;
/* Does what the plan says; with DRY only what comes before the first change.
 * For a stopped target. */
struct qh_error *qh_rescue_carry_out(struct qh_target *target,
                                     const struct qh_rescue_plan *plan,
                                     enum qh_rescue_mode mode) QH_MUST_CHECK;

#endif
