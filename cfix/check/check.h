/* A stateless model checker for the sources of cfix.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_CHECK_CHECK_H
#define CFIX_CHECK_CHECK_H

/*
 * What it does.  A lost wake-up is a matter of who comes first, at a handful of
 * instructions.  Tests try some orders; this program tries all of them.
 *
 * The subjects (co_sleep.c, graph_lock.c, their twins, and mutants of them) are
 * compiled unchanged, but against another implementation of atomics.h
 * (atomics_checked.h), in which every access to shared memory is a *point*: the
 * thread says what it is about to do and stops.  So do the model of the runtime
 * (runtime.c) at its mutexes, at handing a coroutine to a loop and at a loop's
 * wait, and the litmus tests.  Between two points a thread touches nothing that
 * others can see.
 *
 * A *program* (sleep.c, graph.c, litmus.c) is two to four threads that use a
 * subject, and claims about the outcome.  Its threads are fibers in one real
 * thread, so an execution is fully determined by the list of choices: which
 * thread makes its step next and, where a step has several outcomes, which.
 * explore.c runs the program from the start again and again, each time with the
 * next list in depth-first order, until there is none left.
 *
 * Why that ends.  Steps of different threads that do not touch the same object,
 * or only read it, commute; of the executions that differ only in the order of
 * such steps, one is enough.  Sleep sets (Godefroid) see to that: after a
 * thread's step was explored at some node, it sleeps in the node's other
 * branches until a step that it does not commute with.  An execution in which
 * all who could go on are asleep was seen before, and is cut.
 *
 * Memory (memory.c), one of three models:
 *
 *   sc    every access at once, in one order: the interleavings proper;
 *   tso   x86: a store that is not sequentially consistent goes into its
 *         thread's buffer, and reaches memory in a step of its own, any time
 *         later, in order; locked instructions wait for an empty buffer;
 *   c11   a load that is not sequentially consistent may read any older value
 *         that its thread has not been shown to be overwritten.  Each store
 *         carries what its thread had seen (if it releases), and a load that
 *         acquires takes that over.  Stores to one object are ordered as they
 *         were executed, and no load reads a store that comes later in the
 *         execution: what C11 allows beyond this (load buffering, 2+2W) is not
 *         explored, and the litmus tests say so.
 *
 * What is found, by structure and never by the clock:
 *
 *   deadlock        nobody can make a step, and somebody has not ended;
 *   heals by timer  nobody can make a step unless a timer fires, where the
 *                   program claims that the sleeper was woken;
 *   claim           a program's own claim does not hold;
 *   abort           the subject found itself misused;
 *   freed           memory was touched after its owner gave it up.
 *
 * A timer of the program may fire at any instant, but a bounded number of times
 * (check_timer_budget); without a bound a thread that starves all others would
 * never end.  For the like reason a program may bound how often two threads get
 * out of each other's way (check_limit).
 *
 * All that is static in the program is part of the checked world: run.c
 * takes a copy before the first execution and puts it back before each.  The
 * explorer's own memory is therefore on the heap.
 */
#include <stdbool.h>
#include <stdint.h>

enum check_model { CHECK_SC, CHECK_TSO, CHECK_C11, CHECK_MODELS };

enum check_violation {
    CHECK_NONE,
    CHECK_DEADLOCK,
    CHECK_HEALS_BY_TIMER,
    CHECK_CLAIM,
    CHECK_ABORT,
    CHECK_FREED
};

enum check_verdict {
    CHECK_EXHAUSTED, /* every schedule was seen, none violates anything */
    CHECK_BOUNDED,   /* a limit was met before that: shows nothing */
    CHECK_VIOLATION
};

/* --- programs --- */

/* No more threads, and no more steps in an execution: beyond, it is cut short
 * and the verdict is BOUNDED. */
#define CHECK_MAX_THREADS 4
#define CHECK_MAX_STEPS 240

struct check_program {
    /* The last part of a check's name. */
    const char *name;
    /* One line, for --list. */
    const char *what;
    /* Makes the threads; runs outside of them, before each execution. */
    void (*setup)(const void *subject);
    /* The claims at the end of an execution in which all ended; or NULL. */
    void (*end)(const void *subject);
    /* Whether having to wait for a timer is a violation. */
    bool timer_is_loss;
};

struct check {
    /* "sleep/fixed/wake/tso"; owned by the check. */
    char *name;
    /* Which source: "fixed", "legacy", "tick", "mark", "mutant", "litmus". */
    const char *source;
    /* NULL but for mutants. */
    const char *mutant;
    const struct check_program *program;
    const void *subject;
    enum check_model model;
    enum check_verdict expected;
    enum check_violation expected_violation;
    /* Only run when named, or by --long. */
    bool is_long;
};

/* What became of one. */
struct check_result {
    enum check_verdict verdict;
    enum check_violation violation;
    /* Executions that came to an end, and those cut as seen before. */
    uint64_t schedules;
    uint64_t cut;
    /* Executions not pursued beyond a check_limit(). */
    uint64_t limited;
    unsigned longest;
    double seconds;
    /* Owned by the result; NULL unless there is a violation: what is wrong, the
     * interleaving, and what --replay takes. */
    char *message;
    char *trace;
    char *replay;
};

/* Whether it is what the check expects. */
bool check_as_expected(const struct check *check,
                       const struct check_result *result);

/* --- what programs and the model of the runtime call --- */

/* A thread that will run entry(arg).  During setup only.  `name` is a constant;
 * it heads the thread's column. */
void check_thread(const char *name, void (*entry)(void *arg), void *arg);

/* The index of the running thread, -1 outside of threads. */
int check_self(void);

/* How traces call the object at `addr`.  `name` is a constant. */
void check_name(const void *addr, const char *name);

/* Adds to the line of the step that is being made. */
void check_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Waits until *flag, an unsigned, is not 0, and sees what its writer did. */
#define check_await(flag)                                                      \
    ((void)check_access(&(struct check_access){ .kind = CHECK_AWAIT,           \
                                                .order = CHECK_ACQUIRE,        \
                                                .addr = (flag),                \
                                                .size = sizeof(*(flag)),       \
                                                .text = #flag }))

/* Ends the execution with a violation if `ok` is false. */
void check_claim(bool ok, const char *what);

/* Ends the execution with a violation. */
void check_violate(enum check_violation violation, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

/*
 * Executions that write *addr more than `writes` times are not pursued: for
 * two threads that could get out of each other's way for ever.  How many were
 * left is counted in the result.
 */
void check_limit(const void *addr, unsigned writes);

/* From here on nobody may touch these bytes. */
void check_forget(const void *addr, unsigned size);

/* --- points --- */

enum check_kind {
    CHECK_LOAD,
    CHECK_STORE,
    CHECK_EXCHANGE,
    CHECK_ADD,
    CHECK_SUB,
    CHECK_OR,
    CHECK_AND,
    CHECK_CMPXCHG,
    CHECK_AWAIT,
    CHECK_SYNC /* a mutex or a loop; see `choices` */
};

enum check_order {
    CHECK_PLAIN, /* as relaxed */
    CHECK_RELAXED,
    CHECK_ACQUIRE,
    CHECK_RELEASE,
    CHECK_SEQ_CST
};

struct check_access {
    enum check_kind kind;
    enum check_order order;
    void *addr;
    unsigned size;
    /* What is stored, added...; for a cmpxchg `expected` is what must be there.
     */
    uint64_t operand;
    uint64_t expected;
    /* CHECK_SYNC: how many outcomes the step has now; 0: it cannot be made. */
    unsigned (*choices)(const void *addr);
    /* The object as the source names it; for CHECK_SYNC the whole step. */
    const char *text;
    /* The values are pointers to strings. */
    bool is_string;
};

/*
 * Stops the running thread until the explorer lets it make this step.  Returns
 * what was read or, for CHECK_SYNC, which of its choices was taken; the caller
 * then does what the step stands for.  Outside of threads it is made at once.
 */
uint64_t check_access(const struct check_access *access);

/* --- running --- */

/* Fills *ret_result, which check_result_deinit() empties again. */
void check_run(const struct check *check, struct check_result *ret_result);

/* One execution, by the choices after the ':' of a replay string. */
void check_replay(const struct check *check, const char *choices,
                  struct check_result *ret_result);

void check_result_deinit(struct check_result *result);

const char *check_violation_name(enum check_violation violation);
const char *check_verdict_name(enum check_verdict verdict);
const char *check_model_name(enum check_model model);

#endif
