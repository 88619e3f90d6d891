/* Knowing, from within the process, that its threads have come to rest.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VICTIMS_WATCH_H
#define VICTIMS_WATCH_H

#include <stdbool.h>

struct AioContext;

/* Every wait below ends the program with status 1 after this long. */
#define WATCH_LIMIT_SECONDS 30

/* Prints "victim: ..." on stderr and ends the program with status 1. */
void watch_fail(const char *format, ...)
    __attribute__((format(printf, 1, 2), noreturn));

/* Looks every millisecond until `holds(opaque)`; `what` is for the message. */
void watch_until(const char *what, bool (*holds)(void *opaque), void *opaque);

/*
 * Whether thread `tid` sleeps in ppoll: /proc/self/task/TID/syscall says the
 * number and TID/stat the state S.  A thread that is runnable has "running"
 * there.
 */
bool watch_in_ppoll(int tid);

/* The same for epoll_wait and futex. */
bool watch_in_epoll(int tid);
bool watch_in_futex(int tid);

/* The state letter of thread `tid` in /proc/self/task/TID/stat; 0 if gone. */
char watch_state(int tid);

/* Whether nothing is queued for `ctx` and its eventfd is not written. */
bool watch_nothing_queued(struct AioContext *ctx);

#endif
