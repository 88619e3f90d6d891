/* Every coroutine, found through its stack's mapping.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QEMU keeps no list of them. Each stack is a mapping of its own: a guard page
 * and 1 MiB above it (util/oslib-posix.c, qemu_alloc_stack(); the size is
 * COROUTINE_STACK_SIZE of include/qemu/coroutine_int.h). Its upper end holds
 * what makecontext() laid there, and a pointer to the CoroutineUContext whose
 * `stack` and `stack_size` name that very mapping (util/coroutine-ucontext.c,
 * coroutine_trampoline() keeps it in its frame). That pair is the proof; the
 * place differs by compiler, and where none keeps it, the heap is searched
 * (search.c). The target must stand still, or stacks are missed. */
#include "qemu/reader.h"
#include "target/arch.h"

#include <string.h>

enum {
    GUARD_BYTES = 4096,
    STACK_BYTES = 1 << 20,
    WHOLE_BYTES = GUARD_BYTES + STACK_BYTES,
    TOP_BYTES = 256,          /* the upper end that is looked through */
    USED_BYTES = 1024,        /* what many a coroutine uses; copied with it */
    CONTEXT_BELOW_TOP = 0x28, /* where every gcc keeps the pointer */
    CONTEXT_REGS_BYTES = QH_ARCH_JMPBUF_SLOTS * 8
};

/* A guard page with room for a stack above it, by the map alone. */
static bool is_candidate(const struct qh_mapping *guard,
                         const struct qh_mapping *stack)
{
    return !guard->writable && !guard->executable && stack->writable &&
           !stack->shared && stack->readable && guard->end == stack->start &&
           guard->end - guard->start >= GUARD_BYTES &&
           stack->end - stack->start >= STACK_BYTES && !stack->path[0];
}

/* Whether a CoroutineUContext of this stack is there; `*image` is its copy. */
static bool names_stack(struct qh_reader *reader, struct raddr ucontext,
                        uint64_t stack, struct qh_image *image)
{
    uint64_t start = 0, bytes = 0;
    struct qh_error *error =
        ucontext.value % 8 || !ucontext.value
            ? qh_error_new(QH_ERR_INCONSISTENT, "no pointer")
            : qh_read_image(reader, ucontext, QH_F_UC_ENV, CONTEXT_REGS_BYTES,
                            image);

    if (!error) {
        error = qh_image_field(reader, image, ucontext, QH_F_UC_STACK, &start);
    }
    if (!error) {
        error =
            qh_image_field(reader, image, ucontext, QH_F_UC_STACK_SIZE, &bytes);
    }
    bool names = !error && start == stack && bytes == WHOLE_BYTES;
    qh_error_destroy(error);
    return names;
}

static struct raddr hinted(const struct qh_qemu *qemu, uint64_t stack)
{
    for (size_t low = 0, high = qemu->hint_count; low < high;) {
        size_t middle = (low + high) / 2;
        if (qemu->hints[middle].stack == stack) {
            return qemu->hints[middle].ucontext;
        }
        if (qemu->hints[middle].stack < stack) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return qh_raddr(0);
}

enum stack_kind { STACK_OTHER, STACK_COROUTINE, STACK_UNRESOLVED };

/* At a stack's top: what makecontext() lays there, and with what swapcontext()
 * lays below it to get to the function. */
enum { MADE_WORDS = 3, SWAPPED_WORDS = 4 };

/* Whether makecontext() prepared this stack for a function of two arguments:
 * it lays the return address, into libc, at top - 0x18 and uc_link, on the
 * stack of who created the coroutine (and may be gone), above that. Neither is
 * ever overwritten. What lies below is the compiler's affair, as is where it
 * saves rbx (which makecontext() sets to top - 0x10). Source: glibc,
 * sysdeps/unix/sysv/linux/x86_64/makecontext.c. */
static bool made_by_makecontext(struct qh_reader *reader, const uint64_t *words,
                                size_t count)
{
    const struct qh_mapping *code = qh_target_mapping_at(
        reader->target, qh_raddr(words[count - MADE_WORDS]));
    uint64_t link = words[count - 2];

    return code && code->executable && code->path[0] && link && link % 8 == 0;
}

/* A coroutine that qemu_coroutine_new() is at work on: at first it has not run,
 * and below what glibc laid there its new mapping is as the kernel gave it;
 * then it runs up to where it saves its registers for the first time, in an
 * `env` that was cleared with the rest. Until then nobody else knows of it: it
 * is no coroutine that could be missed. In between are some instructions in
 * which its stack does not name it yet, clang's all the way to the second: then
 * it is told to be unresolved. Source: util/coroutine-ucontext.c,
 * qemu_coroutine_new(), coroutine_trampoline(). */
static bool has_not_run(const uint64_t *words, size_t count)
{
    return qh_memory_is_zero(words, (count - SWAPPED_WORDS) * sizeof(*words));
}

static bool has_never_left(const struct qh_reader *reader,
                           const struct qh_image *image, struct raddr ucontext)
{
    struct raddr env = qh_field_at(reader, ucontext, QH_F_UC_ENV);
    uint64_t offset = env.value - image->at.value;
    uint64_t slots[QH_ARCH_JMPBUF_SLOTS];

    if (offset > image->bytes || image->bytes - offset < sizeof(slots)) {
        return false;
    }
    memcpy(slots, image->data + offset, sizeof(slots));
    return !slots[QH_ARCH_JMPBUF_PC];
}

/* `*ret` and `*image` are set for STACK_COROUTINE. */
static enum stack_kind find_ucontext(struct qh_reader *reader, uint64_t stack,
                                     struct raddr *ret, struct qh_image *image)
{
    uint64_t top = stack + WHOLE_BYTES;
    uint64_t words[TOP_BYTES / 8];
    struct qh_error *error = qh_target_read(
        reader->target, qh_raddr(top - TOP_BYTES), words, sizeof(words));

    if (error) {
        qh_error_destroy(error);
        return STACK_OTHER;
    }
    const size_t usual = QH_COUNT(words) - CONTEXT_BELOW_TOP / 8;
    for (size_t i = 0; i < QH_COUNT(words); i++) {
        *ret = qh_raddr(words[(usual + QH_COUNT(words) - i) % QH_COUNT(words)]);
        if (names_stack(reader, *ret, stack, image)) {
            return has_never_left(reader, image, *ret) ? STACK_OTHER
                                                       : STACK_COROUTINE;
        }
    }
    if (!made_by_makecontext(reader, words, QH_COUNT(words)) ||
        has_not_run(words, QH_COUNT(words))) {
        return STACK_OTHER;
    }
    *ret = hinted(reader->qemu, stack);
    return names_stack(reader, *ret, stack, image) ? STACK_COROUTINE
                                                   : STACK_UNRESOLVED;
}

static struct qh_error *read_members(struct qh_reader *reader,
                                     const struct qh_image *image,
                                     struct qh_coroutine *coroutine)
{
    struct raddr at = coroutine->address;
    uint64_t entry, scheduled;

    QH_TRY(qh_image_field(reader, image, at, QH_F_CO_ENTRY, &entry));
    QH_TRY(qh_image_field(reader, image, at, QH_F_CO_ENTRY_ARG,
                          &coroutine->entry_arg.value));
    QH_TRY(qh_image_field(reader, image, at, QH_F_CO_CALLER,
                          &coroutine->caller.value));
    QH_TRY(qh_image_field(reader, image, at, QH_F_CO_CTX,
                          &coroutine->context.value));
    QH_TRY(qh_image_field(reader, image, at, QH_F_CO_SCHEDULED, &scheduled));
    if (qh_has_field(reader, QH_F_CO_QUEUE_NEXT)) {
        QH_TRY(qh_image_field(reader, image, at, QH_F_CO_QUEUE_NEXT,
                              &coroutine->queue_next.value));
    }
    if (qh_has_field(reader, QH_F_CO_LOCKS_HELD)) {
        QH_TRY(qh_image_field(reader, image, at, QH_F_CO_LOCKS_HELD,
                              &coroutine->locks_held));
    }
    coroutine->entry = qh_function_name(reader, qh_raddr(entry));
    coroutine->scheduled = qh_read_string(reader, qh_raddr(scheduled));
    return NULL;
}

static struct qh_error *add_coroutine(struct qh_reader *reader, uint64_t stack,
                                      struct raddr ucontext,
                                      const struct qh_image *image)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    size_t index = snapshot->coroutine_count;
    struct qh_coroutine *coroutine = qh_list_add(
        &snapshot->arena, &snapshot->coroutines, &snapshot->coroutine_count,
        &snapshot->room.coroutines, sizeof(*coroutine));

    QH_TRY(qh_array_reserve(&reader->coroutines, &reader->coroutines_room,
                            index + 1, sizeof(*reader->coroutines)));
    if (!coroutine) {
        return qh_error_no_memory();
    }
    struct qh_coroutine_work *work = &reader->coroutines[index];
    memset(work, 0, sizeof(*work));
    work->ucontext = ucontext;
    coroutine->address = qh_field_at(reader, ucontext, QH_F_UC_BASE);
    coroutine->stack_start = qh_raddr(stack);
    coroutine->stack_bytes = WHOLE_BYTES;
    QH_NOTE(reader, "coroutine", read_members(reader, image, coroutine));
    if (reader->has_pointer_guard) {
        QH_NOTE(reader, "registers of a coroutine",
                qh_read_env(reader, ucontext, &coroutine->regs));
    }
    return NULL;
}

static struct qh_error *add_unresolved(struct qh_reader *reader, uint64_t stack)
{
    QH_TRY(qh_array_reserve(&reader->unresolved, &reader->unresolved_room,
                            reader->unresolved_count + 1,
                            sizeof(*reader->unresolved)));
    reader->unresolved[reader->unresolved_count++] = stack;
    return NULL;
}

/* Calls `use` with the start of each candidate stack, in order of address.
 * Guest RAM above a guard page looks like one, and its guest decides what is in
 * it. */
static struct qh_error *
each_candidate(struct qh_reader *reader,
               struct qh_error *(*use)(struct qh_reader *, uint64_t, void *),
               void *opaque)
{
    size_t count;
    const struct qh_mapping *maps = qh_target_mappings(reader->target, &count);

    for (size_t i = 0; i + 1 < count; i++) {
        uint64_t stack = maps[i].end - GUARD_BYTES;
        if (is_candidate(&maps[i], &maps[i + 1]) &&
            !qh_is_ram(reader, stack, stack + WHOLE_BYTES)) {
            QH_TRY(use(reader, stack, opaque));
        }
    }
    return NULL;
}

static struct qh_error *count_stack(struct qh_reader *reader, uint64_t stack,
                                    void *opaque)
{
    size_t *count = opaque;

    ++*count;
    return NULL;
}

/* What a sample takes besides its coroutines themselves, for each of them and
 * in all: pages and bytes of copies; timers, sleepers and the memory map, whose
 * arrays double as they grow. */
enum {
    COPIED_EACH = USED_BYTES + 512,
    COPIED_MORE = 2 << 20,
    PAGES_MORE = 512,
    BYTES_EACH = 3 * (int)(sizeof(struct qh_timer) + sizeof(struct qh_sleeper) +
                           2 * sizeof(struct qh_mapping)),
    BYTES_MORE = 1 << 20
};

/* By the map as it was last seen; guard pages of others count as well. */
struct qh_error *qh_make_room(struct qh_reader *reader)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    size_t count = 0;

    if (qh_target_process(reader->target)->kind != QH_TARGET_LIVE) {
        return NULL;
    }
    QH_TRY(each_candidate(reader, count_stack, &count));
    QH_TRY(qh_array_reserve(&reader->coroutines, &reader->coroutines_room,
                            count + 1, sizeof(*reader->coroutines)));
    snapshot->coroutines = qh_arena_alloc(
        &snapshot->arena, (count + 1) * sizeof(*snapshot->coroutines));
    if (!snapshot->coroutines) {
        return qh_error_no_memory();
    }
    snapshot->room.coroutines = count + 1;
    qh_memory_touch(reader->coroutines,
                    (count + 1) * sizeof(*reader->coroutines));
    qh_memory_touch(snapshot->coroutines,
                    (count + 1) * sizeof(*snapshot->coroutines));
    QH_TRY(qh_target_make_room(reader->target, 2 * count + PAGES_MORE,
                               (size_t)COPIED_EACH * count + COPIED_MORE));
    qh_memory_warm((size_t)BYTES_EACH * count + BYTES_MORE);
    return NULL;
}

static struct qh_error *add_top(struct qh_reader *reader, uint64_t stack,
                                void *opaque)
{
    uint64_t top = stack + WHOLE_BYTES;

    return qh_ranges_add(opaque, top - USED_BYTES, top);
}

/* Where the context most likely is; whether it is there is seen later. */
static struct qh_error *add_context(struct qh_reader *reader, uint64_t stack,
                                    void *opaque)
{
    uint64_t base = reader->layout->fields[QH_F_UC_BASE].at.offset;
    uint64_t env = reader->layout->fields[QH_F_UC_ENV].at.offset;
    struct raddr at = { stack + WHOLE_BYTES - CONTEXT_BELOW_TOP }, ucontext;
    struct qh_error *error = qh_read_pointer(reader, at, &ucontext);

    if (error) {
        qh_error_destroy(error);
        return NULL;
    }
    if (!qh_target_mapping_at(reader->target, ucontext)) {
        ucontext = hinted(reader->qemu, stack);
    }
    return ucontext.value
               ? qh_ranges_add(opaque, ucontext.value + base,
                               ucontext.value + env + CONTEXT_REGS_BYTES)
               : NULL;
}

static struct qh_error *resolve(struct qh_reader *reader, uint64_t stack,
                                void *opaque)
{
    struct raddr ucontext;
    struct qh_image image;

    switch (find_ucontext(reader, stack, &ucontext, &image)) {
    case STACK_COROUTINE:
        return add_coroutine(reader, stack, ucontext, &image);
    case STACK_UNRESOLVED:
        return add_unresolved(reader, stack);
    case STACK_OTHER:
        break;
    }
    return NULL;
}

size_t qh_coroutine_index(const struct qh_reader *reader, struct raddr address)
{
    const struct qh_coroutine *found =
        qh_snapshot_coroutine(reader->snapshot, address);

    return found ? (size_t)(found - reader->snapshot->coroutines) : SIZE_MAX;
}

/* The stacks are in order of address. */
size_t qh_coroutine_by_stack(const struct qh_reader *reader,
                             struct raddr address)
{
    const struct qh_snapshot *snapshot = reader->snapshot;
    size_t low = 0, high = snapshot->coroutine_count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct qh_coroutine *at = &snapshot->coroutines[middle];
        if (address.value < at->stack_start.value) {
            high = middle;
        } else if (address.value - at->stack_start.value >= at->stack_bytes) {
            low = middle + 1;
        } else {
            return middle;
        }
    }
    return SIZE_MAX;
}

static struct qh_coroutine *mutable_at(struct qh_reader *reader,
                                       struct raddr address)
{
    size_t index = qh_coroutine_index(reader, address);

    return index == SIZE_MAX ? NULL : &reader->snapshot->coroutines[index];
}

/* The coroutine that a thread is inside of, and those that entered it. */
static struct qh_error *mark_entered(struct qh_reader *reader,
                                     const struct qh_thread *thread)
{
    struct qh_coroutine *at = mutable_at(reader, thread->coroutine);
    struct qh_loop_guard guard = { 0 };

    for (bool first = true; at; first = false) {
        QH_TRY(qh_loop_check(reader, &guard, at->address));
        at->state = first ? QH_CO_RUNNING : QH_CO_ENTERED;
        at->tid = thread->tid;
        at = mutable_at(reader, at->caller);
    }
    return NULL;
}

static struct qh_error *mark_pooled(struct qh_reader *reader,
                                    struct raddr first)
{
    struct qh_loop_guard guard = { 0 };

    for (struct raddr at = first; at.value;) {
        struct qh_coroutine *coroutine = mutable_at(reader, at);
        QH_TRY(qh_loop_check(reader, &guard, at));
        if (coroutine) {
            coroutine->state = QH_CO_POOLED;
        }
        QH_TRY(qh_read_link(reader, at, QH_F_CO_POOL_NEXT, &at));
    }
    return NULL;
}

/* A pool is a list of batches since 9.0, of coroutines before. */
static struct qh_error *mark_pool(struct qh_reader *reader, struct raddr first)
{
    struct qh_loop_guard guard = { 0 };

    if (!qh_has_field(reader, QH_F_CO_POOL_NEXT)) {
        return NULL;
    }
    if (!qh_has_field(reader, QH_F_BATCH_LIST)) {
        return mark_pooled(reader, first);
    }
    for (struct raddr batch = first; batch.value;) {
        struct raddr list;
        QH_TRY(qh_loop_check(reader, &guard, batch));
        QH_TRY(qh_read_link(reader, batch, QH_F_BATCH_LIST, &list));
        QH_TRY(mark_pooled(reader, list));
        QH_TRY(qh_read_link(reader, batch, QH_F_BATCH_NEXT, &batch));
    }
    return NULL;
}

static struct qh_error *mark_states(struct qh_reader *reader)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    struct raddr pool = qh_symbol(reader, QH_S_GLOBAL_POOL);
    struct raddr first = { 0 };

    if (!pool.value) {
        pool = qh_symbol(reader, QH_S_RELEASE_POOL);
    }
    if (pool.value) {
        QH_NOTE(reader, "pool of coroutines",
                qh_read_pointer(reader, pool, &first));
        QH_NOTE(reader, "pool of coroutines", mark_pool(reader, first));
    }
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        QH_NOTE(reader, "pool of coroutines of a thread",
                mark_pool(reader, reader->threads[i].local_pool));
    }
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        QH_NOTE(reader, "coroutines that entered each other",
                mark_entered(reader, &snapshot->threads[i]));
    }
    return NULL;
}

/* Two passes of few system calls bring in what the third looks at. */
struct qh_error *qh_read_coroutines(struct qh_reader *reader)
{
    QH_CLEANUP(qh_ranges_guard) struct qh_ranges tops = { 0 };
    QH_CLEANUP(qh_ranges_guard) struct qh_ranges contexts = { 0 };

    QH_TRY(each_candidate(reader, add_top, &tops));
    QH_TRY(qh_target_prefetch(reader->target, tops.items, tops.count));
    QH_TRY(each_candidate(reader, add_context, &contexts));
    QH_TRY(qh_target_prefetch(reader->target, contexts.items, contexts.count));
    QH_TRY(each_candidate(reader, resolve, NULL));
    QH_TRY(qh_snapshot_order(reader->snapshot));
    return mark_states(reader);
}
