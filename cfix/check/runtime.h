/* The model of the runtime: loops, coroutines, timers, mutexes.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_CHECK_RUNTIME_H
#define CFIX_CHECK_RUNTIME_H

/*
 * What subjects and programs call of runtime/ is here with the same meaning,
 * in few steps: qemu_coroutine_self and _yield, aio_co_wake, aio_poll,
 * aio_bh_schedule_oneshot, the timers, qemu_mutex_lock and _unlock.  A loop is
 * a queue that others put coroutines and bottom halves into, one step each,
 * and that its home thread takes them from, one step each; if there is nothing
 * the thread waits.  A timer that is armed is a second outcome of that step.
 * So a loop never misses what is in its queue: the runtime's own notification
 * protocol is not what is checked here.
 *
 * Every thread may have a loop; it is then a home.
 */
#include "check/check.h"
#include "runtime/aio.h"

/*
 * A thread that runs `body` (may be NULL) outside of coroutines, and then its
 * loop until `coroutines` of its coroutines have ended.  During setup.
 */
struct AioContext *check_home(const char *name, void (*body)(void),
                              unsigned coroutines);

/*
 * A coroutine with that home.  During setup: it runs as soon as the home's
 * thread does, before `body`.  From another thread: through the home's loop.
 */
void check_coroutine(struct AioContext *home, const char *name,
                     void (*entry)(void *arg), void *arg);

/* How often timers may fire though something else could go on; 2 unless set. */
void check_timer_budget(unsigned fires);

/* Whether it was a timer that the running coroutine was last entered by. */
bool check_entered_by_timer(void);

#endif
