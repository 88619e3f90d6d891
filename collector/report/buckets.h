/* Coroutines in buckets: chosen by filters, equal ones together.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Pure, for every renderer. The cost is linear in the number of coroutines and
 * of their frames.
 */
#ifndef QH_BUCKETS_H
#define QH_BUCKETS_H

#include "snapshot/snapshot.h"

/* X(constant, name on the command line and in JSON) */
#define QH_GROUPINGS(X)                                                        \
    /* Same state, same kind of wait, same code addresses on the stack. */     \
    X(QH_GROUP_STACK, "stack")                                                 \
    /* Same state, same kind of wait, same object: who stands at one lock. */  \
    X(QH_GROUP_WAIT, "wait")                                                   \
    X(QH_GROUP_NONE, "none") /* each for itself */

#define QH_ENUMERATOR(constant, name) constant,
enum qh_grouping { QH_GROUPINGS(QH_ENUMERATOR) };
#undef QH_ENUMERATOR
const char *qh_grouping_name(enum qh_grouping grouping);

/* What is to be shown; all zero is everything. */
struct qh_co_filter {
    bool by_state;
    enum qh_coroutine_state state;
    bool by_kind;
    enum qh_wait_kind kind;
    const char *context;  /* "io0", its whole name, or its address; NULL: any */
    const char *function; /* on the stack, a pattern of fnmatch(3); or NULL */
};

struct qh_co_bucket {
    size_t *members; /* indices of coroutines, in order of stack */
    size_t count;
    /* Of the first member: its wait, or NULL. */
    const struct qh_wait *wait;
    bool same_stack;  /* all have the same frames */
    bool same_object; /* all wait on the same object */
    bool same_context;
};

struct qh_co_buckets {
    struct qh_arena arena;      /* all of it; qh_co_buckets_deinit() */
    struct qh_co_bucket *items; /* largest first, pooled ones last */
    size_t count;
    size_t shown; /* coroutines that the filter let through */
    /* For each coroutine of the snapshot: its wait, or NULL; and its bucket, or
     * SIZE_MAX when the filter left it out. */
    const struct qh_wait **waits;
    size_t *bucket_of;
};

struct qh_error *qh_co_buckets_make(const struct qh_snapshot *snapshot,
                                    const struct qh_co_filter *filter,
                                    enum qh_grouping grouping,
                                    struct qh_co_buckets *ret) QH_MUST_CHECK;
void qh_co_buckets_deinit(struct qh_co_buckets *buckets);

/* Whether a context is meant by `text`, as in the filter. */
bool qh_co_context_is(const struct qh_context *context, const char *text);

#endif
