/* Holding a thread still at one of the runtime's windows.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VICTIMS_HOLD_H
#define VICTIMS_HOLD_H

/*
 * A hold catches the next thread that comes to a point (cfix's
 * runtime/window.h) and keeps it there until released.  So a scenario's script
 * decides, step by step, which thread passes which instruction first; nothing
 * depends on how long anything takes.
 *
 *   hold_arm(P, tid, HOLD_SLEEP);  whoever comes to P next is caught
 *   hold_wait(P);                  returns when somebody is
 *   hold_release(P);               it goes on
 *
 * Scripts run in one thread of their own; these functions are for it alone, and
 * for one that it leaves behind.
 */
#include "runtime/window.h"

enum hold_how {
    /* In a futex wait beneath the function that has the window. */
    HOLD_SLEEP,
    /* Spinning in user code there: the thread stays runnable (state R). */
    HOLD_SPIN,
    /* Not at all: it stops the process, as SIGSTOP does, and goes on by itself
     * when that does. */
    HOLD_HALT
};

/* Any thread will do. */
#define HOLD_ANY (-1)

/* To be called once, before there are threads. */
void hold_init(void);

/* One at a time for each point.  `tid` as qemu_get_thread_id(), or HOLD_ANY. */
void hold_arm(enum cfix_point point, int tid, enum hold_how how);

/* Ends the program with status 1 if nobody comes for half a minute. */
void hold_wait(enum cfix_point point);

void hold_release(enum cfix_point point);

#endif
