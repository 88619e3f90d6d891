/* The explorer: executions, and the search through them.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_CHECK_EXPLORER_H
#define CFIX_CHECK_EXPLORER_H

#include "check/world.h"

#define POOL_FIBERS 16

/*
 * Transitions: 0 to 3, the next step of a thread; 4 to 7, the oldest buffered
 * store of thread n - 4 reaches memory.  Sets of them are bits of a byte.
 */
enum { FLUSH = CHECK_MAX_THREADS, TRANSITIONS = 2 * CHECK_MAX_THREADS };

#define BIT(transition) ((uint8_t)(1u << (transition)))

/* A point of the execution from which others branch off. */
struct node {
    /* What could be done, what need not be (see check.h), and what was. */
    uint8_t enabled;
    uint8_t asleep;
    uint8_t explored;
    /* What is being done, and which of its outcomes. */
    uint8_t chosen;
    uint8_t choice;
    uint8_t choices;
    /* Switches away from a thread that could have gone on, up to here. */
    uint8_t switches;
};

/* One check being run; on the heap, see check.h. */
struct explorer {
    const struct check *check;
    struct check_result *result;
    struct fiber *leader;
    struct fiber *pool[POOL_FIBERS];
    void *pristine;
    struct node nodes[CHECK_MAX_STEPS];
    /* How many nodes there are, and at which the execution is. */
    unsigned n_nodes;
    unsigned depth;
    /* Sleep sets cut what was seen; or, looking for a trace that is easy to
     * read, executions with more than this are left out. */
    bool shortening;
    unsigned max_switches;
    unsigned max_fires;
    bool latest_values_only;
    /* Of the execution that is going on. */
    enum check_violation violation;
    bool stopped_short;
    struct trace *trace;
};

/* What is static is part of the world, but for this pointer, which is set
 * before the copy is taken. */
extern struct explorer *explorer;

/* --- execution.c: one execution --- */

/* The world as it was, the program set up, all threads at their first step. */
void execution_begin(struct explorer *x);

/* The transitions that can be made now.  0: the execution is at its end, and
 * x->violation says how it ended. */
uint8_t execution_look(struct explorer *x);

/* Whether the order of two transitions that can be made now matters. */
bool execution_dependent(int a, int b);

/* How many outcomes a transition that can be made has. */
uint8_t execution_choices(const struct explorer *x, unsigned transition);

/* Makes it. */
void execution_step(struct explorer *x, const struct node *node);

/* Ends the execution; outside of the world. */
void execution_violate(enum check_violation violation, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* --- explore.c: the search --- */

/*
 * Runs executions until one has the violation that the check expects, or there
 * are none left, or `limit` of them were run.  With a violation, x->depth and
 * x->nodes are its steps.
 */
void explore_search(struct explorer *x, uint64_t limit);

/* The steps in x->nodes once more, and on to the end. */
void explore_again(struct explorer *x);

/* The steps as replay string (the caller frees it), and back. */
char *explore_encode(const struct explorer *x);
bool explore_decode(struct explorer *x, const char *choices);

#endif
