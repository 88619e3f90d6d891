/* Damage done on purpose: loops in lists, names that hurt a terminal.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VICTIMS_PLANT_H
#define VICTIMS_PLANT_H

struct world;

/* So that every list that is damaged has something in it. */
#define PLANT_COROUTINES 8

enum plant {
    PLANT_NONE,
    /* The last timer of io1's realtime list points back to the first. */
    PLANT_TIMER_LOOP,
    /* The last coroutine of a CoQueue points back to the first. */
    PLANT_QUEUE_LOOP,
    /* Escape sequences and line ends in node, iothread and thread names. */
    PLANT_NAMES,
    /* Short lists that lead to each other, so that to walk them all takes
     * hundreds of millions of steps. */
    PLANT_MAZE,
    /* Guest RAM that looks like the stack of a coroutine. */
    PLANT_RAM
};

/* PLANT_NONE if there is no such thing. */
enum plant plant_parse(const char *name);

/*
 * While all threads rest; at least PLANT_COROUTINES are parked.  The process
 * is good for nothing after that but to be looked at and killed: a loop thread
 * that walked the damaged list would never come back.  None does, as long as
 * nothing wakes it; the first timer of the list is an hour ahead.
 */
void plant(enum plant what, struct world *world);

#endif
