/* What the judges of the two primitives share; private to verify/.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_JUDGE_H
#define QH_JUDGE_H

#include "verify/flow.h"
#include "verify/verify.h"

/* Fills the checks sleep-wake and sleep-arm. */
struct qh_error *qh_judge_sleep(const struct qh_image *image,
                                struct qh_arena *arena,
                                struct qh_verify_check *wake,
                                struct qh_verify_check *arm) QH_MUST_CHECK;
/* Fills the check graph-unlock. */
struct qh_error *qh_judge_graph(const struct qh_image *image,
                                struct qh_arena *arena,
                                struct qh_verify_check *check) QH_MUST_CHECK;
/* Those who call qemu_co_sleep_wake(). */
struct qh_error *qh_find_users(const struct qh_image *image,
                               struct qh_arena *arena,
                               struct qh_verify_user **ret,
                               size_t *ret_count) QH_MUST_CHECK;

/* "name+0x3 (0x17ae23)", or the address alone. */
const char *qh_where(const struct qh_function *function, uint64_t address,
                     struct qh_arena *arena);

#endif
