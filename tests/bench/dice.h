/* Dice for each thread, and the time: what the racing programs share.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BENCH_DICE_H
#define BENCH_DICE_H

#include <stdint.h>
#include <time.h>

#include "runtime/thread.h"

/* Set before the first roll. */
static uint64_t dice_seed;
static __thread uint64_t dice_state;

/* The next of this thread's random numbers; Marsaglia's xorshift64. */
static inline uint64_t dice_roll(void)
{
    if (!dice_state) {
        dice_state = dice_seed * UINT64_C(0x9e3779b97f4a7c15) +
                     (uint64_t)qemu_get_thread_id();
    }
    dice_state ^= dice_state << 13;
    dice_state ^= dice_state >> 7;
    dice_state ^= dice_state << 17;
    return dice_state;
}

/* CLOCK_MONOTONIC. */
static inline int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static inline void spin_ns(int64_t ns)
{
    int64_t until = now_ns() + ns;

    while (now_ns() < until) {
    }
}

#endif
