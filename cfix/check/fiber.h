/* Stacks to run threads and coroutines of the checked world on.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_CHECK_FIBER_H
#define CFIX_CHECK_FIBER_H

/*
 * A fiber can be started again at any time, wherever it stopped: its stack is
 * then simply used anew.  Switching saves registers and nothing else, no
 * system call.
 */
struct fiber;

/* With a stack of its own, and never freed: the explorer keeps a pool. */
struct fiber *fiber_create(void);

/* One without, for who is running already. */
struct fiber *fiber_create_leader(void);

/* When next switched to, it runs entry(arg), which must not return. */
void fiber_start(struct fiber *fiber, void (*entry)(void *arg), void *arg);

/* Stops here, as `from`, and goes on with `to`. */
void fiber_switch(struct fiber *from, struct fiber *to);

#endif
