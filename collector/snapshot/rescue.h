/* What a rescue rests on, as it stands at one instant; plain data.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Besides the snapshot, which tells what hangs, a rescue has to know where the
 * very words lie that it would write, and what is linked around them. qemu/
 * reads it, under the same stop as the snapshot, for one finding; rescue/
 * judges it. Nothing in it is checked yet.
 *
 * Source of facts: include/qemu/timer.h and util/qemu-timer.c (QEMUTimer,
 * QEMUTimerList, timerlist_run_timers), include/qemu/thread.h (QemuMutex,
 * QemuEvent), include/qemu/event_notifier.h.
 */
#ifndef QH_SNAPSHOT_RESCUE_H
#define QH_SNAPSHOT_RESCUE_H

#include "snapshot/snapshot.h"

/* A QEMUTimer, with the places of the two members that may be written. */
struct qh_rescue_timer {
    struct raddr address;
    struct raddr expire_at;
    struct raddr next_at;
    int64_t expire_ns; /* -1: not armed */
    struct raddr next;
    struct raddr list; /* what it says its QEMUTimerList is */
    struct raddr opaque;
    const char *callback; /* function name, or NULL */
};

/* The QEMUTimerList that it belongs to. */
struct qh_rescue_list {
    struct raddr address;
    struct raddr first_at; /* active_timers */
    struct raddr notifies; /* notify_opaque: the AioContext that serves it */
    uint64_t clock;        /* QEMUClock.type */
    bool clock_enabled;
    uint32_t lock; /* of active_timers_lock; 0: nobody holds it */
    uint32_t done; /* of timers_done_ev; 0: set, nobody runs the timers */
    struct qh_rescue_timer *timers; /* all that are linked, first to last */
    size_t timer_count;
};

/* An AioContext's EventNotifier. */
struct qh_rescue_notifier {
    struct raddr context;
    struct raddr address;
    int read_fd, write_fd;
    bool ready; /* `initialized`; true where the build has no such member */
};

/* A sleeper, its timer and that one's list. */
struct qh_rescue_sleep {
    struct raddr to_wake_at; /* the word in its QemuCoSleep */
    struct raddr to_wake;
    struct qh_rescue_timer timer;
    struct qh_rescue_list list;
};

#endif
