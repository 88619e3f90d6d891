/* One reading of a process's counters; for watch/ and who embeds a pulse.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_WATCH_READING_H
#define QH_WATCH_READING_H

#include "base/base.h"

/* Of one thread. */
struct qh_reading {
    pid_t tid;
    char state;        /* 'X' when it is gone */
    pid_t tracer;      /* 0: none that is to be seen */
    uint64_t switches; /* how often it has left the CPU */
    uint64_t run_ns;   /* on a CPU, and waiting for one */
    uint64_t starved_ns;
    int64_t call;    /* system call that it sleeps in; -1: none or not shown */
    uint64_t sp, pc; /* its user stack pointer and pc there; 0: not shown */
    bool permitted;  /* whether the kernel shows that */
    char wchan[64];  /* "" when not shown */
};

/* Of a process: its main thread, and which others are in state D. */
struct qh_readings {
    struct qh_reading main;
    struct qh_reading *in_kernel; /* malloc'd */
    size_t in_kernel_count, in_kernel_room;
    size_t threads;
};

/* Reads those of the process whose /proc/PID is open at `dir`. */
struct qh_error *qh_reading_take(int dir, pid_t pid,
                                 struct qh_readings *ret) QH_MUST_CHECK;
/* That of its main thread alone: five small files, whatever its size. */
void qh_reading_take_main(int dir, pid_t pid, struct qh_reading *ret);
/* Whether it sleeps in what QEMU's loops sleep in. */
bool qh_reading_is_poll(const struct qh_reading *reading);
void qh_readings_deinit(struct qh_readings *readings);

struct qh_watch;
struct qh_watched;
/* Fills in what two readings make of a process. */
struct qh_error *qh_watch_judge(struct qh_watch *watch,
                                const struct qh_readings *before,
                                const struct qh_readings *after,
                                struct qh_watched *watched) QH_MUST_CHECK;

#endif
