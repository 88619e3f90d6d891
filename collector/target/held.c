/* A process that another tracer holds: seen to be held, not stopped.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A thread has one tracer, so ptrace tells qhang nothing here. But the kernel
 * shows rsp and rip of a thread that does not run to whoever may read its
 * memory, so that registers of another moment are told from those of now. */
#include "target/arch.h"
#include "target/live.h"
#include "target/procfs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct qh_handed *handed_of(const struct qh_live *live, pid_t tid)
{
    for (size_t i = 0; i < live->handed_count; i++) {
        if (live->handed[i].tid == tid) {
            return &live->handed[i];
        }
    }
    return NULL;
}

static bool is_thread(const struct qh_live *live, pid_t tid)
{
    for (size_t i = 0; i < live->count; i++) {
        if (live->tracees[i].task.tid == tid) {
            return true;
        }
    }
    return false;
}

static struct qh_error *check_tids(const struct qh_live *live)
{
    for (size_t i = 0; i < live->handed_count; i++) {
        pid_t tid = live->handed[i].tid;
        if (!is_thread(live, tid)) {
            return qh_error_tid(
                qh_error_new(QH_ERR_BAD_REGISTERS,
                             "registers: process %d has no thread %d",
                             (int)live->pid, (int)tid),
                tid);
        }
    }
    return NULL;
}

static struct qh_error *not_held(const struct qh_live *live,
                                 const struct qh_task *task)
{
    return qh_error_try(
        qh_error_tid(qh_error_new(QH_ERR_NOT_HELD,
                                  "thread %d of process %d is not held (state "
                                  "%c): its registers change",
                                  (int)task->tid, (int)live->pid, task->state),
                     task->tid),
        "stop all threads first (in gdb: interrupt -a); for a process that "
        "nobody holds, leave --registers out");
}

/* rsp and rip must be those that the kernel has. */
static struct qh_error *check_now(const struct qh_handed *handed,
                                  const struct qh_task *seen)
{
    static const unsigned checked[] = { QH_REG_RIP, QH_REG_RSP };

    for (size_t i = 0; i < QH_COUNT(checked); i++) {
        unsigned reg = checked[i];
        uint64_t now = seen->regs.dwarf[reg];
        if ((handed->regs.known & 1u << reg) &&
            handed->regs.dwarf[reg] != now) {
            return qh_error_try(
                qh_error_tid(
                    qh_error_new(QH_ERR_BAD_REGISTERS,
                                 "registers: thread %d has %s 0x%" PRIx64
                                 " now, not 0x%" PRIx64,
                                 (int)handed->tid, qh_arch_register_name(reg),
                                 now, handed->regs.dwarf[reg]),
                    handed->tid),
                "hand in what each thread has in its innermost frame, after "
                "it has stopped");
        }
    }
    return NULL;
}

/* Whether a thread that the kernel made for itself within the process, an
 * io_uring worker say: it has no user code, and a tracer may not have heard of
 * it. Source: copy_thread() in arch/x86/kernel/process.c clears both. */
static bool is_kernel_worker(const struct qh_task *seen)
{
    return !seen->regs.dwarf[QH_REG_RIP] && !seen->regs.dwarf[QH_REG_RSP];
}

/* The names of the registers that are not there, or NULL. */
static const char *tell_missing(struct qh_target *target,
                                const struct qh_handed *handed)
{
    const uint32_t all = (1u << QH_REG_COUNT) - 1;
    char names[256] = "not handed in:";
    size_t length = strlen(names);

    for (unsigned i = 0; i < QH_REG_COUNT; i++) {
        if (!(handed->regs.known & 1u << i)) {
            length += (size_t)snprintf(names + length, sizeof(names) - length,
                                       " %s", qh_arch_register_name(i));
        }
    }
    snprintf(names + length, sizeof(names) - length, "%s%s",
             handed->has_fs_base ? "" : " fs_base",
             handed->has_orig_rax ? "" : " orig_rax");
    return handed->regs.known == all && handed->has_fs_base &&
                   handed->has_orig_rax
               ? NULL
               : qh_arena_strdup(&target->arena, names);
}

/* What a thread waits in takes all registers to tell: one of which some are
 * missing is in no system call. */
static void take(struct qh_target *target, const struct qh_handed *handed,
                 struct qh_task *task)
{
    const uint32_t needed = 1u << QH_REG_RIP | 1u << QH_REG_RSP;

    task->untold = tell_missing(target, handed);
    task->regs = handed->regs;
    task->fs_base = handed->fs_base;
    task->orig_rax = task->untold ? -1 : handed->orig_rax;
    task->stop = (handed->regs.known & needed) == needed ? QH_TASK_STOPPED
                                                         : QH_TASK_UNTOLD;
}

static struct qh_error *look_at(struct qh_target *target, struct qh_task *task)
{
    struct qh_live *live = target->live;
    const struct qh_handed *handed = handed_of(live, task->tid);
    struct qh_task seen = { .tid = task->tid };
    bool shown = qh_live_read_syscall(live, &seen);

    task->state = qh_live_state(live, task->tid);
    if (task->state == 'X' || task->state == 'Z') {
        task->stop = QH_TASK_GONE;
    } else if (!handed && shown && is_kernel_worker(&seen)) {
        task->regs = seen.regs;
        task->stop = QH_TASK_STOPPED;
    } else if (task->state != 't' && task->state != 'T') {
        return not_held(live, task);
    } else if (!handed) {
        task->stop = QH_TASK_UNTOLD;
        task->untold = "its registers were not handed in";
    } else {
        QH_TRY(shown ? check_now(handed, &seen) : NULL);
        take(target, handed, task);
    }
    return NULL;
}

/*
 * The time at which the process was stopped: a thread runs on its way into the
 * stop, and not again. Timers that have expired since are not overdue, for
 * nobody could have served them. When a thread last ran before it was held
 * cannot be told.
 */
static void tell_time(struct qh_live *live)
{
    int64_t now = qh_now_ns(CLOCK_MONOTONIC), latest = 0;

    for (size_t i = 0; i < live->count; i++) {
        struct qh_task *task = &live->tracees[i].task;
        bool stands = task->state == 't' || task->state == 'T';
        if (stands && task->last_ran_ns > latest) {
            latest = task->last_ran_ns;
        }
        task->last_ran_ns = 0;
    }
    int64_t since = latest ? latest - live->clock_skew_ns : now;
    live->stop_monotonic_ns = since < now ? since : now;
    live->stop_realtime_ns =
        qh_now_ns(CLOCK_REALTIME) - (now - live->stop_monotonic_ns);
}

struct qh_error *qh_held_stop(struct qh_target *target)
{
    struct qh_live *live = target->live;

    QH_TRY(qh_live_observe(target, true));
    QH_TRY(check_tids(live));
    for (size_t i = 0; i < live->count; i++) {
        QH_TRY(look_at(target, &live->tracees[i].task));
    }
    qh_live_find_holder(target);
    tell_time(live);
    QH_TRY(qh_live_publish_tasks(target));
    return qh_live_read_maps(target);
}

void qh_held_resume(struct qh_target *target)
{
}
