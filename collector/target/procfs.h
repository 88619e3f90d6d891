/* Reading /proc: whole files, and the fields that are needed from them.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Files are opened relative to a descriptor of /proc/PID, so that a pid that
 * was given to another process meanwhile is noticed: every access then fails
 * with ESRCH. Source of the formats: proc(5), fs/proc of Linux.
 */
#ifndef QH_TARGET_PROCFS_H
#define QH_TARGET_PROCFS_H

#include "base/base.h"

/*
 * Reads up to size - 1 bytes of the file `name` in the folder `dir` and ends
 * them with NUL. Returns their number or -errno.
 */
ssize_t qh_proc_read(int dir, const char *name, char *buffer, size_t size);
/* The same for the file `name` of the thread `tid`; `tasks` is /proc/PID/task.
 */
ssize_t qh_proc_read_task(int tasks, pid_t tid, const char *name, char *buffer,
                          size_t size);
/*
 * Reads all of the open file `fd` into `*text`, of `*capacity` bytes, which
 * grows as needed and stays the caller's; NUL-terminated. Returns 0, -errno or
 * -ENOMEM.
 */
int qh_proc_read_all(int fd, char **text, size_t *capacity);
/* The same for a file with NULs in it: the number of bytes, or a negative. */
ssize_t qh_proc_read_bytes(int fd, char **text, size_t *capacity);

/* Some fields of /proc/PID/stat. */
struct qh_proc_stat {
    char state;
    bool kernel_thread; /* PF_KTHREAD */
    int cpu;            /* where it ran last */
    int exit_code;      /* a wait status; of a zombie, else 0 */
};
bool qh_proc_parse_stat(const char *text, struct qh_proc_stat *ret);
/* The number behind "KEY:" in /proc/PID/status. */
bool qh_proc_parse_status(const char *text, const char *key, long *ret);
/* The last of the numbers behind "KEY:" there. */
bool qh_proc_parse_last(const char *text, const char *key, long *ret);
/* se.exec_start of /proc/PID/sched, by the scheduler's clock. */
bool qh_proc_parse_exec_start(const char *text, int64_t *ret_ns);
/* "eventfd-count" of /proc/PID/fdinfo/N; it is in hex. */
bool qh_proc_parse_eventfd(const char *text, uint64_t *ret);
/* One clock's line of timens_offsets. */
bool qh_proc_parse_timens(const char *text, const char *clock, int64_t *ret_ns);
/* The value of AT_`type` in the `bytes` of an auxiliary vector; 0 if none. */
uint64_t qh_auxv_value(const void *auxv, size_t bytes, uint64_t type);

/* Copies the comm of a task, without the newline. */
void qh_proc_read_comm(int tasks, pid_t tid, char ret[64]);

#endif
