/* What of live stacks holds no pointer that counts.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A loop's thread sleeps at the same depth at which it has served what came
 * before: in the gaps of aio_poll()'s frame, and of those that it calls, stands
 * what was known to functions that have returned. None of these functions
 * knows a coroutine, so their locals do not count; what they have saved of
 * their callers' registers, just below the return address, does.
 *
 * A coroutine starts with the registers of the one that created it:
 * getcontext() saves them, and swapcontext() takes them up
 * (util/coroutine-ucontext.c). Its first function saves those that it uses.
 * They mean nothing to it; a request that begins the next one as the NBD
 * server's do would be known by that for ever.
 *
 * Frames are told from a walk, and in a stop there is no time for one. So those
 * of the sample before stand for them, where the thread is at the same place
 * and the return addresses, or the words, are the same. Source of facts:
 * util/aio-posix.c, util/fdmon-*.c, util/main-loop.c. */
#include "qemu/references.h"

#include <string.h>

/* The return address and the six registers that a function saves, and one word
 * to align them; and how far in the wait may lie in a library. */
enum { SAVED_BYTES = 64, RED_ZONE_BYTES = 128, LIBRARY_LINES = 6 };

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; name && i < count; i++) {
        if (!strcmp(name, names[i])) {
            return true;
        }
    }
    return false;
}

/* The outermost line of the wait, or SIZE_MAX when the thread is in none. */
static size_t outermost_line(const struct qh_backtrace *stack)
{
    static const char *const waits[] = { "fdmon_poll_wait", "fdmon_epoll_wait",
                                         "fdmon_io_uring_wait",
                                         "qemu_poll_ns" };
    static const char *const polls[] = { "aio_poll", "os_host_main_loop_wait",
                                         "main_loop_wait" };
    size_t i = 0;

    while (i < stack->count && i < LIBRARY_LINES &&
           !is_one_of(stack->frames[i].function, waits, QH_COUNT(waits))) {
        i++;
    }
    if (i == stack->count || i == LIBRARY_LINES) {
        return SIZE_MAX;
    }
    while (i + 1 < stack->count &&
           (is_one_of(stack->frames[i + 1].function, waits, QH_COUNT(waits)) ||
            is_one_of(stack->frames[i + 1].function, polls, QH_COUNT(polls)))) {
        i++;
    }
    return i;
}

static struct qh_error *note_polls(struct qh_qemu *qemu,
                                   const struct qh_thread_work *work,
                                   const struct qh_backtrace *stack)
{
    size_t line = outermost_line(stack);
    const struct qh_unwound_stack *part = work->walk.parts;

    if (line == SIZE_MAX || !work->walk.part_count ||
        work->walk.part_of[line] != 0) {
        return NULL;
    }
    for (size_t i = 0; i <= stack->frames[line].unwound; i++) {
        uint64_t sp = part->frames[i].regs.dwarf[QH_REG_RSP];
        uint64_t cfa = part->frames[i].cfa;
        if (i + 1 >= part->count || cfa <= sp || sp < RED_ZONE_BYTES) {
            return NULL;
        }
        QH_TRY(qh_array_reserve(&qemu->poll_frames, &qemu->poll_frame_room,
                                qemu->poll_frame_count + 1,
                                sizeof(*qemu->poll_frames)));
        qemu->poll_frames[qemu->poll_frame_count++] = (struct qh_poll_frame){
            .tid = work->task->tid,
            .sp = work->task->regs.dwarf[QH_REG_RSP],
            .pc = work->task->regs.dwarf[QH_REG_RIP],
            .start = i ? sp : sp - RED_ZONE_BYTES,
            .cfa = cfa,
            .return_address = part->frames[i + 1].regs.dwarf[QH_REG_RIP],
        };
    }
    return NULL;
}

/* Of the registers that the coroutine's start has been left with. */
static bool was_left_with(const struct qh_unwound *start, uint64_t value)
{
    static const unsigned char saved[] = { QH_REG_RBX,     QH_REG_RBP,
                                           QH_REG_R12,     QH_REG_R12 + 1,
                                           QH_REG_R12 + 2, QH_REG_R12 + 3 };

    for (size_t i = 0; i < QH_COUNT(saved); i++) {
        if (start->regs.known & (1u << saved[i]) &&
            start->regs.dwarf[saved[i]] == value) {
            return true;
        }
    }
    return false;
}

/* The frame of coroutine_trampoline() is as large in each coroutine: it is
 * where makecontext() lays it. */
static void note_start(struct qh_reader *reader, size_t index,
                       const struct qh_unwound *start)
{
    enum { MOST_BYTES = 1024 };
    const struct qh_coroutine *coroutine = &reader->snapshot->coroutines[index];
    uint64_t bytes = coroutine->stack_start.value + coroutine->stack_bytes -
                     start->regs.dwarf[QH_REG_RSP];

    if (bytes <= MOST_BYTES) {
        reader->qemu->start_bytes = bytes;
    }
}

/* Looks at where the first function saves registers: below its return address
 * into coroutine_trampoline(). */
static struct qh_error *note_stale(struct qh_reader *reader, size_t index)
{
    enum { SAVED = 6 };
    const struct qh_walk *walk = &reader->coroutines[index].walk;
    const struct qh_backtrace *stack =
        &reader->snapshot->coroutines[index].stack;
    struct qh_qemu *qemu = reader->qemu;
    uint64_t words[SAVED];

    if (walk->part_count != 1 || !stack->count || stack->cut ||
        !stack->frames[stack->count - 1].function ||
        strcmp(stack->frames[stack->count - 1].function,
               "coroutine_trampoline")) {
        return NULL;
    }
    const struct qh_unwound *start =
        &walk->parts[0].frames[walk->parts[0].count - 1];
    uint64_t at = start->regs.dwarf[QH_REG_RSP] - 8 - sizeof(words);
    note_start(reader, index, start);
    struct qh_error *error =
        qh_target_read(reader->target, qh_raddr(at), words, sizeof(words));
    if (error) {
        qh_error_destroy(error);
        return NULL;
    }
    for (size_t i = 0; i < SAVED; i++) {
        size_t other = qh_coroutine_by_stack(reader, qh_raddr(words[i]));
        if (other == SIZE_MAX || other == index ||
            !was_left_with(start, words[i])) {
            continue;
        }
        QH_TRY(qh_array_reserve(&qemu->stale_words, &qemu->stale_word_room,
                                qemu->stale_word_count + 1,
                                sizeof(*qemu->stale_words)));
        qemu->stale_words[qemu->stale_word_count++] =
            (struct qh_stale_word){ at + 8 * i, words[i] };
    }
    return NULL;
}

struct qh_error *qh_note_frames(struct qh_reader *reader)
{
    const struct qh_snapshot *snapshot = reader->snapshot;

    reader->qemu->poll_frame_count = reader->qemu->stale_word_count = 0;
    reader->qemu->start_bytes = 0;
    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        if (snapshot->coroutines[i].state == QH_CO_SUSPENDED) {
            QH_TRY(note_stale(reader, i));
        }
    }
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        const struct qh_thread *thread = &snapshot->threads[i];
        if (thread->state == QH_THREAD_BLOCKED &&
            reader->threads[i].task->stop == QH_TASK_STOPPED) {
            QH_TRY(
                note_polls(reader->qemu, &reader->threads[i], &thread->stack));
        }
    }
    return NULL;
}

static bool still_stands(struct qh_reader *reader, const struct qh_task *task,
                         const struct qh_poll_frame *frame)
{
    struct raddr at = { frame->cfa - 8 }, word = { 0 };

    if (task->stop != QH_TASK_STOPPED ||
        task->regs.dwarf[QH_REG_RSP] != frame->sp ||
        task->regs.dwarf[QH_REG_RIP] != frame->pc) {
        return false;
    }
    struct qh_error *error = qh_read_pointer(reader, at, &word);
    bool same = !error && word.value == frame->return_address;
    qh_error_destroy(error);
    return same;
}

static struct qh_error *add_stale(struct qh_reader *reader,
                                  struct qh_ranges *ranges)
{
    const struct qh_qemu *qemu = reader->qemu;

    for (size_t i = 0; i < qemu->stale_word_count; i++) {
        struct raddr at = { qemu->stale_words[i].at }, word = { 0 };
        struct qh_error *error = qh_read_pointer(reader, at, &word);
        if (!error && word.value == qemu->stale_words[i].value) {
            QH_TRY(qh_ranges_add(ranges, at.value, at.value + 8));
        }
        qh_error_destroy(error);
    }
    return NULL;
}

/* The frames of a thread stand one behind the other, innermost first: behind
 * one that does not stand any more none does. */
static struct qh_error *add_polls(struct qh_reader *reader,
                                  struct qh_ranges *ranges)
{
    const struct qh_qemu *qemu = reader->qemu;

    for (size_t i = 0; i < reader->snapshot->thread_count; i++) {
        const struct qh_task *task = reader->threads[i].task;
        for (size_t j = 0; j < qemu->poll_frame_count; j++) {
            const struct qh_poll_frame *frame = &qemu->poll_frames[j];
            if (frame->tid != task->tid) {
                continue;
            }
            if (!still_stands(reader, task, frame)) {
                break;
            }
            if (frame->cfa - frame->start > SAVED_BYTES) {
                QH_TRY(qh_ranges_add(ranges, frame->start,
                                     frame->cfa - SAVED_BYTES));
            }
        }
    }
    return NULL;
}

struct qh_error *qh_add_frames(struct qh_reader *reader,
                               struct qh_ranges *ranges)
{
    QH_TRY(add_stale(reader, ranges));
    return add_polls(reader, ranges);
}
