/* Parking coroutines in several places, as many as asked for.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VICTIMS_PARK_H
#define VICTIMS_PARK_H

#include "runtime/co_lock.h"
#include "runtime/iothread.h"

/* Parks `count` more coroutines in that iothread, every fourth one in a
 * CoQueue, behind a CoMutex, in a plain yield, asleep with a timer an hour and
 * more ahead.  Returns when all are parked and the iothread rests.  Once. */
void park_coroutines(struct IOThread *iothread, unsigned count);

/* Lets all of them end, and returns when they have.  Main thread. */
void park_release(struct IOThread *iothread);

/* Arms `count` timers of that iothread, three minutes and more ahead: sooner
 * than those of the sleepers, and so before them in the list.  Once. */
void park_timers(struct IOThread *iothread, unsigned count);

/* Disarms them. */
void park_release_timers(void);

/* The queue that every fourth stands in. */
struct CoQueue *park_queue(void);

#endif
