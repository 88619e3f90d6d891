/* One execution of a program: what threads call, and what drives them.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "check/explorer.h"

struct explorer *explorer;

static unsigned fibers_used;

struct fiber *explore_fiber(void)
{
    if (fibers_used == POOL_FIBERS) {
        fprintf(stderr, "cfix-check: too many fibers in one program\n");
        abort();
    }
    if (!explorer->pool[fibers_used]) {
        explorer->pool[fibers_used] = fiber_create();
    }
    return explorer->pool[fibers_used++];
}

/* --- from inside the world --- */

int check_self(void)
{
    return world.running;
}

static void thread_entry(void *arg)
{
    struct thread *thread = arg;

    thread->entry(thread->arg);
    thread->ended = true;
    fiber_switch(world.fiber, explorer->leader);
}

void check_thread(const char *name, void (*entry)(void *arg), void *arg)
{
    struct thread *thread = &world.threads[world.n_threads++];

    thread->name = name;
    thread->entry = entry;
    thread->arg = arg;
    thread->at = explore_fiber();
    fiber_start(thread->at, thread_entry, thread);
}

uint64_t check_access(const struct check_access *access)
{
    struct thread *thread;

    if (world.running < 0) {
        /* Setup and end: memory is what it is. */
        struct thread nobody = { .access = *access };

        if (access->kind == CHECK_SYNC && !access->choices(access->addr)) {
            fprintf(stderr, "cfix-check: setup would wait\n");
            abort();
        }
        return memory_perform(&nobody, 0);
    }
    thread = &world.threads[world.running];
    thread->access = *access;
    thread->at = world.fiber;
    memory_pending(thread);
    fiber_switch(world.fiber, explorer->leader);
    if (world_is_forgotten(access->addr)) {
        check_violate(CHECK_FREED, "%s is used after its owner gave it up",
                      access->text);
    }
    return thread->result;
}

void check_note(const char *format, ...)
{
    char text[128];
    va_list args;

    if (explorer->trace) {
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        trace_note(explorer->trace, text);
    }
}

static void note_violation(enum check_violation violation, const char *format,
                           va_list args)
{
    struct check_result *result = explorer->result;

    explorer->violation = violation;
    free(result->message);
    if (vasprintf(&result->message, format, args) < 0) {
        result->message = NULL;
    }
}

void check_violate(enum check_violation violation, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    note_violation(violation, format, args);
    va_end(args);
    fiber_switch(world.fiber, explorer->leader);
    abort();
}

void check_claim(bool ok, const char *what)
{
    if (!ok) {
        check_violate(CHECK_CLAIM, "%s", what);
    }
}

/* --- one execution --- */

void execution_violate(enum check_violation violation, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    note_violation(violation, format, args);
    va_end(args);
}

static void resume(int running, struct fiber *fiber)
{
    world.running = running;
    world.fiber = fiber;
    fiber_switch(explorer->leader, fiber);
    world.running = -1;
}

static void end_entry(void *arg)
{
    const struct check *check = arg;

    check->program->end(check->subject);
    fiber_switch(world.fiber, explorer->leader);
}

void execution_begin(struct explorer *x)
{
    world_restore(x->pristine);
    x->depth = 0;
    x->violation = CHECK_NONE;
    x->stopped_short = false;
    world.model = x->check->model;
    world.running = -1;
    x->check->program->setup(x->check->subject);
    if (x->shortening) {
        runtime_limit_fires(x->max_fires);
    }
    for (int i = 0; i < world.n_threads; i++) {
        resume(i, world.threads[i].at);
    }
}

static uint8_t enabled_transitions(void)
{
    uint8_t enabled = 0;

    for (int i = 0; i < world.n_threads; i++) {
        if (memory_choices(&world.threads[i])) {
            enabled |= BIT(i);
        }
        if (world.threads[i].n_buffered) {
            enabled |= BIT(FLUSH + i);
        }
    }
    return enabled;
}

/* Whether nothing but timers can go on: at least one, and nothing else. */
static bool only_timers(uint8_t enabled)
{
    bool timers = false;

    for (int i = 0; i < world.n_threads; i++) {
        if (runtime_needs_timer(&world.threads[i])) {
            timers = true;
            enabled &= (uint8_t)~BIT(i);
        }
    }
    return timers && !enabled;
}

/* Time passes until the timers that are armed fire.  What that enables. */
static uint8_t let_time_pass(void)
{
    for (int i = 0; i < world.n_threads; i++) {
        if (runtime_force_timer(&world.threads[i])) {
            memory_catch_up(&world.threads[i]);
        }
    }
    return enabled_transitions();
}

static void find_deadlock(void)
{
    for (int i = 0; i < world.n_threads; i++) {
        if (!world.threads[i].ended) {
            execution_violate(CHECK_DEADLOCK,
                              "%s waits, and nobody is left who could end that",
                              world.threads[i].name);
        }
    }
}

static void finish(struct explorer *x)
{
    struct fiber *fiber;

    find_deadlock();
    if (x->violation || !x->check->program->end) {
        return;
    }
    fiber = explore_fiber();
    fiber_start(fiber, end_entry, (void *)x->check);
    resume(-1, fiber);
}

static struct footprint footprint_of(int transition)
{
    const struct thread *thread = &world.threads[transition % FLUSH];

    if (transition >= FLUSH) {
        return (struct footprint){ thread->buffer[0].addr, true };
    }
    return memory_footprint(thread);
}

/*
 * Whether the order of the two matters.  A thread and its own buffer: no.  It
 * reads its own newest store wherever that is, and who needs the buffer empty
 * is not enabled before.
 */
bool execution_dependent(int a, int b)
{
    struct footprint at = footprint_of(a);
    struct footprint bt = footprint_of(b);

    if (a % FLUSH == b % FLUSH) {
        return a == b;
    }
    return at.addr && at.addr == bt.addr && (at.writes || bt.writes);
}

uint8_t execution_choices(const struct explorer *x, unsigned transition)
{
    const struct thread *thread = &world.threads[transition % FLUSH];

    if (transition >= FLUSH || (x->shortening && x->latest_values_only &&
                                thread->access.kind == CHECK_LOAD)) {
        return 1;
    }
    return (uint8_t)memory_choices(thread);
}

void execution_step(struct explorer *x, const struct node *node)
{
    struct thread *thread = &world.threads[node->chosen % FLUSH];
    bool flush = node->chosen >= FLUSH;

    if (!flush) {
        thread->result = memory_perform(thread, node->choice);
    }
    if (x->trace) {
        trace_step(x->trace, thread, flush, thread->result, node->choice);
    }
    if (flush) {
        memory_flush(thread);
    } else {
        resume((int)(thread - world.threads), thread->at);
    }
}

/* What can be done now; 0 if the execution is at its end. */
uint8_t execution_look(struct explorer *x)
{
    uint8_t enabled;

    if (x->violation || world.limit_met) {
        return 0;
    }
    enabled = enabled_transitions();
    if (only_timers(enabled)) {
        if (x->check->program->timer_is_loss) {
            execution_violate(CHECK_HEALS_BY_TIMER,
                              "who was woken sleeps on until a timer fires");
            return 0;
        }
        enabled = let_time_pass();
    }
    if (!enabled) {
        finish(x);
    }
    return enabled;
}
