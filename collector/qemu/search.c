/* Looks through the heap for the CoroutineUContexts that no stack names.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * clang keeps the pointer in a register, so that the stack may not hold it.
 * The object itself does hold the stack's start and size: that pair is looked
 * for in the heap and malloc's arenas first, then in other private anonymous
 * memory up to a budget for all samples together; never in guest RAM, which
 * may be anonymous too (ram.c), so only in the heap where RAM's place is not
 * known. It runs while the target runs: what is found is only a
 * hint, checked again by the next sample. */
#include "qemu/reader.h"

#include <string.h>

enum { CHUNK_BYTES = 1 << 20 };
/* Where glibc lays its arenas: HEAP_MAX_SIZE of malloc/arena.c. */
#define ARENA_ALIGN (UINT64_C(64) << 20)
/* How far behind the program the kernel lays its heap at most: SZ_1G in
 * arch_randomize_brk(), arch/x86/kernel/process.c. */
#define BRK_RANDOM (UINT64_C(1) << 30)

struct search {
    struct qh_reader *reader;
    size_t left;      /* stacks still without a context */
    uint64_t exe_end; /* 0: not known */
    unsigned char *chunk;
    uint64_t stack_offset, size_offset;
};

/* The unresolved stack that starts at `address`, or NULL. */
static struct qh_hint *wanted(struct search *search, uint64_t address)
{
    struct qh_qemu *qemu = search->reader->qemu;

    for (size_t low = 0, high = qemu->hint_count; low < high;) {
        size_t middle = (low + high) / 2;
        if (qemu->hints[middle].stack == address) {
            return &qemu->hints[middle];
        }
        if (qemu->hints[middle].stack < address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* Whether the registers that a coroutine left there point into its stack, as
 * they do from its first switch on: the pair alone may be a copy that somebody
 * keeps. Without the pointer guard nothing more can be asked. */
static bool left_from(struct qh_reader *reader, struct raddr ucontext,
                      uint64_t stack, uint64_t size)
{
    struct qh_registers regs = { .known = 0 };

    if (!reader->has_pointer_guard) {
        return true;
    }
    struct qh_error *error = qh_read_env(reader, ucontext, &regs);
    bool fine = !error && regs.dwarf[QH_REG_RSP] - stack < size;
    qh_error_destroy(error);
    return fine;
}

static void search_chunk(struct search *search, uint64_t at, size_t bytes)
{
    const uint64_t gap = search->size_offset - search->stack_offset;

    for (size_t i = 0; i + gap + 8 <= bytes && search->left; i += 8) {
        uint64_t stack, size;
        memcpy(&stack, search->chunk + i, 8);
        if (!stack || stack % 4096) {
            continue;
        }
        memcpy(&size, search->chunk + i + gap, 8);
        struct qh_hint *hint = wanted(search, stack);
        struct raddr ucontext = { at + i - search->stack_offset };
        if (hint && !hint->ucontext.value && size > 4096 &&
            size < ARENA_ALIGN && size % 4096 == 0 &&
            left_from(search->reader, ucontext, stack, size)) {
            hint->ucontext = ucontext;
            search->left--;
        }
    }
}

static struct qh_error *search_mapping(struct search *search,
                                       const struct qh_mapping *mapping)
{
    uint64_t overlap = search->size_offset - search->stack_offset + 8;

    for (uint64_t at = mapping->start; at < mapping->end && search->left;) {
        uint64_t rest = mapping->end - at;
        size_t have;
        QH_TRY(qh_target_read_some(
            search->reader->target, qh_raddr(at), search->chunk,
            rest < CHUNK_BYTES ? rest : CHUNK_BYTES, &have));
        if (have <= overlap) {
            break;
        }
        search_chunk(search, at, have);
        at += have == rest ? have : have - (overlap + 7) / 8 * 8;
    }
    return NULL;
}

static uint64_t end_of_exe(const struct qh_target *target)
{
    size_t count;
    const struct qh_module *modules = qh_target_modules(target, &count);

    for (size_t i = 0; i < count; i++) {
        if (modules[i].is_exe) {
            return modules[i].end;
        }
    }
    return 0;
}

/* A core does not name the heap: there it is what lies behind the program. An
 * arena is told by its place only, where guest RAM may be as well. */
static bool is_heap(const struct search *search,
                    const struct qh_mapping *mapping)
{
    if (mapping->path[0]) {
        return !strcmp(mapping->path, "[heap]");
    }
    return (search->reader->ram.known && mapping->start % ARENA_ALIGN == 0 &&
            mapping->end - mapping->start <= ARENA_ALIGN) ||
           (search->exe_end && mapping->start >= search->exe_end &&
            mapping->start - search->exe_end <= BRK_RANDOM);
}

/* Heap first; then, within the budget, what else may hold objects. */
static bool to_search(struct search *search, const struct qh_mapping *mapping,
                      bool heap)
{
    uint64_t bytes = mapping->end - mapping->start;
    uint64_t *budget = &search->reader->qemu->search_budget;

    if (!mapping->readable || !mapping->writable || mapping->shared ||
        is_heap(search, mapping) != heap ||
        qh_is_ram(search->reader, mapping->start, mapping->end)) {
        return false;
    }
    if (heap) {
        return true;
    }
    if (!search->reader->ram.known || mapping->path[0] || bytes > *budget) {
        return false;
    }
    *budget -= bytes;
    return true;
}

/* The unresolved stacks become hints without a context; what earlier searches
 * have found for others stays. */
static struct qh_error *begin_hints(struct qh_reader *reader)
{
    struct qh_qemu *qemu = reader->qemu;
    size_t old_count = qemu->hint_count, i = 0, used = 0;
    QH_CLEANUP(qh_free_guard) struct qh_hint *old = qemu->hints;

    qemu->hints = NULL;
    qemu->hint_count = qemu->hint_room = 0;
    QH_TRY(qh_array_reserve(&qemu->hints, &qemu->hint_room,
                            old_count + reader->unresolved_count,
                            sizeof(*qemu->hints)));
    for (size_t at = 0; at < reader->unresolved_count; at++) {
        uint64_t stack = reader->unresolved[at];
        for (; i < old_count && old[i].stack <= stack; i++) {
            if (old[i].stack < stack && old[i].ucontext.value) {
                qemu->hints[used++] = old[i];
            }
        }
        qemu->hints[used++] = (struct qh_hint){ stack, { 0 } };
    }
    for (; i < old_count; i++) {
        if (old[i].ucontext.value) {
            qemu->hints[used++] = old[i];
        }
    }
    qemu->hint_count = used;
    return NULL;
}

struct qh_error *qh_search_contexts(struct qh_reader *reader)
{
    const struct qh_layout *layout = reader->layout;
    QH_CLEANUP(qh_free_guard) unsigned char *chunk = malloc(CHUNK_BYTES);
    struct search search = {
        .reader = reader,
        .chunk = chunk,
        .left = reader->unresolved_count,
        .exe_end = end_of_exe(reader->target),
        .stack_offset = layout->fields[QH_F_UC_STACK].at.offset,
        .size_offset = layout->fields[QH_F_UC_STACK_SIZE].at.offset,
    };
    size_t count;
    const struct qh_mapping *maps = qh_target_mappings(reader->target, &count);

    if (!chunk) {
        return qh_error_no_memory();
    }
    if (search.size_offset < search.stack_offset) {
        return NULL;
    }
    QH_TRY(begin_hints(reader));
    for (int heap = 1; heap >= 0; heap--) {
        for (size_t i = 0; i < count && search.left; i++) {
            if (to_search(&search, &maps[i], heap)) {
                QH_TRY(search_mapping(&search, &maps[i]));
            }
        }
    }
    return NULL;
}
