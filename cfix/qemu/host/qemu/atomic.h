/* include/qemu/atomic.h for the drop-in; see osdep.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_HOST_ATOMIC_H
#define CFIX_HOST_ATOMIC_H

#include "atomics.h"

#define qatomic_read(p) cfix_load_relaxed(p)
#define qatomic_set(p, v) cfix_store_relaxed(p, v)
#define qatomic_xchg(p, v) cfix_exchange(p, v)
#define qatomic_cmpxchg(p, expected, desired) cfix_cmpxchg(p, expected, desired)

#endif
