/* Circles that QEMU's history knows, told by who takes part in them.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_CYCLE_KNOWN_H
#define QH_CYCLE_KNOWN_H

#include "diagnose/graph.h"

struct qh_known_cycle {
    const char *user;    /* as the finding's: "graph-lock.drain" */
    const char *summary; /* one line, 45 columns at most */
    const char *const *fixed_in;
    size_t fixed_in_count; /* 0: no release is known to have it fixed */
};

/* The one that the cycle looks like, or NULL. It is a name for what was found,
 * and proves nothing: another fault may look the same. */
const struct qh_known_cycle *qh_cycle_known(const struct qh_snapshot *snapshot,
                                            const struct qh_wait_graph *graph,
                                            const struct qh_wait_cycle *cycle);

#endif
