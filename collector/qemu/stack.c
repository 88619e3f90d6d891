/* Stacks: copied while the target stands still, walked after it runs on.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A thread that is inside of a coroutine has its stack in parts: the
 * coroutine's, those of the coroutines that entered it, and its own, whose
 * registers its leader's jmp_buf holds (util/coroutine-ucontext.c). */
#include "qemu/reader.h"
#include "target/arch.h"

#include <string.h>

/* What is copied of a stack at most; a hang is never that deep. */
enum { MAX_STACK_BYTES = 256 << 10, RED_ZONE_BYTES = 128 };

/* From the stack pointer to the end of its mapping, or as much as is sane. */
static struct qh_error *add_stack(struct qh_reader *reader, uint64_t sp,
                                  struct qh_ranges *ranges)
{
    const struct qh_mapping *mapping =
        qh_target_mapping_at(reader->target, qh_raddr(sp));

    if (!mapping) {
        return NULL;
    }
    uint64_t end = mapping->end;
    size_t coroutine = qh_coroutine_by_stack(reader, qh_raddr(sp));
    if (coroutine != SIZE_MAX) {
        const struct qh_coroutine *at =
            &reader->snapshot->coroutines[coroutine];
        end = at->stack_start.value + at->stack_bytes;
    }
    if (end - sp > MAX_STACK_BYTES) {
        end = sp + MAX_STACK_BYTES;
    }
    uint64_t start =
        sp - mapping->start < RED_ZONE_BYTES ? sp : sp - RED_ZONE_BYTES;
    return qh_ranges_add(ranges, start, end);
}

struct qh_error *qh_read_env(struct qh_reader *reader, struct raddr ucontext,
                             struct qh_registers *ret)
{
    uint64_t slots[QH_ARCH_JMPBUF_SLOTS];

    if (!reader->has_pointer_guard) {
        return qh_error_new(QH_ERR_ABSENT, "no thread's pointer guard is "
                                           "known");
    }
    QH_TRY(qh_target_read(reader->target,
                          qh_field_at(reader, ucontext, QH_F_UC_ENV), slots,
                          sizeof(slots)));
    qh_arch_jmpbuf(slots, reader->pointer_guard, ret);
    return NULL;
}

static struct raddr leader_context(struct qh_reader *reader,
                                   const struct qh_thread_work *work)
{
    uint64_t base = reader->layout->fields[QH_F_UC_BASE].at.offset;

    return qh_raddr(work->leader.value - base);
}

struct qh_error *qh_read_below(struct qh_reader *reader,
                               const struct qh_thread_work *work,
                               struct qh_registers *ret)
{
    if (!work->current.value || !work->leader.value) {
        *ret = (struct qh_registers){ .known = 0 };
        return NULL;
    }
    return qh_read_env(reader, leader_context(reader, work), ret);
}

static struct qh_error *add_thread_stacks(struct qh_reader *reader,
                                          const struct qh_thread_work *work,
                                          struct qh_ranges *ranges)
{
    struct qh_registers regs;

    if (work->task->stop != QH_TASK_STOPPED) {
        return NULL;
    }
    QH_TRY(add_stack(reader, work->task->regs.dwarf[QH_REG_RSP], ranges));
    if (work->current.value && work->leader.value) {
        QH_NOTE(reader, "registers below a coroutine",
                qh_read_env(reader, leader_context(reader, work), &regs));
        QH_TRY(add_stack(reader, regs.dwarf[QH_REG_RSP], ranges));
    }
    return NULL;
}

struct qh_error *qh_copy_stacks(struct qh_reader *reader)
{
    QH_CLEANUP(qh_ranges_guard) struct qh_ranges ranges = { 0 };
    struct qh_snapshot *snapshot = reader->snapshot;

    for (size_t i = 0; i < snapshot->thread_count; i++) {
        QH_TRY(add_thread_stacks(reader, &reader->threads[i], &ranges));
    }
    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        const struct qh_registers *regs = &snapshot->coroutines[i].regs;
        if (regs->known) {
            QH_TRY(add_stack(reader, regs->dwarf[QH_REG_RSP], &ranges));
        }
    }
    return qh_target_prefetch(reader->target, ranges.items, ranges.count);
}

/* Walks one part and hangs its lines on the backtrace. */
static struct qh_error *add_part(struct qh_reader *reader, struct qh_walk *walk,
                                 const struct qh_registers *regs)
{
    struct qh_arena *arena = &reader->snapshot->arena;
    struct qh_unwound_stack *part =
        qh_list_add(arena, &walk->parts, &walk->part_count, &walk->part_room,
                    sizeof(*part));
    struct qh_frame *frames;
    size_t count;

    if (!part) {
        return qh_error_no_memory();
    }
    QH_TRY(qh_unwind(reader->qemu->debug, regs, arena, part));
    QH_TRY(qh_symbolise(reader->qemu->debug, part, arena, &frames, &count));
    for (size_t i = 0; i < count; i++) {
        struct qh_frame *line =
            qh_list_add(arena, &walk->lines->frames, &walk->lines->count,
                        &walk->line_room, sizeof(*line));
        size_t *part_of =
            qh_list_add(arena, &walk->part_of, &walk->part_of_count,
                        &walk->part_of_room, sizeof(*part_of));
        if (!line || !part_of) {
            return qh_error_no_memory();
        }
        *line = frames[i];
        *part_of = walk->part_count - 1;
    }
    if (!walk->lines->cut) { /* the outer parts do not make it whole again */
        walk->lines->cut = part->cut;
    }
    return NULL;
}

/* On from a coroutine's start into what entered it, down to the thread. */
static struct qh_error *walk_below(struct qh_reader *reader,
                                   const struct qh_thread_work *work,
                                   struct qh_walk *walk)
{
    const struct qh_coroutine *coroutines = reader->snapshot->coroutines;
    size_t index = qh_coroutine_index(reader, work->current);
    struct qh_loop_guard guard = { 0 };
    struct qh_registers regs;

    while (index != SIZE_MAX) {
        struct raddr caller = coroutines[index].caller;
        QH_TRY(qh_loop_check(reader, &guard, caller));
        index = qh_coroutine_index(reader, caller);
        if (index != SIZE_MAX && coroutines[index].regs.known) {
            QH_TRY(add_part(reader, walk, &coroutines[index].regs));
        }
    }
    QH_TRY(qh_read_env(reader, leader_context(reader, work), &regs));
    return add_part(reader, walk, &regs);
}

/* The threads that run event loops; code of others may well be of a kind that
 * cannot be walked, such as what TCG generates for vCPUs. */
static bool has_loop(const struct qh_reader *reader,
                     const struct qh_thread *thread)
{
    return thread->tid == reader->snapshot->pid || thread->home.value;
}

#define WITHOUT_NO_STOP "run it again without --no-stop"

/* Of one that runs while it is looked at, nothing is known either. */
static struct qh_error *note_running(struct qh_reader *reader,
                                     struct qh_thread *thread)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    const char *what =
        qh_arena_printf(&snapshot->arena, "stack of thread %d", thread->tid);

    thread->stack.cut = "it ran while it was looked at";
    if (!has_loop(reader, thread)) {
        return NULL;
    }
    return what ? qh_snapshot_gap(snapshot, what, qh_raddr(0),
                                  thread->stack.cut, WITHOUT_NO_STOP)
                : qh_error_no_memory();
}

/* A thread that was not stopped has no stack to show: what it does is not
 * known, and the report must not look as if it were. */
static struct qh_error *note_unstopped(struct qh_reader *reader,
                                       struct qh_thread *thread,
                                       const struct qh_task *task)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    bool in_kernel = thread->state == QH_THREAD_IN_KERNEL;
    const char *what =
        qh_arena_printf(&snapshot->arena, "stack of thread %d", thread->tid);

    if (task->stop == QH_TASK_UNTOLD) { /* noted with the registers */
        thread->stack.cut = qh_arena_strdup(&snapshot->arena, task->untold);
        return thread->stack.cut ? NULL : qh_error_no_memory();
    }
    thread->stack.cut = in_kernel ? "in the kernel (state D): did not stop"
                                  : "did not get to a CPU to be stopped";
    const char *advice =
        in_kernel ? "look at what it waits for: /proc/PID/task/TID/stack"
        : snapshot->kind == QH_TARGET_CORE
            ? "capture it again, with a larger --stop-bound"
            : "give it longer to stop, with a larger --stop-bound";
    return what ? qh_snapshot_gap(snapshot, what, qh_raddr(0),
                                  thread->stack.cut, advice)
                : qh_error_no_memory();
}

/* What is missing of a stack hides what the rules look for. */
static struct qh_error *note_cut(struct qh_reader *reader, const char *what,
                                 struct raddr address,
                                 const struct qh_backtrace *stack)
{
    if (!stack->cut) {
        return NULL;
    }
    return qh_snapshot_gap(reader->snapshot, what, address, stack->cut,
                           reader->snapshot->unstopped
                               ? WITHOUT_NO_STOP
                               : "have the very files that the process has "
                                 "mapped at their places, or diagnose it where "
                                 "it ran");
}

static struct qh_error *note_cut_thread(struct qh_reader *reader,
                                        const struct qh_thread *thread)
{
    struct qh_snapshot *snapshot = reader->snapshot;

    if (!has_loop(reader, thread)) {
        return NULL;
    }
    const char *what =
        qh_arena_printf(&snapshot->arena, "stack of thread %d", thread->tid);
    return what ? note_cut(reader, what, qh_raddr(0), &thread->stack)
                : qh_error_no_memory();
}

static struct qh_error *walk_thread(struct qh_reader *reader,
                                    struct qh_thread *thread,
                                    struct qh_thread_work *work)
{
    work->walk.lines = &thread->stack;
    if (work->task->stop == QH_TASK_RUNNING) {
        return note_running(reader, thread);
    }
    if (work->task->stop != QH_TASK_STOPPED) {
        return note_unstopped(reader, thread, work->task);
    }
    QH_TRY(add_part(reader, &work->walk, &work->task->regs));
    if (work->current.value && work->leader.value) {
        QH_TRY(walk_below(reader, work, &work->walk));
    }
    return note_cut_thread(reader, thread);
}

/* A running coroutine's stack is the first part of its thread's. */
static void share_running(struct qh_reader *reader,
                          const struct qh_thread *thread,
                          const struct qh_thread_work *work)
{
    size_t index = qh_coroutine_index(reader, work->current);

    if (index == SIZE_MAX || !work->walk.part_count ||
        reader->snapshot->coroutines[index].stack.count) {
        return; /* two threads may claim to run it */
    }
    struct qh_backtrace *stack = &reader->snapshot->coroutines[index].stack;
    stack->frames = thread->stack.frames;
    while (stack->count < thread->stack.count &&
           work->walk.part_of[stack->count] == 0) {
        stack->count++;
    }
    stack->cut = work->walk.parts[0].cut;
    reader->coroutines[index].walk = work->walk;
}

/* Parked in its first switch, or not even there: it has not been entered. */
static bool is_unentered(const struct qh_backtrace *stack)
{
    for (size_t i = 0; i < stack->count; i++) {
        const char *function = stack->frames[i].function;
        if (function && !strcmp(function, "coroutine_trampoline")) {
            return true;
        }
        if (!function || strcmp(function, "qemu_coroutine_switch") != 0) {
            return false;
        }
    }
    return false;
}

/*
 * Whether a coroutine's stack is walked. Each takes some time, so a glance
 * before the stop, at a process with many, leaves out all but those that sleep
 * or were scheduled: what it is after is a lost wake-up. All are copied
 * nevertheless, which has the page cache's memory there by the time of the
 * stop.
 */
static bool is_walked(const struct qh_reader *reader,
                      const struct qh_coroutine *coroutine)
{
    enum { MANY = 256 };

    return coroutine->scheduled || reader->snapshot->coroutine_count <= MANY ||
           !qh_target_process(reader->target)->is_glance;
}

static struct qh_error *walk_coroutine(struct qh_reader *reader,
                                       struct qh_coroutine *coroutine,
                                       struct qh_coroutine_work *work)
{
    if (coroutine->state == QH_CO_RUNNING || !is_walked(reader, coroutine)) {
        return NULL;
    }
    work->walk.lines = &coroutine->stack;
    if (!coroutine->regs.known) {
        coroutine->stack.cut = "its saved registers could not be read";
        return note_cut(reader, "stack of a coroutine", coroutine->address,
                        &coroutine->stack);
    }
    QH_TRY(add_part(reader, &work->walk, &coroutine->regs));
    if (coroutine->state == QH_CO_SUSPENDED &&
        is_unentered(&coroutine->stack)) {
        coroutine->state = QH_CO_CREATED;
    }
    return coroutine->state == QH_CO_POOLED
               ? NULL
               : note_cut(reader, "stack of a coroutine", coroutine->address,
                          &coroutine->stack);
}

struct qh_error *qh_walk_stacks(struct qh_reader *reader)
{
    struct qh_snapshot *snapshot = reader->snapshot;

    for (size_t i = 0; i < snapshot->thread_count; i++) {
        QH_NOTE(
            reader, "stack of a thread",
            walk_thread(reader, &snapshot->threads[i], &reader->threads[i]));
        share_running(reader, &snapshot->threads[i], &reader->threads[i]);
    }
    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        QH_NOTE(reader, "stack of a coroutine",
                walk_coroutine(reader, &snapshot->coroutines[i],
                               &reader->coroutines[i]));
    }
    return NULL;
}

/* The first line of `function`, or SIZE_MAX. */
static size_t find_line(const struct qh_walk *walk, const char *function)
{
    for (size_t i = 0; walk->lines && i < walk->lines->count; i++) {
        const char *name = walk->lines->frames[i].function;
        if (name && !strcmp(name, function)) {
            return i;
        }
    }
    return SIZE_MAX;
}

static struct qh_error *no_such_frame(const char *function)
{
    return qh_error_new(QH_ERR_ABSENT, "no frame of %s()", function);
}

struct qh_error *qh_walk_value(struct qh_reader *reader,
                               const struct qh_walk *walk, const char *function,
                               const char *name, uint64_t *ret)
{
    size_t line = find_line(walk, function);

    if (line == SIZE_MAX) {
        return no_such_frame(function);
    }
    return qh_frame_value(
        reader->qemu->debug, &walk->parts[walk->part_of[line]],
        walk->lines->frames[line].unwound, function, name, ret);
}

struct qh_error *qh_walk_address(struct qh_reader *reader,
                                 const struct qh_walk *walk,
                                 const char *function, const char *name,
                                 struct raddr *ret)
{
    size_t line = find_line(walk, function);
    struct qh_variable variable;

    if (line == SIZE_MAX) {
        return no_such_frame(function);
    }
    QH_TRY(qh_frame_variable(
        reader->qemu->debug, &walk->parts[walk->part_of[line]],
        walk->lines->frames[line].unwound, function, name, &variable));
    if (!variable.in_memory) {
        return qh_error_new(QH_ERR_ABSENT, "%s of %s() is not in memory", name,
                            function);
    }
    *ret = variable.address;
    return NULL;
}

bool qh_walk_knows(struct qh_reader *reader, const struct qh_walk *walk,
                   const char *function, const char *name, uint64_t *ret)
{
    struct qh_error *error = qh_walk_value(reader, walk, function, name, ret);
    bool knows = !error;

    qh_error_destroy(error);
    return knows;
}
