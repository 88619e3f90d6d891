/* The macros of atomics.h for the model checker: every access is a point.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_CHECK_ATOMICS_CHECKED_H
#define CFIX_CHECK_ATOMICS_CHECKED_H

/* Included by atomics.h in place of its own macros; see there what they mean.
 * Those that end in _relaxed beyond that list are for mutants. */
#include "check/check.h"

/* `name` is #p of the outermost macro: what the source says, not what other
 * macros make of it. */
/* clang-format off */
#define CHECK_ATOMIC(kind_, order_, p, v, e, name)                             \
    __extension__({                                                            \
        (__typeof__(*(p)))(uintptr_t)check_access(&(struct check_access){      \
            .kind = (kind_),                                                   \
            .order = (order_),                                                 \
            .addr = (void *)(p),                                               \
            .size = sizeof(*(p)),                                              \
            .operand = (uint64_t)(uintptr_t)(v),                               \
            .expected = (uint64_t)(uintptr_t)(e),                              \
            .text = (name),                                                    \
            .is_string = _Generic(*(p), const char *: true, default: false),   \
        });                                                                    \
    })
/* clang-format on */

#define cfix_load_plain(p) CHECK_ATOMIC(CHECK_LOAD, CHECK_PLAIN, p, 0, 0, #p)
#define cfix_load_relaxed(p)                                                   \
    CHECK_ATOMIC(CHECK_LOAD, CHECK_RELAXED, p, 0, 0, #p)
#define cfix_load_acquire(p)                                                   \
    CHECK_ATOMIC(CHECK_LOAD, CHECK_ACQUIRE, p, 0, 0, #p)
#define cfix_load(p) CHECK_ATOMIC(CHECK_LOAD, CHECK_SEQ_CST, p, 0, 0, #p)

#define cfix_store_plain(p, v)                                                 \
    ((void)CHECK_ATOMIC(CHECK_STORE, CHECK_PLAIN, p, v, 0, #p))
#define cfix_store_relaxed(p, v)                                               \
    ((void)CHECK_ATOMIC(CHECK_STORE, CHECK_RELAXED, p, v, 0, #p))
#define cfix_store_release(p, v)                                               \
    ((void)CHECK_ATOMIC(CHECK_STORE, CHECK_RELEASE, p, v, 0, #p))
#define cfix_store(p, v)                                                       \
    ((void)CHECK_ATOMIC(CHECK_STORE, CHECK_SEQ_CST, p, v, 0, #p))

#define cfix_exchange(p, v)                                                    \
    CHECK_ATOMIC(CHECK_EXCHANGE, CHECK_SEQ_CST, p, v, 0, #p)
#define cfix_fetch_add(p, v) CHECK_ATOMIC(CHECK_ADD, CHECK_SEQ_CST, p, v, 0, #p)
#define cfix_fetch_sub(p, v) CHECK_ATOMIC(CHECK_SUB, CHECK_SEQ_CST, p, v, 0, #p)
#define cfix_fetch_or(p, v) CHECK_ATOMIC(CHECK_OR, CHECK_SEQ_CST, p, v, 0, #p)
#define cfix_fetch_and(p, v) CHECK_ATOMIC(CHECK_AND, CHECK_SEQ_CST, p, v, 0, #p)
#define cfix_cmpxchg(p, e, v)                                                  \
    CHECK_ATOMIC(CHECK_CMPXCHG, CHECK_SEQ_CST, p, v, e, #p)

#define cfix_exchange_relaxed(p, v)                                            \
    CHECK_ATOMIC(CHECK_EXCHANGE, CHECK_RELAXED, p, v, 0, #p)
#define cfix_cmpxchg_relaxed(p, e, v)                                          \
    CHECK_ATOMIC(CHECK_CMPXCHG, CHECK_RELAXED, p, v, e, #p)

#endif
