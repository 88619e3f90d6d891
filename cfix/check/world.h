/* The checked world: its threads and its memory.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_CHECK_WORLD_H
#define CFIX_CHECK_WORLD_H

#include <stddef.h>

#include "check/check.h"
#include "check/fiber.h"

/* Between the files of the checker; programs need check.h only. */

#define WORLD_LOCATIONS 24
#define WORLD_VALUES 32
#define WORLD_BUFFER 16
#define WORLD_NAMES 24

/* For each location, the index of the newest value known to be written. */
struct view {
    uint8_t seen[WORLD_LOCATIONS];
};

/* A store on its way to memory. */
struct buffered {
    void *addr;
    unsigned size;
    uint64_t value;
    const char *text;
    bool is_string;
};

struct thread {
    const char *name;
    void (*entry)(void *arg);
    void *arg;
    /* What it will do when it is let go on, and the fiber that waits for it. */
    struct check_access access;
    struct fiber *at;
    uint64_t result;
    bool ended;
    /* c11: and the latest value's index when `access` became what it is. */
    struct view view;
    unsigned latest_then;
    /* tso, oldest first */
    struct buffered buffer[WORLD_BUFFER];
    unsigned n_buffered;
};

struct world {
    enum check_model model;
    struct thread threads[CHECK_MAX_THREADS];
    int n_threads;
    /* Who runs, or -1; and on which fiber. */
    int running;
    struct fiber *fiber;
    /* check_limit(); and it was met. */
    const void *limit_addr;
    unsigned limit_writes;
    bool limit_met;
    /* An execution needed more room than there is. */
    bool overflow;
    struct {
        const void *addr;
        const char *name;
    } names[WORLD_NAMES];
    unsigned n_names;
    struct {
        const char *addr;
        unsigned size;
    } forgotten[8];
    unsigned n_forgotten;
};

extern struct world world;

/* --- world.c --- */

/* Remembers all static memory of the program; puts it back. */
void *world_copy(void);
void world_restore(const void *copy);

/* Sets `name` for a value of eight bytes, or writes the number, into buf. */
const char *world_value(uint64_t value, unsigned size, bool is_string,
                        char *buf, size_t buf_bytes);

bool world_is_forgotten(const void *addr);

/* --- memory.c: what one step does, by the model --- */

/* The thread has come to its next step: `access` is set. */
void memory_pending(struct thread *thread);

/* How many outcomes the thread's next step has; 0: it cannot be made now. */
unsigned memory_choices(const struct thread *thread);

/* Makes it. */
uint64_t memory_perform(struct thread *thread, unsigned choice);

/* The oldest buffered store reaches memory.  There is one. */
void memory_flush(struct thread *thread);

/* The thread learns of all that was ever written: time has passed. */
void memory_catch_up(struct thread *thread);

/* What the step touches; steps that touch different objects, or both only
 * read, commute.  NULL: nothing that others see. */
struct footprint {
    const void *addr;
    bool writes;
};
struct footprint memory_footprint(const struct thread *thread);

/* --- explore.c --- */

/* A fiber of this execution, from a pool. */
struct fiber *explore_fiber(void);

/* --- runtime.c --- */

/*
 * A step on `object`, a home or a mutex, which can be taken while `choices` of
 * it are more than 0; which of them was taken.
 */
unsigned runtime_sync(void *object, unsigned (*choices)(const void *addr),
                      const char *text);

/* The thread can go on only because a timer of its loop may fire. */
bool runtime_needs_timer(const struct thread *thread);

/* The same if one may be made to fire; it then may, once. */
bool runtime_force_timer(struct thread *thread);

/* No more spontaneous ones than this, whatever the program says. */
void runtime_limit_fires(unsigned fires);

/* --- trace.c --- */

struct trace;

struct trace *trace_create(void);
/* The text, owned by the caller; frees the trace. */
char *trace_finish(struct trace *trace);
/* `flush`: it is the oldest buffered store that is made. */
void trace_step(struct trace *trace, const struct thread *thread, bool flush,
                uint64_t result, unsigned choice);
void trace_note(struct trace *trace, const char *text);

#endif
