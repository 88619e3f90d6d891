/* AioContext: one event loop's BHs, coroutines, timers and descriptors.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_RUNTIME_AIO_H
#define CFIX_RUNTIME_AIO_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "runtime/coroutine.h"
#include "runtime/event_notifier.h"
#include "runtime/timer.h"

struct AioContext;
struct BdrvGraphRWlock;

/*
 * Whose thread.  Every AioContext has one home thread, in which its aio_poll
 * (or, for the two of the main thread, the main loop) runs, and where its BHs,
 * timers, handlers and coroutines run.  What other threads may do is: schedule
 * a BH, schedule or wake a coroutine, arm a timer, notify.  A context and its
 * coroutines never change their home.
 *
 * The protocol that keeps a wake from being lost (include/block/aio.h):
 *
 *   whoever queues work:  put it on a list;   notified = true;
 *                         if (notify_me) write the eventfd
 *   the home thread:      notify_me += 2 (or |= 1);
 *                         if (notified) do not block;   ppoll;
 *                         notify_me back;   notified = false;
 *                         look at the lists
 *
 * `notified` and `notify_me` are written by one side and then read by the
 * other, so both accesses are sequentially consistent on both sides: never can
 * the one miss notify_me and the other miss notified.
 */

/* Enough of GLib's GSource for an observer: what it is, what it is called. */
struct _GSource {
    const struct _GSourceFuncs *source_funcs;
    char *name;
};

/* util/async.c.  Only contexts of the main loop are driven through these. */
struct _GSourceFuncs {
    /* Lowers *timeout (ns, -1 = for ever); true: do not block at all. */
    bool (*prepare)(struct _GSource *source, int64_t *timeout);
    /* After the poll: whether there is something to dispatch. */
    bool (*check)(struct _GSource *source);
    bool (*dispatch)(struct _GSource *source);
    void (*finalize)(struct _GSource *source);
};

/* QEMUBH.flags, include/block/aio.h: pending exactly if SCHEDULED is set and
 * DELETED is not. */
enum {
    BH_PENDING = 1 << 0,   /* stands in a list */
    BH_SCHEDULED = 1 << 1, /* cb is to be called */
    BH_DELETED = 1 << 2,   /* to be freed, not called */
    BH_ONESHOT = 1 << 3,   /* to be freed after the call */
    BH_IDLE = 1 << 4       /* not in a hurry; nobody sets it here */
};

/* A function call queued for a context's thread. */
struct QEMUBH {
    struct AioContext *ctx;
    const char *name;
    void (*cb)(void *opaque);
    void *opaque;
    SLIST_ENTRY(QEMUBH) next;
    unsigned flags;
};

SLIST_HEAD(BHList, QEMUBH);

/* The BHs that one aio_bh_poll has taken; lies on that call's frame. */
struct BHListSlice {
    struct BHList bh_list;
    SIMPLEQ_ENTRY(BHListSlice) next;
};

struct _GPollFD {
    int fd;
    unsigned short events;
    unsigned short revents;
};

/* One descriptor to watch for reading. */
struct AioHandler {
    struct _GPollFD pfd;
    void (*io_read)(void *opaque);
    void (*io_write)(void *opaque);
    void *opaque;
    LIST_ENTRY(AioHandler) node;
    /* le_prev != NULL: removed while the list was being walked. */
    LIST_ENTRY(AioHandler) node_deleted;
};

LIST_HEAD(AioHandlerList, AioHandler);

/* include/qemu/lockcnt.h: count << 2 | futex state (always 0 here). */
struct QemuLockCnt {
    unsigned count;
};

/* How a context waits for its descriptors; here fdmon_poll_ops, unless set. */
struct FDMonOps {
    /* Waits `timeout` ns (-1 = for ever) and notes the events; their number,
     * or negative. */
    int (*wait)(struct AioContext *ctx, int64_t timeout);
};

extern const struct FDMonOps fdmon_poll_ops;

struct AioContext {
    struct _GSource source;
    /* This context's reader count, owned by the graph lock. */
    struct BdrvGraphRWlock *bdrv_graph;
    /* Written in the home thread; list_lock is up while they are walked. */
    struct AioHandlerList aio_handlers;
    struct AioHandlerList deleted_aio_handlers;
    /* Bit 0: the main loop is between prepare and check.  +2 for each
     * aio_poll in or near its wait. */
    uint32_t notify_me;
    struct QemuLockCnt list_lock;
    /* Newest first; pushed by any thread, taken whole by the home thread. */
    struct BHList bh_list;
    SIMPLEQ_HEAD(, BHListSlice) bh_slice_list;
    /* Work was queued since the home thread last came to look. */
    bool notified;
    struct EventNotifier notifier;
    /* Newest first; pushed by any thread, taken whole by co_schedule_bh. */
    SLIST_HEAD(, Coroutine) scheduled_coroutines;
    struct QEMUBH *co_schedule_bh;
    /* This runtime has none; a victim may give one to a context. */
    struct ThreadPoolAio *thread_pool;
    struct QEMUTimerListGroup tlg;
    /* This runtime never busy-polls: false and 0. */
    bool poll_started;
    int64_t poll_max_ns;
    const struct FDMonOps *fdmon_ops;
};

/* --- contexts --- */

/* `name` becomes source.name (copied).  `listed`: see timerlistgroup_init. */
struct AioContext *aio_context_new(const char *name, bool listed);

/* Nothing may be pending in it, and no thread may be using it. */
void aio_context_free(struct AioContext *ctx);

struct AioContext *qemu_get_current_aio_context(void);
/* Makes the calling thread `ctx`'s home; NULL when it stops being that. */
void qemu_set_current_aio_context(struct AioContext *ctx);
bool in_aio_context_home_thread(struct AioContext *ctx);

/* --- waking the loop --- */

/* After queueing work: makes the home thread look at it.  Any thread. */
void aio_notify(struct AioContext *ctx);
/* The home thread has come to look. */
void aio_notify_accept(struct AioContext *ctx);

/* --- bottom halves --- */

/* `name` is a string constant.  The BH belongs to the caller until
 * qemu_bh_delete. */
struct QEMUBH *aio_bh_new(struct AioContext *ctx, const char *name,
                          void (*cb)(void *opaque), void *opaque);
void qemu_bh_schedule(struct QEMUBH *bh);
void qemu_bh_delete(struct QEMUBH *bh);
/* Calls cb(opaque) once in ctx's home thread, soon.  Any thread. */
void aio_bh_schedule_oneshot(struct AioContext *ctx, const char *name,
                             void (*cb)(void *opaque), void *opaque);
/* Runs all pending BHs; whether there was one.  Home thread. */
bool aio_bh_poll(struct AioContext *ctx);
/* Whether a BH is to be called.  Home thread only. */
bool aio_bh_pending(struct AioContext *ctx);
/* Frees BHs deleted and not yet taken off the list.  Nobody else is there. */
void aio_bh_cleanup(struct AioContext *ctx);

/* --- coroutines --- */

/*
 * Enters `co` in ctx's home thread, from its loop.  `co` must have yielded or,
 * if called from another thread than its own, be about to.  Aborts if it is
 * already scheduled: two wakes for one yield are a bug of the caller's.
 */
void aio_co_schedule(struct AioContext *ctx, struct Coroutine *co);

/*
 * Goes on with `co` in the context where it last ran: at once if that is this
 * thread's and we are outside of coroutines; as soon as the running coroutine
 * yields if inside one; by aio_co_schedule otherwise.
 */
void aio_co_wake(struct Coroutine *co);
void aio_co_enter(struct AioContext *ctx, struct Coroutine *co);
/* The callback of co_schedule_bh. */
void co_schedule_bh_cb(void *opaque);

/* --- descriptors and polling --- */

/* No more handlers than this in one context. */
#define AIO_MAX_HANDLERS 16

/* Calls io_read(opaque) when `fd` is readable; io_read NULL takes it out.
 * Home thread, or before there is one. */
void aio_set_fd_handler(struct AioContext *ctx, int fd,
                        void (*io_read)(void *opaque), void *opaque);

/* One round: wait (if `blocking`) until there is something, and serve it.
 * Whether anything was.  Home thread; may be called from within a BH. */
bool aio_poll(struct AioContext *ctx, bool blocking);

/* Serves what is there without waiting: BHs, descriptors, timers. */
bool aio_dispatch(struct AioContext *ctx);

/* Ns until there is something to do: 0 = now, -1 = nothing known. */
int64_t aio_compute_timeout(struct AioContext *ctx);

/* notify_cb of the timer lists of every AioContext. */
void aio_timerlist_notify(void *opaque, enum QEMUClockType type);

/* ppoll with a time in ns, -1 = for ever. */
int qemu_poll_ns(struct pollfd *fds, unsigned nfds, int64_t timeout);

/* Appends the context's descriptors to fds[] and returns the new number; the
 * second takes the events back in the same order. */
unsigned aio_fill_pollfds(struct AioContext *ctx, struct pollfd *fds,
                          unsigned nfds);
unsigned aio_take_revents(struct AioContext *ctx, const struct pollfd *fds,
                          unsigned nfds);

#endif
