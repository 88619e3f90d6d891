/* Clocks and sorted timer lists.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_RUNTIME_TIMER_H
#define CFIX_RUNTIME_TIMER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "runtime/thread.h"

struct QEMUTimerList;

/* include/qemu/timer.h.  The numbers are the indexes of qemu_clocks[]. */
enum QEMUClockType {
    QEMU_CLOCK_REALTIME = 0, /* CLOCK_MONOTONIC, in ns */
    QEMU_CLOCK_VIRTUAL = 1,  /* never enabled here, as in the storage daemon */
    QEMU_CLOCK_HOST = 2,     /* CLOCK_REALTIME, in ns */
    QEMU_CLOCK_VIRTUAL_RT = 3, /* CLOCK_MONOTONIC: no icount here */
    QEMU_CLOCK_MAX = 4
};

/*
 * One timer, owned and placed by its user (a sleeper's lies on the coroutine's
 * stack).  While armed it is linked into timer_list->active_timers by `next`,
 * earliest first, equal times in the order of arming.  expire_time is
 * absolute, in ns of the list's clock; -1 when not armed.
 */
struct QEMUTimer {
    int64_t expire_time;
    struct QEMUTimerList *timer_list;
    void (*cb)(void *opaque);
    void *opaque;
    struct QEMUTimer *next;
    int attributes;
    int scale;
};

struct QEMUClock {
    LIST_HEAD(, QEMUTimerList) timerlists;
    enum QEMUClockType type;
    bool enabled;
};

/*
 * The timers of one loop on one clock.  `active_timers_lock` guards the chain
 * and the expire_time of every timer in it.  When the earliest time changes,
 * notify_cb(notify_opaque, type) is called so that the loop looks again.
 * `timers_done_ev` is clear while some thread is in timerlist_run_timers.
 * `list` links it into its clock; le_prev is NULL where that was not done.
 */
struct QEMUTimerList {
    struct QEMUClock *clock;
    struct QemuMutex active_timers_lock;
    struct QEMUTimer *active_timers;
    LIST_ENTRY(QEMUTimerList) list;
    void (*notify_cb)(void *opaque, enum QEMUClockType type);
    void *notify_opaque;
    struct QemuEvent timers_done_ev;
};

/* One list a clock. */
struct QEMUTimerListGroup {
    struct QEMUTimerList *tl[QEMU_CLOCK_MAX];
};

/* The timers of the main thread that belong to no AioContext. */
extern struct QEMUTimerListGroup main_loop_tlg;

/* Before anything else here, once, while there is one thread. */
void init_clocks(void (*notify_cb)(void *opaque, enum QEMUClockType type));

/* The reverse of init_clocks; no other group may be left. */
void cleanup_clocks(void);

/* Now, in ns of that clock. */
int64_t qemu_clock_get_ns(enum QEMUClockType type);

/*
 * `listed`: link the lists into their clocks.  QEMU's iohandler_ctx is not
 * linked, because it is made before the clocks are (monitor/monitor.c,
 * monitor_init_globals); the same is done here, on purpose.
 */
void timerlistgroup_init(struct QEMUTimerListGroup *tlg,
                         void (*cb)(void *opaque, enum QEMUClockType type),
                         void *opaque, bool listed);

/* No timer may be armed. */
void timerlistgroup_deinit(struct QEMUTimerListGroup *tlg);

/* Ns until the earliest timer on an enabled clock: 0 = due, -1 = none. */
int64_t timerlistgroup_deadline_ns(struct QEMUTimerListGroup *tlg);

/* Runs what is due, earliest first, in this thread; whether there was any. */
bool timerlistgroup_run_timers(struct QEMUTimerListGroup *tlg);
bool timerlist_run_timers(struct QEMUTimerList *timer_list);

/* An unarmed timer on `timer_list`, which must outlive its arming. */
void timer_init(struct QEMUTimer *ts, struct QEMUTimerList *timer_list,
                void (*cb)(void *opaque), void *opaque);

/* Arms or re-arms for the absolute `expire_time` in ns.  Any thread. */
void timer_mod_ns(struct QEMUTimer *ts, int64_t expire_time);

/* Unarms, if armed.  The callback may be running in the list's thread. */
void timer_del(struct QEMUTimer *ts);

bool timer_pending(struct QEMUTimer *ts);

/* The smaller of two timeouts in ns, where -1 means "for ever". */
int64_t qemu_soonest_timeout(int64_t a, int64_t b);

#endif
