/* Clocks and sorted timer lists.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "runtime/timer.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "atomics.h"

struct QEMUTimerListGroup main_loop_tlg;

static struct QEMUClock qemu_clocks[QEMU_CLOCK_MAX];
/* Guards the `timerlists` chains of all clocks. */
static pthread_mutex_t clocks_lock = PTHREAD_MUTEX_INITIALIZER;

static struct QEMUTimerList *timerlist_new(enum QEMUClockType type,
                                           void (*cb)(void *opaque,
                                                      enum QEMUClockType type),
                                           void *opaque, bool listed)
{
    struct QEMUTimerList *tl = cfix_zalloc(sizeof(*tl));

    tl->clock = &qemu_clocks[type];
    tl->notify_cb = cb;
    tl->notify_opaque = opaque;
    qemu_mutex_init(&tl->active_timers_lock);
    qemu_event_init(&tl->timers_done_ev, true);
    if (listed) {
        pthread_mutex_lock(&clocks_lock);
        LIST_INSERT_HEAD(&tl->clock->timerlists, tl, list);
        pthread_mutex_unlock(&clocks_lock);
    }
    return tl;
}

static void timerlist_free(struct QEMUTimerList *tl)
{
    if (tl->active_timers) {
        errno = 0;
        cfix_die("timerlist_free: a timer is armed");
    }
    if (tl->list.le_prev) {
        pthread_mutex_lock(&clocks_lock);
        LIST_REMOVE(tl, list);
        pthread_mutex_unlock(&clocks_lock);
    }
    qemu_mutex_destroy(&tl->active_timers_lock);
    free(tl);
}

void init_clocks(void (*notify_cb)(void *opaque, enum QEMUClockType type))
{
    for (int type = 0; type < QEMU_CLOCK_MAX; type++) {
        LIST_INIT(&qemu_clocks[type].timerlists);
        qemu_clocks[type].type = (enum QEMUClockType)type;
        qemu_clocks[type].enabled = type != QEMU_CLOCK_VIRTUAL;
    }
    timerlistgroup_init(&main_loop_tlg, notify_cb, NULL, true);
}

void cleanup_clocks(void)
{
    timerlistgroup_deinit(&main_loop_tlg);
}

int64_t qemu_clock_get_ns(enum QEMUClockType type)
{
    struct timespec now;

    clock_gettime(type == QEMU_CLOCK_HOST ? CLOCK_REALTIME : CLOCK_MONOTONIC,
                  &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

void timerlistgroup_init(struct QEMUTimerListGroup *tlg,
                         void (*cb)(void *opaque, enum QEMUClockType type),
                         void *opaque, bool listed)
{
    for (int type = 0; type < QEMU_CLOCK_MAX; type++) {
        tlg->tl[type] =
            timerlist_new((enum QEMUClockType)type, cb, opaque, listed);
    }
}

void timerlistgroup_deinit(struct QEMUTimerListGroup *tlg)
{
    for (int type = 0; type < QEMU_CLOCK_MAX; type++) {
        timerlist_free(tlg->tl[type]);
        tlg->tl[type] = NULL;
    }
}

int64_t qemu_soonest_timeout(int64_t a, int64_t b)
{
    if (a < 0 || b < 0) {
        return a < 0 ? b : a;
    }
    return a < b ? a : b;
}

static int64_t timerlist_deadline_ns(struct QEMUTimerList *tl)
{
    int64_t expire_time = -1;
    int64_t delta;

    if (!tl->clock->enabled) {
        return -1;
    }
    qemu_mutex_lock(&tl->active_timers_lock);
    if (tl->active_timers) {
        expire_time = tl->active_timers->expire_time;
    }
    qemu_mutex_unlock(&tl->active_timers_lock);
    if (expire_time < 0) {
        return -1;
    }
    delta = expire_time - qemu_clock_get_ns(tl->clock->type);
    return delta > 0 ? delta : 0;
}

int64_t timerlistgroup_deadline_ns(struct QEMUTimerListGroup *tlg)
{
    int64_t deadline = -1;

    for (int type = 0; type < QEMU_CLOCK_MAX; type++) {
        deadline = qemu_soonest_timeout(deadline,
                                        timerlist_deadline_ns(tlg->tl[type]));
    }
    return deadline;
}

void timer_init(struct QEMUTimer *ts, struct QEMUTimerList *timer_list,
                void (*cb)(void *opaque), void *opaque)
{
    *ts = (struct QEMUTimer){
        .expire_time = -1,
        .timer_list = timer_list,
        .cb = cb,
        .opaque = opaque,
        .scale = 1,
    };
}

/* All three below: with the list's lock held. */
static void timer_unlink(struct QEMUTimer *ts)
{
    struct QEMUTimer **link = &ts->timer_list->active_timers;

    ts->expire_time = -1;
    while (*link && *link != ts) {
        link = &(*link)->next;
    }
    if (*link) {
        *link = ts->next;
        ts->next = NULL;
    }
}

/* Whether `ts` is now the first of its list. */
static bool timer_insert(struct QEMUTimer *ts, int64_t expire_time)
{
    struct QEMUTimer **link = &ts->timer_list->active_timers;

    while (*link && (*link)->expire_time <= expire_time) {
        link = &(*link)->next;
    }
    ts->expire_time = expire_time;
    ts->next = *link;
    *link = ts;
    return link == &ts->timer_list->active_timers;
}

static struct QEMUTimer *timer_take_due(struct QEMUTimerList *tl, int64_t now)
{
    struct QEMUTimer *ts = tl->active_timers;

    if (!ts || ts->expire_time > now) {
        return NULL;
    }
    tl->active_timers = ts->next;
    ts->next = NULL;
    ts->expire_time = -1;
    return ts;
}

void timer_mod_ns(struct QEMUTimer *ts, int64_t expire_time)
{
    struct QEMUTimerList *tl = ts->timer_list;
    bool first;

    qemu_mutex_lock(&tl->active_timers_lock);
    timer_unlink(ts);
    first = timer_insert(ts, expire_time > 0 ? expire_time : 0);
    qemu_mutex_unlock(&tl->active_timers_lock);
    if (first) {
        tl->notify_cb(tl->notify_opaque, tl->clock->type);
    }
}

void timer_del(struct QEMUTimer *ts)
{
    qemu_mutex_lock(&ts->timer_list->active_timers_lock);
    timer_unlink(ts);
    qemu_mutex_unlock(&ts->timer_list->active_timers_lock);
}

bool timer_pending(struct QEMUTimer *ts)
{
    bool pending;

    qemu_mutex_lock(&ts->timer_list->active_timers_lock);
    pending = ts->expire_time >= 0;
    qemu_mutex_unlock(&ts->timer_list->active_timers_lock);
    return pending;
}

bool timerlist_run_timers(struct QEMUTimerList *timer_list)
{
    int64_t now;
    bool progress = false;

    if (!timer_list->clock->enabled) {
        return false;
    }
    qemu_event_reset(&timer_list->timers_done_ev);
    now = qemu_clock_get_ns(timer_list->clock->type);
    for (;;) {
        void (*cb)(void *) = NULL;
        void *opaque = NULL;
        struct QEMUTimer *ts;

        qemu_mutex_lock(&timer_list->active_timers_lock);
        ts = timer_take_due(timer_list, now);
        if (ts) {
            /* Copied under the lock: once it is dropped, the timer's owner
             * may free it. */
            cb = ts->cb;
            opaque = ts->opaque;
        }
        qemu_mutex_unlock(&timer_list->active_timers_lock);
        if (!ts) {
            break;
        }
        cb(opaque);
        progress = true;
    }
    qemu_event_set(&timer_list->timers_done_ev);
    return progress;
}

bool timerlistgroup_run_timers(struct QEMUTimerListGroup *tlg)
{
    bool progress = false;

    for (int type = 0; type < QEMU_CLOCK_MAX; type++) {
        progress |= timerlist_run_timers(tlg->tl[type]);
    }
    return progress;
}
