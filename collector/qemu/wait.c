/* What each thread waits for.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/wait.h"

#include <string.h>

/* What is brought in early of the next sample; more is late again. */
enum { MAX_WANTED = 4096 };

/* Functions that wait, under all names that they have had. */
static const struct {
    const char *function;
    struct qh_error *(*tell)(struct qh_wait_maker *maker);
} waiting[] = {
    { "aio_poll", qh_tell_poll },
    { "qemu_mutex_lock_impl", qh_tell_mutex },
    { "qemu_mutex_lock", qh_tell_mutex },
    { "qemu_cond_wait_impl", qh_tell_cond },
    { "qemu_cond_timedwait_ts", qh_tell_cond },
    { "qemu_cond_wait", qh_tell_cond },
    { "qemu_event_wait", qh_tell_event },
    { "qemu_thread_join", qh_tell_join },
    { "wait_for_readers", qh_tell_rcu },
};

/* Loops that rest in no aio_poll() of their own. */
static const char *const loops[] = { "main_loop_wait", "g_main_loop_run",
                                     "g_main_context_iteration" };

/* Functions that call back: a thread that sleeps inside one of them waits for
 * something of the callback's own. */
static const char *const serving[] = { "aio_bh_poll",
                                       "aio_bh_call",
                                       "aio_dispatch",
                                       "aio_dispatch_handler",
                                       "aio_dispatch_handlers",
                                       "aio_dispatch_ready_handlers",
                                       "timerlist_run_timers",
                                       "qemu_aio_coroutine_enter",
                                       "g_main_context_dispatch",
                                       "glib_pollfds_poll",
                                       "coroutine_trampoline" };

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(name, names[i])) {
            return true;
        }
    }
    return false;
}

/* The index in waiting[], or its number. */
static size_t waiting_as(const char *function)
{
    size_t i = 0;

    while (i < QH_COUNT(waiting) && strcmp(waiting[i].function, function)) {
        i++;
    }
    return i;
}

/* Looks outwards for the frame that tells the wait. */
static struct qh_error *tell_by_frames(struct qh_wait_maker *maker)
{
    const struct qh_backtrace *stack = &maker->thread->stack;

    for (size_t i = 0; i < stack->count; i++) {
        const char *function = stack->frames[i].function;
        if (!function) {
            continue;
        }
        if (is_one_of(function, serving, QH_COUNT(serving))) {
            return NULL;
        }
        size_t known = waiting_as(function);
        if (known < QH_COUNT(waiting)) {
            maker->frame = i;
            maker->wait->function = function;
            return waiting[known].tell(maker);
        }
        if (is_one_of(function, loops, QH_COUNT(loops))) {
            maker->wait->kind = QH_WAIT_EVENTS;
            maker->wait->function = function;
            return NULL;
        }
    }
    return NULL;
}

static struct qh_error *add_wait(struct qh_reader *reader, size_t index)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    const struct qh_thread *thread = &snapshot->threads[index];
    struct qh_wait *wait =
        qh_list_add(&snapshot->arena, &snapshot->waits, &snapshot->wait_count,
                    &snapshot->room.waits, sizeof(*wait));

    if (!wait) {
        return qh_error_no_memory();
    }
    *wait = (struct qh_wait){ .kind = QH_WAIT_UNKNOWN, .tid = thread->tid };
    if (thread->state == QH_THREAD_IN_KERNEL) {
        wait->kind = QH_WAIT_KERNEL;
        wait->object_name = thread->blocked_in;
        return NULL;
    }
    struct qh_wait_maker maker = {
        .reader = reader,
        .thread = thread,
        .task = reader->threads[index].task,
        .walk = &reader->threads[index].walk,
        .wait = wait,
    };
    const char *what = qh_arena_printf(&snapshot->arena, "wait of thread %d",
                                       (int)thread->tid);
    if (!what) {
        return qh_error_no_memory();
    }
    QH_NOTE(reader, what, tell_by_frames(&maker));
    return NULL;
}

struct qh_error *qh_read_thread_waits(struct qh_reader *reader)
{
    const struct qh_snapshot *snapshot = reader->snapshot;

    reader->qemu->wanted.count = 0;
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        if (snapshot->threads[i].state != QH_THREAD_RUNNABLE) {
            QH_TRY(add_wait(reader, i));
        }
    }
    return NULL;
}

struct qh_error *qh_prefetch_waits(struct qh_reader *reader)
{
    const struct qh_ranges *wanted = &reader->qemu->wanted;

    return qh_target_prefetch(reader->target, wanted->items, wanted->count);
}

/* ---- reading ---- */

struct qh_error *qh_wait_read(struct qh_wait_maker *maker, struct raddr address,
                              size_t bytes, uint64_t *ret)
{
    struct qh_reader *reader = maker->reader;
    uint64_t value = 0;

    QH_TRY(qh_target_read(reader->target, address, &value, bytes));
    if (reader->qemu->wanted.count < MAX_WANTED) {
        QH_TRY(qh_ranges_add(&reader->qemu->wanted, address.value,
                             address.value + bytes));
    }
    maker->wait->late |= qh_target_is_late(reader->target, address);
    *ret = value;
    return NULL;
}

struct qh_error *qh_wait_member(struct qh_wait_maker *maker,
                                struct raddr object,
                                const struct qh_member *member,
                                struct raddr *ret_address, uint64_t *ret)
{
    struct qh_field field;

    QH_TRY(qh_debug_field(maker->reader->qemu->debug, member->type,
                          member->path, member->anchor, &field));
    if (!field.bytes || field.bytes > sizeof(*ret) || field.bit_width) {
        return qh_error_new(QH_ERR_INCONSISTENT, "%s.%s is no plain integer",
                            member->type, member->path);
    }
    *ret_address = qh_raddr_add(object, field.offset);
    QH_TRY(qh_wait_read(maker, *ret_address, field.bytes, ret));
    if (field.is_signed && field.bytes == 4) {
        *ret = (uint64_t)(int64_t)(int32_t)*ret;
    }
    return NULL;
}

struct qh_error *qh_wait_link(struct qh_wait_maker *maker, struct raddr object,
                              const struct qh_member *member, struct raddr *ret)
{
    struct raddr address;

    return qh_wait_member(maker, object, member, &address, &ret->value);
}

struct qh_error *qh_wait_operand(struct qh_wait_maker *maker, const char *what,
                                 struct raddr address, uint64_t value,
                                 struct qh_error *error)
{
    struct qh_snapshot *snapshot = maker->reader->snapshot;
    struct qh_wait *wait = maker->wait;
    struct qh_operand *operand =
        qh_list_add(&snapshot->arena, &wait->operands, &wait->operand_count,
                    &maker->operand_room, sizeof(*operand));

    if (!operand) {
        qh_error_destroy(error);
        return qh_error_no_memory();
    }
    *operand = (struct qh_operand){
        .what = what,
        .address = address,
        .value = (int64_t)value,
        .known = !error,
    };
    if (!error) {
        return NULL;
    }
    const char *gap = qh_arena_printf(
        &snapshot->arena, "%s, which thread %d waits for in %s()", what,
        (int)maker->thread->tid, wait->function ? wait->function : "?");
    if (!gap) {
        qh_error_destroy(error);
        return qh_error_no_memory();
    }
    return qh_snapshot_gap_error(snapshot, gap, error);
}

struct qh_error *qh_wait_operand_of(struct qh_wait_maker *maker,
                                    struct raddr object,
                                    const struct qh_member *member,
                                    const char *what)
{
    struct raddr address = { 0 };
    uint64_t value = 0;
    struct qh_error *error =
        qh_wait_member(maker, object, member, &address, &value);

    return qh_wait_operand(maker, what, address, value, error);
}
