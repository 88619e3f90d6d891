/* A QMP monitor that is asked whether its QEMU answers; private to cli/.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Only `query-status` is asked, one at a time: the main loop answers it, so an
 * answer is progress. One that knows no such command (a storage daemon) answers
 * too. What the monitor sends is the target's: lines are bounded, and of what
 * is in them only which kind of message it is counts.
 *
 * A monitor serves one client; QEMU leaves another in the backlog, where it
 * gets no greeting, just as it does of one that hangs. Which of both it is, the
 * kernel's table of sockets tells: one that was accepted has an inode.
 *
 * Source of facts: docs/interop/qmp-spec.rst, chardev/char-socket.c (the
 * listener is not polled while a client is there), unix(7), proc(5).
 */
#ifndef QH_MONITOR_H
#define QH_MONITOR_H

#include "base/base.h"

struct qh_monitor;

/*
 * Connects, not waiting for an answer. `*ret_pid` is who listens there
 * (SO_PEERCRED: who called listen(2)), 0 when that is in a pid namespace that
 * is not seen from here. Errors: SYSTEM and PERMISSION with the path.
 */
struct qh_error *qh_monitor_open(const char *path, struct qh_monitor **ret,
                                 pid_t *ret_pid) QH_MUST_CHECK;
void qh_monitor_destroy(struct qh_monitor *monitor); /* NULL is fine */
void qh_monitor_guard(struct qh_monitor **monitor);

/* To be polled for input; -1 when the connection has ended. */
int qh_monitor_fd(const struct qh_monitor *monitor);
/* Takes in what has come, and goes on with the handshake. */
void qh_monitor_read(struct qh_monitor *monitor, int64_t now_ns);
/* Asks, unless there is a question already. */
void qh_monitor_ask(struct qh_monitor *monitor, int64_t now_ns);

/* How long it has owed an answer, or its greeting; 0 when it owes none. */
int64_t qh_monitor_owes_ns(const struct qh_monitor *monitor, int64_t now_ns);
/* When it last answered (CLOCK_MONOTONIC); 0: not yet. */
int64_t qh_monitor_answered_ns(const struct qh_monitor *monitor);
/* Whether it has not even greeted us because it serves another client. */
bool qh_monitor_is_taken(const struct qh_monitor *monitor);

#endif
