/* Letting traced threads go, those that do not stop when asked among them.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All of this belongs to the one thread that traces, and is to be called with
 * SIGCHLD blocked: the handler works on the same list.
 */
#ifndef QH_TARGET_RELEASE_H
#define QH_TARGET_RELEASE_H

#include "base/base.h"

/* What became of a thread that was asked to stop. */
enum qh_outcome { QH_STILL_RUNNING, QH_STILL, QH_ENDED };

/*
 * Looks without taking the status away (WNOWAIT): should qhang be killed now,
 * the kernel still knows which signal to deliver. `*ret_signal` is written for
 * QH_STILL: the signal that the thread was about to receive when it stopped, 0
 * for a stop of our own or a group stop.
 */
enum qh_outcome qh_release_look(pid_t tid, int *ret_signal);
/* A traced thread that ends waits for its tracer to take note, which this
 * does. The end of qhang's own child is left to whoever started it. */
void qh_release_reap(pid_t tid);
/* Names the target where qhang is its parent, else 0. */
void qh_release_spare(pid_t child);

/* Puts a seized thread on the list; with 256 there, the kernel has to do. */
void qh_release_abandon(pid_t tid);
/* Takes it off again, still seized and asked to stop; false if not there. */
bool qh_release_take_back(pid_t tid);
/* Detaches those that have stopped by now. */
void qh_release_abandoned(void);
/* Installs the handler of SIGCHLD while anybody is on the list, and puts the
 * former one back when nobody is. */
void qh_release_watch(void);

#endif
