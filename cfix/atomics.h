/* Memory ordering: the only header of cfix that names one.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_ATOMICS_H
#define CFIX_ATOMICS_H

#include <stdbool.h>

/*
 * Shared fields are of plain types (int, pointer), so that their debug
 * information is that of QEMU's structs; every access that another thread may
 * race with goes through one of these.  Each use says in a comment which
 * access of the other side it pairs with.
 *
 * Three strengths, no more:
 *
 *   relaxed   the value alone matters, nothing else is read because of it;
 *   acquire / release
 *             the reader of a value also sees what its writer did before;
 *   (no suffix) sequentially consistent.  Two threads that each write one
 *             location and then read the other's cannot both read the old
 *             values.  All sleep/wake and wait/kick handshakes are of this
 *             kind.
 *
 * and, so that a faulty twin can be checked too, `plain`: no atomic access at
 * all, the compiler's and by the letter of C a data race.  Only legacy/ has it.
 *
 * There is no fence here: every handshake is written with sequentially
 * consistent accesses to the locations themselves.  That is as fast on x86
 * (a store becomes xchg), and ThreadSanitizer, which does not model fences,
 * understands it.
 *
 * The arguments are evaluated once.  `p` is a pointer to an integer or pointer
 * of at most eight bytes.  With CFIX_CHECKED the macros are those of the model
 * checker, which sees every access (check/check.h); production code must not
 * use __atomic or <stdatomic.h> beside them.
 */
#ifdef CFIX_CHECKED
#include "check/atomics_checked.h"
#else

#define cfix_load_plain(p) (*(p))
#define cfix_store_plain(p, v) ((void)(*(p) = (v)))

#define cfix_load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define cfix_store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define cfix_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define cfix_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

#define cfix_load(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define cfix_store(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)

/* The value before the operation is returned. */
#define cfix_exchange(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
#define cfix_fetch_add(p, v) __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define cfix_fetch_sub(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_SEQ_CST)
#define cfix_fetch_or(p, v) __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
#define cfix_fetch_and(p, v) __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST)

/*
 * If *p equals `expected`, store `desired`.  Returns what *p held before, so
 * the exchange took place exactly if the result equals `expected`.  Never
 * fails spuriously.
 */
#define cfix_cmpxchg(p, expected, desired)                                     \
    __extension__({                                                            \
        __typeof__(*(p)) cfix_seen_ = (expected);                              \
        (void)__atomic_compare_exchange_n((p), &cfix_seen_, (desired), false,  \
                                          __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
        cfix_seen_;                                                            \
    })

#endif
#endif
