/* Threads that wait for mutexes, conditions, events, threads, RCU readers.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source of facts: util/qemu-thread-posix.c, util/event.c, util/rcu.c,
 * include/qemu/rcu.h; pthread_mutex_t as DWARF describes it. */
#include "qemu/wait.h"

#include <string.h>
#include <sys/syscall.h>

/* X(name, type, path, anchor) */
static const struct qh_member mutex_lock = { "QemuMutex", "lock.__data.__lock",
                                             ANCHOR_MUTEX };
static const struct qh_member mutex_owner = { "QemuMutex",
                                              "lock.__data.__owner",
                                              ANCHOR_MUTEX };
static const struct qh_member event_value = { "QemuEvent", "value",
                                              "qemu_event_wait" };
static const struct qh_member reader_ctr = { "rcu_reader_data", "ctr",
                                             "wait_for_readers" };

pid_t qh_thread_by_own_tid(const struct qh_reader *reader, uint64_t tid)
{
    const struct qh_snapshot *snapshot = reader->snapshot;

    for (size_t i = 0; tid && i < snapshot->thread_count; i++) {
        if ((uint64_t)reader->threads[i].task->own_tid == tid) {
            return snapshot->threads[i].tid;
        }
    }
    return 0;
}

/*
 * Whether the tids that memory holds are those that the target goes by. A core
 * need not have them: gcore of a process in a container writes the ids that
 * gdb sees. glibc keeps a thread's own id in its struct pthread, which begins
 * at the thread pointer (nptl/descr.h).
 */
static bool tids_agree(struct qh_reader *reader)
{
    int32_t words[256];

    if (reader->snapshot->kind != QH_TARGET_CORE) {
        return true;
    }
    for (size_t i = 0; i < reader->snapshot->thread_count; i++) {
        const struct qh_task *task = reader->threads[i].task;
        struct qh_error *error = qh_target_read(
            reader->target, qh_raddr(task->fs_base), words, sizeof(words));
        for (size_t at = 0; !error && at < QH_COUNT(words); at++) {
            if (words[at] == task->own_tid) {
                return true;
            }
        }
        qh_error_destroy(error);
    }
    return false;
}

/* The word that a thread sleeps on, by the arguments of its system call. One
 * with a timeout goes on as restart_syscall(2) once it was stopped, with the
 * arguments still there. */
static bool futex_word(const struct qh_task *task, struct raddr *ret)
{
    *ret = qh_raddr(task->regs.dwarf[QH_REG_RDI]);
    return (task->orig_rax == SYS_futex ||
            task->orig_rax == SYS_restart_syscall) &&
           ret->value;
}

/* The object that the frame waits for: its parameter `name`, else what the
 * futex says, at whose start that object's word lies. */
static bool find_object(struct qh_wait_maker *maker, const char *name,
                        bool by_futex, struct raddr *ret)
{
    return qh_walk_knows(maker->reader, maker->walk, maker->wait->function,
                         name, &ret->value) ||
           (by_futex && futex_word(maker->task, ret));
}

static bool is_bql(const struct qh_reader *reader, struct raddr mutex)
{
    return qh_raddr_equal(mutex, qh_symbol(reader, QH_S_BQL)) ||
           qh_raddr_equal(mutex, qh_symbol(reader, QH_S_GLOBAL_MUTEX));
}

static struct qh_error *read_owner(struct qh_wait_maker *maker,
                                   struct raddr mutex)
{
    struct raddr address = { 0 };
    uint64_t owner = 0;

    QH_TRY(qh_wait_operand_of(maker, mutex, &mutex_lock, "__lock"));
    struct qh_error *error =
        qh_wait_member(maker, mutex, &mutex_owner, &address, &owner);
    if (!error && !tids_agree(maker->reader)) {
        error = qh_error_new(QH_ERR_ABSENT, "the core has other thread ids "
                                            "than the process itself");
    }
    if (!error) {
        maker->wait->owner_tid = qh_thread_by_own_tid(maker->reader, owner);
    }
    return qh_wait_operand(maker, "__owner", address, owner, error);
}

struct qh_error *qh_tell_mutex(struct qh_wait_maker *maker)
{
    struct qh_wait *wait = maker->wait;

    wait->kind = QH_WAIT_MUTEX;
    if (!find_object(maker, "mutex", true, &wait->object)) {
        return qh_error_new(QH_ERR_ABSENT,
                            "the frames do not tell which mutex it is");
    }
    if (is_bql(maker->reader, wait->object)) {
        wait->kind = QH_WAIT_BQL;
    }
    return read_owner(maker, wait->object);
}

/* Whoever signals it is not known. Where the frames do not tell which one it
 * is, the futex is some word of it. */
struct qh_error *qh_tell_cond(struct qh_wait_maker *maker)
{
    maker->wait->kind = QH_WAIT_COND;
    find_object(maker, "cond", true, &maker->wait->object);
    return NULL;
}

struct qh_error *qh_tell_event(struct qh_wait_maker *maker)
{
    struct qh_wait *wait = maker->wait;
    const struct qh_backtrace *stack = &maker->thread->stack;

    if (qh_backtrace_has(stack, "wait_for_readers")) {
        return qh_tell_rcu(maker);
    }
    wait->kind =
        qh_backtrace_has(stack, "drain_call_rcu") ? QH_WAIT_RCU : QH_WAIT_EVENT;
    if (!find_object(maker, "ev", true, &wait->object)) {
        return qh_error_new(QH_ERR_ABSENT,
                            "the frames do not tell which event it is");
    }
    return qh_wait_operand_of(maker, wait->object, &event_value, "value");
}

/* pthread_join() sleeps on the word that holds the other's tid until the
 * kernel clears it (CLONE_CHILD_CLEARTID, set_tid_address(2)). */
struct qh_error *qh_tell_join(struct qh_wait_maker *maker)
{
    struct raddr word;
    uint64_t tid;

    maker->wait->kind = QH_WAIT_JOIN;
    if (!futex_word(maker->task, &word)) {
        return NULL;
    }
    QH_TRY(qh_wait_read(maker, word, 4, &tid));
    maker->wait->object = word;
    maker->wait->owner_tid = qh_thread_by_own_tid(maker->reader, tid);
    return qh_wait_operand(maker, "tid", word, tid, NULL);
}

/* A reader holds the grace period up while its counter is set and not the
 * present one (util/rcu.c, rcu_gp_ongoing()). */
static struct qh_error *find_reader(struct qh_wait_maker *maker,
                                    uint64_t present)
{
    struct qh_reader *reader = maker->reader;

    for (size_t i = 0; i < reader->snapshot->thread_count; i++) {
        struct raddr data, address;
        uint64_t ctr;
        if (!reader->threads[i].task->fs_base) {
            continue;
        }
        QH_TRY(qh_debug_tls(reader->qemu->debug, "co_tls_rcu_reader",
                            reader->threads[i].task->fs_base, &data));
        QH_TRY(qh_wait_member(maker, data, &reader_ctr, &address, &ctr));
        if (ctr && ctr != present) {
            maker->wait->owner_tid = reader->snapshot->threads[i].tid;
            return qh_wait_operand(maker, "ctr", address, ctr, NULL);
        }
    }
    return NULL;
}

struct qh_error *qh_tell_rcu(struct qh_wait_maker *maker)
{
    struct qh_debug *debug = maker->reader->qemu->debug;
    struct raddr counter;
    uint64_t present;

    maker->wait->kind = QH_WAIT_RCU;
    maker->wait->function = "wait_for_readers";
    QH_TRY(qh_debug_symbol(debug, "rcu_gp_ctr", &counter));
    QH_TRY(qh_wait_read(maker, counter, 8, &present));
    maker->wait->object = counter;
    return find_reader(maker, present);
}
