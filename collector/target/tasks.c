/* The threads of a running process, as seen from outside.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/live.h"
#include "target/procfs.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What getdents64 writes; glibc declares it for readdir only. */
struct entry {
    uint64_t inode;
    int64_t next;
    uint16_t length;
    uint8_t type;
    char name[];
};

enum { SCHED_BYTES = 4096 };

char qh_live_state(const struct qh_live *live, pid_t tid)
{
    char text[1024];
    struct qh_proc_stat stat;

    if (qh_proc_read_task(live->tasks, tid, "stat", text, sizeof(text)) <= 0 ||
        !qh_proc_parse_stat(text, &stat)) {
        return 'X';
    }
    return stat.state;
}

static bool known(const struct qh_live *live, pid_t tid)
{
    for (size_t i = 0; i < live->count; i++) {
        if (live->tracees[i].task.tid == tid) {
            return true;
        }
    }
    return false;
}

static void read_wchan(const struct qh_live *live, struct qh_task *task)
{
    ssize_t got = qh_proc_read_task(live->tasks, task->tid, "wchan",
                                    task->wchan, sizeof(task->wchan));

    if (got <= 0 || strcmp(task->wchan, "0") == 0) {
        task->wchan[0] = '\0';
    }
}

/* The last of its ids is that in its own, innermost namespace (proc(5),
 * NSpid); a kernel without namespaces does not tell, and needs not. */
static pid_t own_tid(const struct qh_live *live, pid_t tid)
{
    char text[4096];
    long own = tid;

    if (live->same_pid_namespace) {
        return tid;
    }
    if (qh_proc_read_task(live->tasks, tid, "status", text, sizeof(text)) <=
        0) {
        return 0;
    }
    return qh_proc_parse_last(text, "NSpid", &own) ? (pid_t)own : 0;
}

static int add(struct qh_live *live, pid_t tid, bool brief)
{
    struct qh_error *error =
        qh_array_reserve(&live->tracees, &live->capacity, live->count + 1,
                         sizeof(*live->tracees));
    if (error) {
        qh_error_destroy(error);
        return -ENOMEM;
    }
    struct qh_tracee *tracee = &live->tracees[live->count++];
    memset(tracee, 0, sizeof(*tracee));
    tracee->task.tid = tid;
    tracee->task.own_tid = own_tid(live, tid);
    tracee->task.orig_rax = -1;
    qh_proc_read_comm(live->tasks, tid, tracee->task.name);
    if (!brief) {
        read_wchan(live, &tracee->task);
    }
    return 0;
}

int qh_live_list(struct qh_live *live, bool brief, size_t *ret_added)
{
    _Alignas(struct entry) char buffer[8192];
    size_t before = live->count;

    if (lseek(live->tasks, 0, SEEK_SET) < 0) {
        return -errno;
    }
    for (;;) {
        long got = syscall(SYS_getdents64, live->tasks, buffer, sizeof(buffer));
        if (got < 0) {
            return -errno;
        }
        if (!got) {
            break;
        }
        for (long at = 0; at < got;) {
            const struct entry *entry = (const struct entry *)(buffer + at);
            pid_t tid = (pid_t)atoi(entry->name);
            if (tid > 0 && !known(live, tid)) {
                int failed = add(live, tid, brief);
                if (failed) {
                    return failed;
                }
            }
            at += entry->length;
        }
    }
    *ret_added = live->count - before;
    return 0;
}

/* The scheduler's clocks of the CPUs, each measured once. */
struct cpu_clocks {
    int64_t offset_ns[CPU_SETSIZE];
    signed char state[CPU_SETSIZE]; /* 0 not yet, 1 measured, -1 cannot */
};

static bool clock_of(struct cpu_clocks *clocks, int cpu, int64_t *ret_ns)
{
    if (cpu < 0 || cpu >= CPU_SETSIZE) {
        return false;
    }
    if (!clocks->state[cpu]) {
        bool done = qh_clock_of_cpu(cpu, &clocks->offset_ns[cpu]);
        clocks->state[cpu] = done ? 1 : -1;
    }
    *ret_ns = clocks->offset_ns[cpu];
    return clocks->state[cpu] > 0;
}

/* se.exec_start of each thread first, all together: measuring the clocks may
 * make others run. */
static void read_exec_starts(struct qh_live *live, int *cpus)
{
    char text[SCHED_BYTES];
    struct qh_proc_stat stat;

    for (size_t i = 0; i < live->count; i++) {
        struct qh_task *task = &live->tracees[i].task;
        cpus[i] = -1;
        if (qh_proc_read_task(live->tasks, task->tid, "sched", text,
                              sizeof(text)) > 0 &&
            qh_proc_parse_exec_start(text, &task->last_ran_ns) &&
            qh_proc_read_task(live->tasks, task->tid, "stat", text,
                              sizeof(text)) > 0 &&
            qh_proc_parse_stat(text, &stat)) {
            cpus[i] = stat.cpu;
        }
    }
}

/* Turns the scheduler's times into CLOCK_MONOTONIC of the target. */
static void convert_exec_starts(struct qh_live *live, struct cpu_clocks *clocks,
                                const int *cpus)
{
    for (size_t i = 0; i < live->count; i++) {
        struct qh_task *task = &live->tracees[i].task;
        int64_t offset;
        if (task->last_ran_ns && clock_of(clocks, cpus[i], &offset)) {
            task->last_ran_ns += offset + live->clock_skew_ns;
        } else {
            task->last_ran_ns = 0;
        }
    }
}

static struct qh_error *read_last_ran(struct qh_live *live)
{
    QH_CLEANUP(qh_free_guard)
    int *cpus = malloc((live->count + 1) * sizeof(*cpus));
    QH_CLEANUP(qh_free_guard)
    struct cpu_clocks *clocks = calloc(1, sizeof(*clocks));

    free(live->ran); /* of a stop that failed */
    live->ran_count = 0;
    live->ran = calloc(live->count + 1, sizeof(*live->ran));
    if (!cpus || !clocks || !live->ran) {
        return qh_error_no_memory();
    }
    read_exec_starts(live, cpus);
    convert_exec_starts(live, clocks, cpus);
    for (size_t i = 0; i < live->count; i++) {
        const struct qh_task *task = &live->tracees[i].task;
        live->ran[live->ran_count++] =
            (struct qh_last_ran){ task->tid, task->last_ran_ns };
    }
    return NULL;
}

/* A stop makes each thread run: what was known before it goes on to count. */
static void recall_last_ran(struct qh_live *live)
{
    for (size_t i = 0; i < live->count; i++) {
        struct qh_task *task = &live->tracees[i].task;
        for (size_t j = 0; j < live->ran_count; j++) {
            if (live->ran[j].tid == task->tid) {
                task->last_ran_ns = live->ran[j].ns;
            }
        }
    }
}

struct qh_error *qh_live_observe(struct qh_target *target, bool last_ran)
{
    struct qh_live *live = target->live;
    size_t added;

    live->count = 0;
    int failed = qh_live_list(live, false, &added);
    if (failed == -ENOMEM) {
        return qh_error_no_memory();
    }
    if (failed || !live->count) {
        return qh_error_tid(qh_error_new(QH_ERR_EXITED, "process %d has exited",
                                         (int)live->pid),
                            live->pid);
    }
    if (last_ran) {
        return read_last_ran(live);
    }
    recall_last_ran(live);
    return NULL;
}

/* proc(5), /proc/PID/syscall. The arguments' order: rdi, rsi, rdx, r10, r8, r9,
 * then rsp and rip; these two alone stand behind -1, in no system call. */
bool qh_live_read_syscall(const struct qh_live *live, struct qh_task *task)
{
    static const unsigned order[] = { QH_REG_RDI, QH_REG_RSI, QH_REG_RDX, 10, 8,
                                      9,          QH_REG_RSP, QH_REG_RIP };
    uint64_t v[QH_COUNT(order)];
    int64_t number;
    char text[512];

    if (qh_proc_read_task(live->tasks, task->tid, "syscall", text,
                          sizeof(text)) <= 0) {
        return false;
    }
    int got =
        sscanf(text,
               "%" SCNd64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64
               " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64,
               &number, &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]);
    if (got != 9 && got != 3) {
        return false;
    }
    unsigned first = got == 9 ? 0 : 6;
    task->orig_rax = number;
    for (unsigned i = first; i < QH_COUNT(order); i++) {
        task->regs.dwarf[order[i]] = v[i - first];
        task->regs.known |= 1u << order[i];
    }
    return true;
}

uint64_t qh_live_switches(const struct qh_live *live, pid_t tid)
{
    long wished = 0, forced = 0;
    char text[4096];

    if (qh_proc_read_task(live->tasks, tid, "status", text, sizeof(text)) <=
            0 ||
        !qh_proc_parse_status(text, "voluntary_ctxt_switches", &wished) ||
        !qh_proc_parse_status(text, "nonvoluntary_ctxt_switches", &forced)) {
        return 0;
    }
    return (uint64_t)wished + (uint64_t)forced;
}

void qh_live_find_holder(struct qh_target *target)
{
    struct qh_live *live = target->live;
    char status[4096];

    for (size_t i = 0; i < live->count && !target->process.held_by; i++) {
        if (qh_proc_read_task(live->tasks, live->tracees[i].task.tid, "status",
                              status, sizeof(status)) > 0) {
            target->process.held_by =
                qh_access_tracer(status, target->process.holder);
        }
    }
}

static int by_tid(const void *a, const void *b)
{
    const struct qh_task *left = a, *right = b;

    return (left->tid > right->tid) - (left->tid < right->tid);
}

struct qh_error *qh_live_publish_tasks(struct qh_target *target)
{
    struct qh_live *live = target->live;
    size_t present = 0;
    struct qh_arena arena = { 0 };
    struct qh_task *tasks =
        qh_arena_alloc(&arena, (live->count + 1) * sizeof(*tasks));

    if (!tasks) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < live->count; i++) {
        tasks[i] = live->tracees[i].task;
        if (tasks[i].stop == QH_TASK_IN_KERNEL) {
            tasks[i].switches = qh_live_switches(live, tasks[i].tid);
        }
        present += tasks[i].stop != QH_TASK_GONE;
    }
    if (!present) {
        qh_arena_deinit(&arena);
        return qh_error_tid(qh_error_new(QH_ERR_EXITED, "process %d has exited",
                                         (int)live->pid),
                            live->pid);
    }
    qsort(tasks, live->count, sizeof(*tasks), by_tid);
    qh_arena_deinit(&target->task_arena);
    target->task_arena = arena;
    target->tasks = tasks;
    target->task_count = live->count;
    return NULL;
}
