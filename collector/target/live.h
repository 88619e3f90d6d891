/* A running process: what the files of the live kind share.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_TARGET_LIVE_H
#define QH_TARGET_LIVE_H

#include "target/ops.h"

#include <signal.h>

/* How far a thread has come on its way to being stopped. */
enum qh_hold {
    QH_HOLD_NONE,    /* seen in the list, not touched */
    QH_HOLD_SEIZED,  /* traced and asked to stop, has not yet */
    QH_HOLD_STOPPED, /* stopped, by us to let go */
    QH_HOLD_KERNEL,  /* left alone: it does not stop */
    QH_HOLD_GONE
};

struct qh_tracee {
    struct qh_task task;
    enum qh_hold hold;
    int signal; /* to be delivered when it is let go; 0 for none */
};

/* The scheduling of qhang's own thread before a stop. */
struct qh_priority {
    int policy;
    bool raised;
};

/* When a thread was last on a CPU, before the first stop disturbed it. */
struct qh_last_ran {
    pid_t tid;
    int64_t ns;
};

/* The registers of one thread of a held process, as they were handed in. */
struct qh_handed {
    pid_t tid;
    struct qh_registers regs;
    uint64_t fs_base;
    int64_t orig_rax;
    bool has_fs_base, has_orig_rax;
};

struct qh_live {
    pid_t pid;
    int dir;     /* /proc/PID */
    int tasks;   /* /proc/PID/task */
    int maps;    /* /proc/PID/maps, of the present stop, else -1 */
    int pagemap; /* /proc/PID/pagemap, once it was asked for, else -1 */
    int pidfd;   /* once an eventfd was asked for, else -1 */
    int64_t stop_bound_ns;
    bool own_child; /* qhang is its parent */
    bool same_pid_namespace; /* as qhang's own */
    bool leave_running;
    bool never_stop; /* and that for good */
    bool disturbed;  /* has been stopped: what ran last was our doing */
    /* The threads of the present or last stop, in no order. */
    struct qh_tracee *tracees;
    size_t count, capacity;
    char *text; /* of /proc/PID/maps, kept so that it need not grow again */
    size_t text_capacity;
    struct qh_last_ran *ran; /* malloc'd, as read before the first stop */
    size_t ran_count;
    struct qh_priority priority;
    sigset_t signals; /* qhang's mask before the stop */
    int64_t pause_start_ns;
    int64_t clock_skew_ns; /* target's CLOCK_MONOTONIC minus qhang's */
    int64_t stop_monotonic_ns, stop_realtime_ns;
    bool is_held;             /* by another tracer, who handed these in: */
    struct qh_handed *handed; /* malloc'd */
    size_t handed_count;
};

/* inside.c: a regular file below its "/", which no link leads out of. */
struct qh_error *qh_live_open_inside(const struct qh_live *live,
                                     const char *path,
                                     int *ret_fd) QH_MUST_CHECK;

/* live.c: reads the memory map anew. */
struct qh_error *qh_live_read_maps(struct qh_target *target) QH_MUST_CHECK;

/* stop.c */
struct qh_error *qh_live_stop(struct qh_target *target) QH_MUST_CHECK;
void qh_live_resume(struct qh_target *target);

/* held.c: the same for a held process, where nothing is stopped or let go. */
struct qh_error *qh_held_stop(struct qh_target *target) QH_MUST_CHECK;
void qh_held_resume(struct qh_target *target);

/* running.c: the same for one that is left running. */
struct qh_error *qh_running_look(struct qh_target *target) QH_MUST_CHECK;
void qh_running_look_again(struct qh_target *target);

/* handed.c: reads the registers that are handed in; see qh_target_open_held().
 * `*ret` is malloc'd, in the order of the file. */
struct qh_error *qh_handed_read(const char *path, struct qh_handed **ret,
                                size_t *ret_count) QH_MUST_CHECK;

/* tasks.c: what is read of the threads while they run. Lists them anew into
 * `live->tracees`. `last_ran`: whether nothing has disturbed them yet. */
struct qh_error *qh_live_observe(struct qh_target *target,
                                 bool last_ran) QH_MUST_CHECK;
/* Adds the threads that are not known yet; `*ret_added` of them. `brief` reads
 * only what a stop has time for. 0 or -errno. */
int qh_live_list(struct qh_live *live, bool brief, size_t *ret_added);
/* State of a thread now, 'X' when it is gone. */
char qh_live_state(const struct qh_live *live, pid_t tid);
/* Its context switches so far, its own wish or not; 0 when not known. */
uint64_t qh_live_switches(const struct qh_live *live, pid_t tid);
/*
 * What /proc/PID/task/TID/syscall shows of a thread that does not run: the
 * system call that it is in and its arguments, if any, rsp and rip. Sets these
 * registers and orig_rax; false when it shows nothing.
 */
bool qh_live_read_syscall(const struct qh_live *live, struct qh_task *task);
/* Finds the first tracer of a thread that is to be seen. */
void qh_live_find_holder(struct qh_target *target);
/* Makes the tracees' tasks those of the target. */
struct qh_error *qh_live_publish_tasks(struct qh_target *target) QH_MUST_CHECK;

/* access.c: whether the process may be examined, and why not. */
struct qh_error *qh_access_check(struct qh_live *live) QH_MUST_CHECK;
/* Who traces the thread or process whose status file is `status`, with its
 * comm; 0 when nobody does that can be seen from here. */
pid_t qh_access_tracer(const char *status, char ret_comm[64]);
/* The same as an error; NULL when nobody does. */
struct qh_error *qh_access_traced(pid_t tid, const char *status) QH_MUST_CHECK;
/*
 * What is said when the kernel refuses. `owner` and `self` are the uids of the
 * target and of qhang, `scope` is the value of kernel.yama.ptrace_scope, -1
 * where the kernel has no yama. Pure, so that each case can be tested.
 */
struct qh_error *qh_access_denied(pid_t pid, long owner, long self,
                                  int scope) QH_MUST_CHECK;
/* The same with what is found out about this machine. */
struct qh_error *qh_access_refused(const struct qh_live *live) QH_MUST_CHECK;

/* priority.c */
void qh_priority_raise(struct qh_priority *saved);
void qh_priority_restore(struct qh_priority *saved);

/* clock.c */
/* Target's CLOCK_MONOTONIC minus qhang's: time namespaces differ. */
int64_t qh_clock_skew_ns(int dir);
/*
 * CLOCK_MONOTONIC minus the scheduler's clock of CPU `cpu`, which stands still
 * while a hypervisor takes the CPU away and while interrupts are served, and
 * so is behind by an amount of its own on each CPU. Measured by a thread that
 * goes there, which is not waited for when the CPU is busy with real-time
 * work. Never on a CPU that qhang may not use (isolated for guests, say).
 */
bool qh_clock_of_cpu(int cpu, int64_t *ret_ns);

/* memory.c: the page cache's way to the target. */
struct qh_error *qh_live_read(struct qh_target *target, uint64_t address,
                              void *buffer, size_t bytes) QH_MUST_CHECK;
struct qh_error *qh_live_read_some(struct qh_target *target, uint64_t address,
                                   void *buffer, size_t bytes,
                                   size_t *ret_bytes) QH_MUST_CHECK;
/* How many of the pages in the cache read differently now, or not at all; of
 * `*ret_pages`. */
size_t qh_live_changed_pages(struct qh_target *target, size_t *ret_pages);
struct qh_error *qh_live_prefetch(struct qh_target *target,
                                  const struct qh_range *ranges,
                                  size_t count) QH_MUST_CHECK;

/* Opens it unless it is open; whether it is, else errno. */
bool qh_live_open_pidfd(struct qh_live *live);

#endif
