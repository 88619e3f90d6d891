/* The one QMP monitor of the miniature, as it lies in memory.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VICTIMS_MONITOR_H
#define VICTIMS_MONITOR_H

/*
 * monitor/monitor.c: a monitor that is suspended takes in no command.  It is
 * suspended with each request, until that has returned.
 */

/* Any thread. */
void monitor_suspend(void);
void monitor_resume(void);

/* Counts the request as waiting, and as taken.  One after the other. */
void monitor_push_request(void);
void monitor_pop_request(void);

#endif
