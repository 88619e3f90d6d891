/* Threads: their thread-local variables, roles, and what each waits in.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source of facts: include/qemu/coroutine-tls.h (QEMU_DEFINE_CO_TLS makes
 * co_tls_NAME), util/qemu-thread-posix.c, iothread.c, util/aio-posix.c,
 * util/fdmon-*.c. */
#include "qemu/reader.h"
#include "target/arch.h"

#include <string.h>

/* A pointer or integer in a thread-local variable; 0 where the build or the
 * thread has no such variable. */
static struct qh_error *read_tls(struct qh_reader *reader,
                                 const struct qh_task *task, const char *name,
                                 size_t bytes, uint64_t *ret)
{
    struct raddr at;

    *ret = 0;
    struct qh_error *error =
        qh_debug_tls(reader->qemu->debug, name, task->fs_base, &at);
    if (error && error->code == QH_ERR_ABSENT) {
        qh_error_destroy(error);
        return NULL;
    }
    QH_TRY(error);
    return qh_target_read(reader->target, at, ret, bytes);
}

/* The newest name of a variable that was renamed. */
static struct qh_error *read_renamed_tls(struct qh_reader *reader,
                                         const struct qh_task *task,
                                         const char *name, const char *older,
                                         size_t bytes, uint64_t *ret)
{
    QH_TRY(read_tls(reader, task, name, bytes, ret));
    return *ret ? NULL : read_tls(reader, task, older, bytes, ret);
}

static struct qh_error *find_leader(struct qh_reader *reader,
                                    const struct qh_task *task,
                                    struct raddr *ret)
{
    struct raddr leader;
    struct qh_error *error = qh_debug_tls(reader->qemu->debug, "co_tls_leader",
                                          task->fs_base, &leader);

    if (error && error->code == QH_ERR_ABSENT) {
        qh_error_destroy(error);
        return NULL;
    }
    QH_TRY(error);
    *ret = qh_field_at(reader, leader, QH_F_UC_BASE);
    return NULL;
}

static struct qh_error *read_guard(struct qh_reader *reader, uint64_t fs_base)
{
    struct raddr guard;

    if (!reader->has_pointer_guard) {
        QH_TRY(qh_read_pointer(reader, qh_arch_pointer_guard(fs_base), &guard));
        reader->pointer_guard = guard.value;
        reader->has_pointer_guard = true;
    }
    return NULL;
}

static struct qh_error *read_variables(struct qh_reader *reader,
                                       struct qh_thread *thread,
                                       struct qh_thread_work *work)
{
    const struct qh_task *task = work->task;
    uint64_t bql, cpu;

    QH_TRY(read_guard(reader, task->fs_base));
    QH_TRY(
        read_tls(reader, task, "co_tls_my_aiocontext", 8, &thread->home.value));
    QH_TRY(read_tls(reader, task, "co_tls_current", 8, &work->current.value));
    QH_TRY(find_leader(reader, task, &work->leader));
    if (qh_raddr_equal(work->current, work->leader)) {
        work->current = qh_raddr(0);
    }
    /* renamed with the batches of 9.0 (commit 86a637e48104) */
    QH_TRY(read_renamed_tls(reader, task, "co_tls_local_pool",
                            "co_tls_alloc_pool", 8, &work->local_pool.value));
    /* renamed in 9.0 (commit 195801d700c0) */
    QH_TRY(read_renamed_tls(reader, task, "co_tls_bql_locked",
                            "co_tls_iothread_locked", 1, &bql));
    /* Out of TCG's generated code no stack can be walked to the function that
     * tells the role. Source: accel/tcg/tcg-accel-ops-*.c, accel/kvm/. */
    QH_TRY(read_tls(reader, task, "current_cpu", 8, &cpu));
    if (cpu && thread->role == QH_ROLE_OTHER) {
        thread->role = QH_ROLE_VCPU;
    }
    thread->holds_bql = bql != 0;
    thread->coroutine = work->current;
    return NULL;
}

/* Source of facts: copy_thread() of arch/x86/kernel/process.c. */
bool qh_is_kernel_worker(const struct qh_task *task)
{
    return task->stop == QH_TASK_STOPPED && !task->regs.dwarf[QH_REG_RIP] &&
           !task->regs.dwarf[QH_REG_RSP];
}

/* Asleep where no signal reaches it. A thread that did not stop for want of a
 * CPU is none of these: nothing is known of it but that it may run. */
static bool in_kernel(const struct qh_task *task)
{
    bool stood = task->stop == QH_TASK_IN_KERNEL ||
                 (task->stop == QH_TASK_STOPPED && task->unstopped);

    return stood && task->state == 'D';
}

/* Of a thread that another tracer holds. */
static struct qh_error *note_untold(struct qh_snapshot *snapshot,
                                    const struct qh_task *task)
{
    const char *what =
        qh_arena_printf(&snapshot->arena, "registers of thread %d", task->tid);

    return what ? qh_snapshot_gap(snapshot, what, qh_raddr(0), task->untold,
                                  "hand in all registers of every thread")
                : qh_error_no_memory();
}

/* As it was before qhang came to it. */
static enum qh_halt halt_of(const struct qh_snapshot *snapshot,
                            const struct qh_task *task)
{
    if (snapshot->kind != QH_TARGET_LIVE) {
        return QH_HALT_NONE;
    }
    return task->state == 't'   ? QH_HALT_TRACER
           : task->state == 'T' ? QH_HALT_SIGNAL
                                : QH_HALT_NONE;
}

static struct qh_error *add_thread(struct qh_reader *reader,
                                   const struct qh_task *task)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    size_t index = snapshot->thread_count;
    struct qh_thread *thread = qh_list_add(
        &snapshot->arena, &snapshot->threads, &snapshot->thread_count,
        &snapshot->room.threads, sizeof(*thread));

    QH_TRY(qh_array_reserve(&reader->threads, &reader->threads_room, index + 1,
                            sizeof(*reader->threads)));
    if (!thread) {
        return qh_error_no_memory();
    }
    memset(&reader->threads[index], 0, sizeof(*reader->threads));
    reader->threads[index].task = task;
    thread->tid = task->tid;
    thread->name = qh_arena_strdup(&snapshot->arena, task->name);
    thread->timeout_ns = QH_TIME_UNKNOWN;
    thread->last_ran_ns =
        task->last_ran_ns ? task->last_ran_ns : QH_TIME_UNKNOWN;
    thread->switches = task->switches;
    thread->role = task->tid == snapshot->pid ? QH_ROLE_MAIN : QH_ROLE_OTHER;
    thread->halt = halt_of(snapshot, task);
    thread->state = in_kernel(task) ? QH_THREAD_IN_KERNEL : QH_THREAD_RUNNABLE;
    if (task->fs_base && !qh_is_kernel_worker(task)) {
        QH_NOTE(reader, "thread-local variables of a thread",
                read_variables(reader, thread, &reader->threads[index]));
    }
    return task->untold ? note_untold(snapshot, task) : NULL;
}

struct qh_error *qh_read_threads(struct qh_reader *reader)
{
    size_t count;
    const struct qh_task *tasks = qh_target_tasks(reader->target, &count);

    for (size_t i = 0; i < count; i++) {
        if (tasks[i].stop != QH_TASK_GONE) {
            QH_TRY(add_thread(reader, &tasks[i]));
        }
    }
    return NULL;
}

/* The function just inside of qemu_thread_start() tells what a thread is. */
static const struct {
    const char *function;
    enum qh_role role;
} roles[] = {
    { "iothread_run", QH_ROLE_IOTHREAD },
    { "call_rcu_thread", QH_ROLE_RCU },
    { "worker_thread", QH_ROLE_WORKER },
    { "mttcg_cpu_thread_fn", QH_ROLE_VCPU },
    { "rr_cpu_thread_fn", QH_ROLE_VCPU },
    { "kvm_vcpu_thread_fn", QH_ROLE_VCPU },
    { "dummy_cpu_thread_fn", QH_ROLE_VCPU },
    { "migration_thread", QH_ROLE_MIGRATION },
    { "bg_migration_thread", QH_ROLE_MIGRATION },
    { "multifd_send_thread", QH_ROLE_MIGRATION },
    { "multifd_recv_thread", QH_ROLE_MIGRATION },
};

static void judge_role(struct qh_thread *thread)
{
    for (size_t i = 0; thread->role == QH_ROLE_OTHER && i < QH_COUNT(roles);
         i++) {
        if (qh_backtrace_has(&thread->stack, roles[i].function)) {
            thread->role = roles[i].role;
        }
    }
}

/* Of a thread that seems asleep: one that only looked was not. */
static enum qh_kernel_wait check_timeout(struct qh_reader *reader,
                                         enum qh_call_timeout timeout,
                                         struct raddr at)
{
    int64_t timespec[2]; /* tv_sec, tv_nsec */

    if (timeout != QH_TIMEOUT_TIMESPEC) {
        return timeout == QH_TIMEOUT_ZERO ? QH_WAIT_NONE : QH_WAIT_BLOCKED;
    }
    struct qh_error *error =
        qh_target_read(reader->target, at, timespec, sizeof(timespec));
    if (error || qh_target_is_late(reader->target, at)) {
        qh_error_destroy(error);
        return QH_WAIT_UNSURE;
    }
    return timespec[0] || timespec[1] ? QH_WAIT_BLOCKED : QH_WAIT_NONE;
}

/* Where it is not sure that a thread sleeps, the next sample of a process will
 * tell, and nothing is made of this one, unless it is all that there is. */
static void judge_state(struct qh_reader *reader, struct qh_thread *thread,
                        const struct qh_task *task)
{
    bool only_sample = reader->snapshot->kind != QH_TARGET_LIVE;
    struct raddr timespec;

    if (in_kernel(task)) {
        thread->state = QH_THREAD_IN_KERNEL;
        thread->blocked_in = task->wchan[0] ? task->wchan : "the kernel";
        return;
    }
    enum qh_kernel_wait wait = qh_arch_wait(task, &thread->blocked_in);
    if (wait == QH_WAIT_BLOCKED) {
        enum qh_call_timeout timeout = qh_arch_timeout(task, &timespec);
        wait = check_timeout(reader, timeout, timespec);
    }
    thread->perhaps_awake = only_sample && wait == QH_WAIT_UNSURE;
    if (wait == QH_WAIT_BLOCKED || thread->perhaps_awake) {
        thread->state = QH_THREAD_BLOCKED;
        if (!thread->blocked_in) {
            thread->blocked_in = "a system call";
        }
    } else {
        thread->blocked_in = NULL;
        thread->state = QH_THREAD_RUNNABLE;
        thread->perhaps_asleep = wait == QH_WAIT_UNSURE;
    }
}

/* Functions that poll for a context, with the names of their parameters. */
static const struct {
    const char *function;
    const char *context;
    const char *timeout;
} pollers[] = {
    { "aio_poll", "ctx", "timeout" },
    { "fdmon_io_uring_wait", "ctx", "timeout" },
    { "fdmon_poll_wait", "ctx", "timeout" },
    { "fdmon_epoll_wait", "ctx", "timeout" },
};

/* Optimised code loses a parameter in one frame and keeps it in another, so
 * each of the nested functions is asked. clang 14 even calls `timeout` of
 * aio_poll() a constant 0 where it is not; a thread that sleeps cannot have
 * meant that. */
static void judge_poll(struct qh_reader *reader, struct qh_thread *thread,
                       const struct qh_thread_work *work)
{
    const struct qh_walk *walk = &work->walk;
    bool asleep = thread->state == QH_THREAD_BLOCKED;
    struct raddr timespec;
    uint64_t value;

    if (asleep && qh_arch_timeout(work->task, &timespec) == QH_TIMEOUT_NONE) {
        thread->timeout_ns = -1;
    }
    for (size_t i = 0; i < QH_COUNT(pollers); i++) {
        const char *function = pollers[i].function;
        if (!thread->polls.value &&
            qh_walk_knows(reader, walk, function, pollers[i].context, &value) &&
            qh_snapshot_context(reader->snapshot, qh_raddr(value))) {
            thread->polls = qh_raddr(value);
        }
        if (thread->timeout_ns == QH_TIME_UNKNOWN &&
            qh_walk_knows(reader, walk, function, pollers[i].timeout, &value) &&
            !(asleep && value == 0)) {
            thread->timeout_ns = (int64_t)value;
        }
    }
    if (!thread->polls.value && qh_backtrace_has(&thread->stack, "aio_poll")) {
        thread->polls = thread->home;
    }
}

static void set_poller(struct qh_snapshot *snapshot,
                       const struct qh_thread *thread)
{
    for (size_t i = 0; i < snapshot->context_count; i++) {
        struct qh_context *context = &snapshot->contexts[i];
        if (qh_raddr_equal(context->address, thread->polls)) {
            context->poller = thread->tid;
        }
    }
}

/* "io0" of a context that is named "iothread io0". */
static const char *iothread_id(const struct qh_snapshot *snapshot,
                               const struct qh_thread *thread)
{
    static const char prefix[] = "iothread ";
    const struct qh_context *home = qh_snapshot_context(snapshot, thread->home);

    if (home && !strncmp(home->name, prefix, sizeof(prefix) - 1)) {
        return home->name + sizeof(prefix) - 1;
    }
    return NULL;
}

struct qh_error *qh_judge_threads(struct qh_reader *reader)
{
    struct qh_snapshot *snapshot = reader->snapshot;

    for (size_t i = 0; i < snapshot->thread_count; i++) {
        struct qh_thread *thread = &snapshot->threads[i];
        judge_role(thread);
        judge_state(reader, thread, reader->threads[i].task);
        judge_poll(reader, thread, &reader->threads[i]);
        set_poller(snapshot, thread);
        thread->iothread = iothread_id(snapshot, thread);
        if (thread->blocked_in) {
            thread->blocked_in =
                qh_arena_strdup(&snapshot->arena, thread->blocked_in);
        }
    }
    return NULL;
}
