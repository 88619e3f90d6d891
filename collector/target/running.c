/* A process that is looked at while it runs: nothing is stopped or traced.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The kernel shows of a thread that is off the CPU in which system call it is,
 * with the call's arguments, rsp and rip; it takes care that the thread stays
 * off the CPU while it looks (task_current_syscall(), lib/syscall.c). Whether
 * it has been there all the time between two looks, its count of context
 * switches tells. Where its thread-local variables are, no register is needed
 * to tell: glibc registers each thread's list of robust mutexes with the
 * kernel, which lies in the same struct as the thread pointer leads to.
 */
#include "target/arch.h"
#include "target/live.h"
#include "target/procfs.h"

#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    /* How far in front of the list the thread pointer may be: 0x2e0 bytes in
     * the glibc of Debian 12. It is aligned at least like this. */
    MAX_TCB_BYTES = 4096,
    TCB_ALIGN = 16
};

/* The thread pointer points to itself, twice: at 0 (ELF Handling For
 * Thread-Local Storage, section 3.4.6) and at 0x10 (tcbhead_t.self of glibc,
 * sysdeps/x86_64/nptl/tls.h). 0 when it cannot be told. */
static uint64_t find_fs_base(struct qh_target *target, pid_t tid)
{
    uint64_t list = 0, words[3];
    size_t bytes = 0;

    if (syscall(SYS_get_robust_list, tid, &list, &bytes) < 0 ||
        list < MAX_TCB_BYTES || list > INT64_MAX) {
        return 0;
    }
    list -= list % TCB_ALIGN;
    for (unsigned back = 0; back < MAX_TCB_BYTES; back += TCB_ALIGN) {
        uint64_t at = list - back;
        struct qh_error *error = qh_live_read(target, at, words, sizeof(words));
        if (error) {
            qh_error_destroy(error);
            break;
        }
        if (words[0] == at && words[2] == at) {
            return at;
        }
    }
    return 0;
}

/* The count before the registers: who runs between the two is found out at the
 * end, not taken for one who slept. */
static void look_at(struct qh_target *target, struct qh_task *task)
{
    struct qh_live *live = target->live;
    pid_t tid = task->tid;

    task->unstopped = true;
    task->switches = qh_live_switches(live, tid);
    task->stop =
        qh_live_read_syscall(live, task) ? QH_TASK_STOPPED : QH_TASK_RUNNING;
    task->state = qh_live_state(live, tid);
    if (task->state == 'X' || task->state == 'Z') {
        task->stop = QH_TASK_GONE;
        return;
    }
    task->fs_base = find_fs_base(target, tid);
}

struct qh_error *qh_running_look(struct qh_target *target)
{
    struct qh_live *live = target->live;
    bool held = false;

    /* When each thread last ran is told by the stop that is to come. */
    QH_TRY(qh_live_observe(target, live->never_stop));
    QH_TRY(qh_live_read_maps(target));
    for (size_t i = 0; i < live->count; i++) {
        look_at(target, &live->tracees[i].task);
        held = held || live->tracees[i].task.state == 't';
    }
    target->process.held_by = 0;
    if (held) {
        qh_live_find_holder(target);
    }
    live->stop_monotonic_ns = qh_now_ns(CLOCK_MONOTONIC);
    live->stop_realtime_ns = qh_now_ns(CLOCK_REALTIME);
    return qh_live_publish_tasks(target);
}

/* Whether the thread has been asleep at the same place since it was looked at.
 */
static bool has_slept(const struct qh_live *live, const struct qh_task *task)
{
    struct qh_task now = { .tid = task->tid };

    return task->switches && qh_live_read_syscall(live, &now) &&
           now.orig_rax == task->orig_rax &&
           now.regs.dwarf[QH_REG_RSP] == task->regs.dwarf[QH_REG_RSP] &&
           now.regs.dwarf[QH_REG_RIP] == task->regs.dwarf[QH_REG_RIP] &&
           qh_live_switches(live, task->tid) == task->switches;
}

/* Of one that ran, nothing that was seen counts. */
void qh_running_look_again(struct qh_target *target)
{
    for (size_t i = 0; i < target->task_count; i++) {
        struct qh_task *task = &target->tasks[i];
        if (task->stop == QH_TASK_STOPPED && !has_slept(target->live, task)) {
            task->stop = QH_TASK_RUNNING;
            task->regs = (struct qh_registers){ 0 };
            task->orig_rax = -1;
        }
    }
    target->changed_pages =
        qh_live_changed_pages(target, &target->looked_pages);
}
