/* Which memory may hold a pointer to a coroutine that is still to be followed.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What is left out holds none, or none that counts:
 *  - shared memory. QEMU keeps no pointers in files and guest RAM; the rings of
 *    an io_uring and of Linux AIO hold some, to what waits for the kernel, and
 *    that is no orphan for another reason (references.c);
 *  - code, also that which TCG makes;
 *  - the part of a stack below its pointer, and registers that a switch saved
 *    for one who has gone on since: what is there was left by functions that
 *    have returned, the very ones that once knew the coroutine;
 *  - frames that hold what is left of others (references_frames.c);
 *  - the frame of coroutine_trampoline(), which knows its own coroutine, and
 *    uc_link at the top of a coroutine's stack, which points to the stack of
 *    the one that created it (glibc, makecontext.c). */
#include "qemu/references.h"
#include "target/arch.h"
#include "target/raw.h"

#include <string.h>

enum {
    CHUNK_BYTES = 1 << 20,
    RED_ZONE_BYTES = 128,
    UC_LINK_BELOW_TOP = 0x10,
    ENV_BYTES = QH_ARCH_JMPBUF_SLOTS * 8,
    /* Smaller parts are read without asking what of them has been touched. */
    SPARSE_BYTES = 256 << 10
};

/* At most so much is looked at; a stop must not last for more. */
#define MOST_STOPPED_BYTES (UINT64_C(256) << 20)
#define MOST_BYTES (UINT64_C(1) << 30)

struct memory {
    struct qh_reader *reader;
    bool still, whole, enough;
    uint64_t left;          /* that may still be looked at, in bytes */
    struct qh_ranges holes; /* sorted; may overlap */
    qh_look *look;
    void *opaque;
    unsigned char *chunk;
};

static struct qh_error *add_hole(struct memory *memory, uint64_t start,
                                 uint64_t end)
{
    return start < end ? qh_ranges_add(&memory->holes, start, end) : NULL;
}

static struct qh_error *add_env(struct memory *memory, struct raddr base)
{
    const struct qh_layout *layout = memory->reader->layout;
    uint64_t env = base.value - layout->fields[QH_F_UC_BASE].at.offset +
                   layout->fields[QH_F_UC_ENV].at.offset;

    return add_hole(memory, env, env + ENV_BYTES);
}

/* What lies at the top of each coroutine's stack and is of its start only. */
static uint64_t start_bytes(const struct memory *memory)
{
    uint64_t bytes = memory->reader->qemu->start_bytes;

    return bytes > UC_LINK_BELOW_TOP ? bytes : UC_LINK_BELOW_TOP;
}

/* Of a running one the stack pointer is its thread's. */
static struct qh_error *add_coroutine(struct memory *memory,
                                      const struct qh_coroutine *coroutine)
{
    uint64_t start = coroutine->stack_start.value;
    uint64_t top = start + coroutine->stack_bytes;
    uint64_t sp = coroutine->regs.dwarf[QH_REG_RSP];

    QH_TRY(add_hole(memory, top - start_bytes(memory), top));
    if (coroutine->state == QH_CO_RUNNING) {
        return add_env(memory, coroutine->address);
    }
    if (coroutine->state == QH_CO_POOLED) {
        /* Its entry_arg is that of its last life. */
        QH_TRY(add_hole(
            memory, coroutine->address.value,
            coroutine->address.value +
                memory->reader->layout->fields[QH_F_UC_ENV].at.offset));
        QH_TRY(add_env(memory, coroutine->address));
    }
    return coroutine->regs.known && sp - start < coroutine->stack_bytes
               ? add_hole(memory, start, sp - RED_ZONE_BYTES)
               : NULL;
}

/* Where the stack that `sp` lies on may begin: only a guard page tells that a
 * mapping holds nothing else below (gcore shows one as readable), and the
 * thread-local variables at its top that it is no stack of signals; or that it
 * is the main thread's, which the kernel merges with no other mapping. */
static uint64_t stack_bottom(struct memory *memory, const struct qh_task *task)
{
    struct qh_reader *reader = memory->reader;
    uint64_t sp = task->regs.dwarf[QH_REG_RSP];
    size_t index = qh_coroutine_by_stack(reader, qh_raddr(sp));
    const struct qh_mapping *mapping =
        qh_target_mapping_at(reader->target, qh_raddr(sp));

    if (index != SIZE_MAX) {
        return reader->snapshot->coroutines[index].stack_start.value;
    }
    if (!mapping) {
        return sp;
    }
    const struct qh_mapping *below =
        qh_target_mapping_at(reader->target, qh_raddr(mapping->start - 1));
    const struct qh_process *process = qh_target_process(reader->target);
    bool guarded = below && !below->writable && !below->executable &&
                   !below->path[0] && task->fs_base >= sp &&
                   task->fs_base < mapping->end;
    bool first = task->tid == process->pid &&
                 (process->kind == QH_TARGET_CORE ||
                  !strcmp(mapping->path, "[stack]"));
    return guarded || first ? mapping->start : sp;
}

static struct qh_error *add_thread(struct memory *memory,
                                   const struct qh_thread_work *work)
{
    uint64_t sp = work->task->regs.dwarf[QH_REG_RSP];

    if (work->task->stop != QH_TASK_STOPPED) {
        return NULL;
    }
    if (!work->current.value && work->leader.value) {
        QH_TRY(add_env(memory, work->leader));
    }
    return sp > RED_ZONE_BYTES
               ? add_hole(memory, stack_bottom(memory, work->task),
                          sp - RED_ZONE_BYTES)
               : NULL;
}

static int by_start(const void *a, const void *b)
{
    const struct qh_range *left = a, *right = b;

    return (left->start > right->start) - (left->start < right->start);
}

static struct qh_error *find_holes(struct memory *memory)
{
    struct qh_reader *reader = memory->reader;
    const struct qh_snapshot *snapshot = reader->snapshot;

    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        QH_TRY(add_coroutine(memory, &snapshot->coroutines[i]));
    }
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        QH_TRY(add_thread(memory, &reader->threads[i]));
    }
    QH_TRY(qh_add_frames(reader, &memory->holes));
    if (memory->holes.count) {
        qsort(memory->holes.items, memory->holes.count,
              sizeof(*memory->holes.items), by_start);
    }
    return NULL;
}

static struct qh_error *read_range(struct memory *memory, uint64_t start,
                                   uint64_t end)
{
    for (uint64_t at = start; end - at >= 8 && !memory->enough;) {
        size_t have, want = end - at < CHUNK_BYTES ? end - at : CHUNK_BYTES;
        if (want > memory->left) {
            memory->whole = false;
            memory->enough = true;
            return NULL;
        }
        QH_TRY(qh_target_read_some(memory->reader->target, qh_raddr(at),
                                   memory->chunk, want, &have));
        memory->left -= have;
        memory->enough = !memory->look(memory->opaque, at, memory->chunk, have);
        if (have < want) { /* of what runs on, it may just be gone */
            memory->whole &= !memory->still;
            return NULL;
        }
        at += have;
        at -= at < end ? 4 : 0; /* a word may lie across */
    }
    return NULL;
}

/* What has never been touched is zero. */
static struct qh_error *read_touched(struct memory *memory, uint64_t start,
                                     uint64_t end)
{
    struct qh_touched_list list = { 0 };
    struct qh_error *error = NULL;

    if (end - start < SPARSE_BYTES ||
        qh_target_process(memory->reader->target)->kind == QH_TARGET_CORE) {
        return read_range(memory, start, end);
    }
    uint64_t from = start & -(uint64_t)4096;
    error = qh_raw_touched(memory->reader->target, from, end, &list);
    QH_CLEANUP(qh_free_guard) struct qh_touched *items = list.items;
    if (error) { /* not on this kernel */
        qh_error_destroy(error);
        return read_range(memory, start, end);
    }
    for (size_t i = 0; i < list.count && !memory->enough; i++) {
        QH_TRY(read_range(memory,
                          items[i].start < start ? start : items[i].start,
                          items[i].end > end ? end : items[i].end));
    }
    return NULL;
}

static bool is_searched(const struct memory *memory,
                        const struct qh_mapping *mapping)
{
    return mapping->readable && mapping->writable && !mapping->shared &&
           !mapping->executable &&
           !qh_is_ram(memory->reader, mapping->start, mapping->end);
}

/* In a core that is no capture, what was not written to is not there. */
static uint64_t end_of(const struct memory *memory,
                       const struct qh_mapping *mapping)
{
    bool core =
        qh_target_process(memory->reader->target)->kind == QH_TARGET_CORE;

    return core && mapping->path[0] == '/'
               ? mapping->start + mapping->present_bytes
               : mapping->end;
}

/* `*hole` is the first one that ends behind the mappings before. */
static struct qh_error *read_mapping(struct memory *memory,
                                     const struct qh_mapping *mapping,
                                     size_t *hole)
{
    const struct qh_ranges *holes = &memory->holes;
    uint64_t at = mapping->start, end = end_of(memory, mapping);

    while (*hole < holes->count && holes->items[*hole].end <= at) {
        ++*hole;
    }
    for (size_t i = *hole; i < holes->count && holes->items[i].start < end;
         i++) {
        if (holes->items[i].start > at) {
            QH_TRY(read_touched(memory, at, holes->items[i].start));
        }
        if (holes->items[i].end > at) {
            at = holes->items[i].end;
        }
    }
    return at < end ? read_touched(memory, at, end) : NULL;
}

static struct qh_error *read_all(struct memory *memory)
{
    size_t count, hole = 0;
    const struct qh_mapping *maps =
        qh_target_mappings(memory->reader->target, &count);

    for (size_t i = 0; i < count && !memory->enough; i++) {
        if (is_searched(memory, &maps[i])) {
            QH_TRY(read_mapping(memory, &maps[i], &hole));
        }
    }
    return NULL;
}

struct qh_error *qh_each_memory(struct qh_reader *reader, bool still,
                                qh_look *look, void *opaque, bool *ret_whole)
{
    const struct qh_process *process = qh_target_process(reader->target);
    QH_CLEANUP(qh_free_guard) unsigned char *chunk = malloc(CHUNK_BYTES);
    struct memory memory = {
        .reader = reader,
        .still = still,
        .whole = reader->ram.known && !process->damage,
        .left = still && process->kind == QH_TARGET_LIVE ? MOST_STOPPED_BYTES
                                                         : MOST_BYTES,
        .look = look,
        .opaque = opaque,
        .chunk = chunk,
    };
    struct qh_error *error = chunk ? find_holes(&memory) : qh_error_no_memory();

    if (!error && memory.whole) {
        error = read_all(&memory);
    }
    qh_ranges_guard(&memory.holes);
    *ret_whole = memory.whole;
    return error;
}
