/* The pulse of one main loop, from counters: nothing is stopped.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An idle main loop makes no progress either, so counters alone tell nothing.
 * What tells is where it sleeps. The kernel shows of a sleeping thread its
 * stack pointer (/proc/PID/task/TID/syscall), and a main loop at rest always
 * sleeps at the same depth: main_loop_wait() is called by main() and by nobody
 * else, while every nested wait, an aio_poll() or a lock, lies deeper. That
 * depth is called its home. A look with debug information, which stops nobody
 * either, learns it (qh_pulse_learn()); from then on one number tells an idle
 * loop from one that waits for something.
 *
 * What is suspicious is not yet a hang: only a diagnosis can tell.
 */
#ifndef QH_PULSE_H
#define QH_PULSE_H

#include "snapshot/snapshot.h"
#include "watch/reading.h"

/* In rising order. */
enum qh_suspicion {
    QH_SUSPICION_NONE,
    /* At home, and has not woken: idle, but another loop may be stuck, or one
     * may have forgotten to wake this one. */
    QH_SUSPICION_IDLE,
    /* Always seen in the same wait, which is not its home, though it wakes up
     * in between. */
    QH_SUSPICION_TURNS,
    /* Asleep in a wait that is not its home, and has not woken. */
    QH_SUSPICION_STALLED
};

/* Zero-initialise one to begin. All times are CLOCK_MONOTONIC. */
struct qh_pulse {
    uint64_t home_sp; /* 0: not known yet */
    struct qh_reading last;
    bool taken;
    int64_t moved_ns; /* when it was last seen to have moved */
    int64_t place_ns; /* since when it has been seen in this place */
};

/* Takes the next reading in. */
void qh_pulse_feed(struct qh_pulse *pulse, const struct qh_reading *reading,
                   int64_t now_ns);
/* What it looks like when it is to be suspected after `after_ns`. */
enum qh_suspicion qh_pulse_suspicion(const struct qh_pulse *pulse,
                                     int64_t now_ns, int64_t after_ns);
/* How long it has been away from home in the same place; 0: it is not. */
int64_t qh_pulse_stalled_ns(const struct qh_pulse *pulse, int64_t now_ns);
bool qh_pulse_is_home(const struct qh_pulse *pulse);

/* Learns the home from a snapshot in which the main thread is at rest, stopped
 * or not; from any other, nothing. */
void qh_pulse_learn(struct qh_pulse *pulse, const struct qh_snapshot *snapshot);

#endif
