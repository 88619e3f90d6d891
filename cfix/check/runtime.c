/* The model of the runtime: loops, coroutines, timers, memory.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomics.h"
#include "check/world.h"
#include "runtime/co_lock.h"
#include "runtime/main_loop.h"

#define MAX_COROUTINES 6
#define MAX_QUEUE 16
#define MAX_TIMERS 4

struct coroutine {
    /* First: what subjects have pointers to. */
    struct Coroutine co;
    const char *name;
    struct fiber *fiber;
    /* Valid while it runs: to whom it yields. */
    struct fiber *caller;
    bool entered_by_timer;
};

/* What a loop has to do: enter a coroutine, or call a function. */
struct work {
    struct coroutine *co;
    void (*cb)(void *opaque);
    void *opaque;
};

struct home {
    /* First: what subjects have pointers to. */
    struct AioContext ctx;
    struct QEMUTimerList timer_list;
    void (*body)(void);
    struct work queue[MAX_QUEUE];
    unsigned n_queue;
    /* Armed ones, in the order of their arming. */
    struct QEMUTimer *timers[MAX_TIMERS];
    unsigned n_timers;
    unsigned fires_left;
    bool in_timer;
    /* Coroutines that are to end before the thread does. */
    unsigned awaited;
    struct coroutine *running;
    /* Woken from within its own thread's coroutines: entered when those
     * yield. */
    struct coroutine *woken[MAX_COROUTINES];
    unsigned n_woken;
};

/* By thread. */
static struct home homes[CHECK_MAX_THREADS];
static struct coroutine coroutines[MAX_COROUTINES];
static unsigned n_coroutines;
static char arena[4096];
static size_t arena_used;

static struct home *home_of(struct AioContext *ctx)
{
    return (struct home *)ctx;
}

static struct home *here(void)
{
    return &homes[world.running];
}

/* --- coroutines --- */

static void end_coroutine(struct home *home, struct coroutine *co)
{
    if (home->n_timers) {
        check_violate(CHECK_FREED, "%s ends, and its timer is still armed",
                      co->name);
    }
    check_note("%s ends", co->name);
    check_forget(&co->co, sizeof(co->co));
    home->awaited--;
    home->running = NULL;
    world.fiber = co->caller;
    fiber_switch(co->fiber, co->caller);
}

static void coroutine_entry(void *arg)
{
    struct coroutine *co = arg;

    co->co.entry(co->co.entry_arg);
    end_coroutine(here(), co);
}

static void enter_one(struct home *home, struct coroutine *co)
{
    const char *scheduled = cfix_load_relaxed(&co->co.scheduled);

    if (scheduled || co->caller) {
        check_violate(CHECK_ABORT, "%s is entered while it is in %s", co->name,
                      scheduled ? scheduled : "its caller's hands");
    }
    check_note("%s goes on", co->name);
    if (!co->co.ctx) {
        /* Only this thread ever stores it, and always the same. */
        cfix_store_release(&co->co.ctx, &home->ctx);
    }
    co->entered_by_timer = home->in_timer;
    co->caller = world.fiber;
    home->running = co;
    world.fiber = co->fiber;
    fiber_switch(co->caller, co->fiber);
    co->caller = NULL;
}

static void enter(struct home *home, struct coroutine *co)
{
    enter_one(home, co);
    while (home->n_woken) {
        enter_one(home, home->woken[--home->n_woken]);
    }
}

struct Coroutine *qemu_coroutine_self(void)
{
    return &here()->running->co;
}

bool qemu_in_coroutine(void)
{
    return here()->running != NULL;
}

void qemu_coroutine_yield(void)
{
    struct home *home = here();
    struct coroutine *co = home->running;

    check_note("yields");
    home->running = NULL;
    world.fiber = co->caller;
    fiber_switch(co->fiber, co->caller);
}

bool check_entered_by_timer(void)
{
    return here()->running->entered_by_timer;
}

/* --- loops --- */

static unsigned always(const void *addr)
{
    return 1;
}

static unsigned loop_choices(const void *addr)
{
    const struct home *home = addr;

    return (home->n_queue > 0) + (home->n_timers > 0 && home->fires_left > 0);
}

unsigned runtime_sync(void *object, unsigned (*choices)(const void *addr),
                      const char *text)
{
    const struct check_access access = {
        .kind = CHECK_SYNC,
        .order = CHECK_SEQ_CST,
        .addr = object,
        .choices = choices,
        .text = text,
    };

    return (unsigned)check_access(&access);
}

static void post(struct home *home, struct work work)
{
    runtime_sync(home, always, work.co ? "to its loop" : "kicks the loop");
    if (work.co) {
        check_note("%s", work.co->name);
    }
    if (home->n_queue == MAX_QUEUE) {
        world.overflow = true;
        return;
    }
    home->queue[home->n_queue++] = work;
}

static void run_work(struct home *home)
{
    struct work work = home->queue[0];

    home->n_queue--;
    memmove(&home->queue[0], &home->queue[1],
            home->n_queue * sizeof(home->queue[0]));
    if (!work.co) {
        work.cb(work.opaque);
        return;
    }
    cfix_store_relaxed(&work.co->co.scheduled, NULL);
    enter(home, work.co);
}

static void run_timer(struct home *home)
{
    struct QEMUTimer *ts = home->timers[0];
    void (*cb)(void *) = ts->cb;
    void *opaque = ts->opaque;

    home->fires_left--;
    timer_del(ts);
    check_note("the timer fires");
    home->in_timer = true;
    cb(opaque);
    home->in_timer = false;
}

static void serve(struct home *home)
{
    bool has_work;
    unsigned choice = runtime_sync(home, loop_choices, "loop");

    has_work = home->n_queue > 0;
    if (has_work && choice == 0) {
        run_work(home);
    } else {
        run_timer(home);
    }
}

bool aio_poll(struct AioContext *ctx, bool blocking)
{
    serve(home_of(ctx));
    return true;
}

void aio_bh_schedule_oneshot(struct AioContext *ctx, const char *name,
                             void (*cb)(void *opaque), void *opaque)
{
    post(home_of(ctx), (struct work){ .cb = cb, .opaque = opaque });
}

static void schedule(struct home *home, struct coroutine *co)
{
    const char *scheduled =
        cfix_cmpxchg(&co->co.scheduled, NULL, "aio_co_schedule");

    if (scheduled) {
        check_violate(CHECK_ABORT, "%s is scheduled while it is in %s",
                      co->name, scheduled);
    }
    post(home, (struct work){ .co = co });
}

void aio_co_wake(struct Coroutine *co)
{
    struct home *home = home_of(cfix_load_acquire(&co->ctx));

    if (!home) {
        check_violate(CHECK_ABORT, "the sleeper's context is not seen");
    }
    if (home != here()) {
        schedule(home, (struct coroutine *)co);
    } else if (home->running) {
        home->woken[home->n_woken++] = (struct coroutine *)co;
    } else {
        enter(home, (struct coroutine *)co);
    }
}

struct AioContext *qemu_get_current_aio_context(void)
{
    return &here()->ctx;
}

struct AioContext *qemu_get_aio_context(void)
{
    return &homes[0].ctx;
}

bool runtime_needs_timer(const struct thread *thread)
{
    const struct home *home = &homes[thread - world.threads];

    return !thread->ended && thread->access.kind == CHECK_SYNC &&
           thread->access.addr == home && thread->access.choices != always &&
           !home->n_queue && home->n_timers > 0;
}

bool runtime_force_timer(struct thread *thread)
{
    struct home *home = &homes[thread - world.threads];

    if (!runtime_needs_timer(thread)) {
        return false;
    }
    if (!home->fires_left) {
        home->fires_left = 1;
    }
    return true;
}

/* --- making the world --- */

static void home_entry(void *arg)
{
    struct home *home = arg;

    /* Those that setup has put there: nobody else knows of them yet. */
    while (home->n_woken) {
        enter_one(home, home->woken[--home->n_woken]);
    }
    if (home->body) {
        home->body();
    }
    while (home->awaited) {
        serve(home);
    }
}

struct AioContext *check_home(const char *name, void (*body)(void),
                              unsigned n_awaited)
{
    struct home *home = &homes[world.n_threads];

    home->body = body;
    home->awaited = n_awaited;
    home->fires_left = 2;
    home->timer_list.notify_opaque = home;
    for (int i = 0; i < QEMU_CLOCK_MAX; i++) {
        home->ctx.tlg.tl[i] = &home->timer_list;
    }
    check_name(&home->ctx, name);
    check_thread(name, home_entry, home);
    return &home->ctx;
}

void check_coroutine(struct AioContext *ctx, const char *name,
                     void (*entry)(void *arg), void *arg)
{
    struct home *home = home_of(ctx);
    struct coroutine *co = &coroutines[n_coroutines++];

    co->name = name;
    co->co.entry = entry;
    co->co.entry_arg = arg;
    co->fiber = explore_fiber();
    fiber_start(co->fiber, coroutine_entry, co);
    check_name(co, name);
    if (world.running < 0) {
        home->woken[home->n_woken++] = co;
    } else {
        schedule(home, co);
    }
}

void check_timer_budget(unsigned fires)
{
    for (int i = 0; i < CHECK_MAX_THREADS; i++) {
        homes[i].fires_left = fires;
    }
}

void runtime_limit_fires(unsigned fires)
{
    for (int i = 0; i < CHECK_MAX_THREADS; i++) {
        if (homes[i].fires_left > fires) {
            homes[i].fires_left = fires;
        }
    }
}

/* --- timers: their list belongs to one thread, so no step --- */

int64_t qemu_clock_get_ns(enum QEMUClockType type)
{
    return 0;
}

static bool is_armed(struct home *home, const struct QEMUTimer *ts,
                     unsigned *ret_index)
{
    for (unsigned i = 0; i < home->n_timers; i++) {
        if (home->timers[i] == ts) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

void timer_init(struct QEMUTimer *ts, struct QEMUTimerList *timer_list,
                void (*cb)(void *opaque), void *opaque)
{
    unsigned index;

    if (is_armed(timer_list->notify_opaque, ts, &index)) {
        check_violate(CHECK_FREED, "the last sleep's timer is still armed");
    }
    *ts = (struct QEMUTimer){
        .expire_time = -1,
        .timer_list = timer_list,
        .cb = cb,
        .opaque = opaque,
    };
}

void timer_mod_ns(struct QEMUTimer *ts, int64_t expire_time)
{
    struct home *home = ts->timer_list->notify_opaque;

    if (home->n_timers == MAX_TIMERS) {
        world.overflow = true;
        return;
    }
    ts->expire_time = expire_time;
    home->timers[home->n_timers++] = ts;
}

void timer_del(struct QEMUTimer *ts)
{
    struct home *home = ts->timer_list->notify_opaque;
    unsigned index;

    if (is_armed(home, ts, &index)) {
        ts->expire_time = -1;
        home->timers[index] = home->timers[--home->n_timers];
    }
}

/* --- memory --- */

void *cfix_zalloc(size_t size)
{
    void *mem = &arena[arena_used];

    arena_used += (size + 15) & ~(size_t)15;
    if (arena_used > sizeof(arena)) {
        cfix_die("the arena of a checked program");
    }
    return mem;
}

void cfix_die(const char *what)
{
    fprintf(stderr, "cfix-check: %s\n", what);
    abort();
}
