/* Looks through the heap for the CoroutineUContexts that no stack names.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * clang keeps the pointer in a register, so that the stack may not hold it.
 * The object itself does hold the stack's start and size: that pair is looked
 * for in the heap and malloc's arenas first, then in other private anonymous
 * memory up to a budget; never in guest RAM, which may be anonymous too. It
 * runs while the target runs: what is found is only a hint, checked again by
 * the next sample. */
#include "qemu/reader.h"

#include <string.h>

enum { CHUNK_BYTES = 1 << 20 };
/* Where glibc lays its arenas: HEAP_MAX_SIZE of malloc/arena.c. */
#define ARENA_ALIGN (UINT64_C(64) << 20)
/* What may be read besides heap and arenas. */
#define BUDGET_BYTES (UINT64_C(48) << 20)

struct search {
    struct qh_reader *reader;
    struct qh_range ram[64]; /* guest RAM */
    size_t ram_count;
    size_t left; /* stacks still without a context */
    uint64_t budget;
    unsigned char *chunk;
    uint64_t stack_offset, size_offset;
};

static struct qh_error *add_ram_block(struct search *search, struct raddr block)
{
    struct qh_range *range = &search->ram[search->ram_count];
    uint64_t host, bytes;

    QH_TRY(qh_read_field(search->reader, block, QH_F_RAM_HOST, &host));
    QH_TRY(qh_read_field(search->reader, block, QH_F_RAM_BYTES, &bytes));
    range->start = host;
    range->end = host + bytes < host ? UINT64_MAX : host + bytes;
    search->ram_count++;
    return NULL;
}

/* Source: include/exec/ramlist.h (ram_list.blocks), system emulators only. */
static struct qh_error *find_ram(struct search *search)
{
    struct qh_reader *reader = search->reader;
    struct raddr list = qh_symbol(reader, QH_S_RAM_LIST);
    struct raddr block;

    if (!list.value || !qh_has_field(reader, QH_F_RAM_FIRST)) {
        return NULL;
    }
    QH_TRY(qh_read_link(reader, list, QH_F_RAM_FIRST, &block));
    while (block.value && search->ram_count < QH_COUNT(search->ram)) {
        QH_TRY(add_ram_block(search, block));
        QH_TRY(qh_read_link(reader, block, QH_F_RAM_NEXT, &block));
    }
    return NULL;
}

static bool is_ram(const struct search *search,
                   const struct qh_mapping *mapping)
{
    for (size_t i = 0; i < search->ram_count; i++) {
        if (mapping->start < search->ram[i].end &&
            search->ram[i].start < mapping->end) {
            return true;
        }
    }
    return false;
}

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
        if (hint && !hint->ucontext.value && size > 4096 &&
            size < ARENA_ALIGN && size % 4096 == 0) {
            hint->ucontext = qh_raddr(at + i - search->stack_offset);
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

static bool is_heap(const struct qh_mapping *mapping)
{
    return !strcmp(mapping->path, "[heap]") ||
           (!mapping->path[0] && mapping->start % ARENA_ALIGN == 0 &&
            mapping->end - mapping->start <= ARENA_ALIGN);
}

/* Heap first; then, within the budget, what else may hold objects. */
static bool to_search(struct search *search, const struct qh_mapping *mapping,
                      bool heap)
{
    uint64_t bytes = mapping->end - mapping->start;

    if (!mapping->readable || !mapping->writable || mapping->shared ||
        is_heap(mapping) != heap || is_ram(search, mapping)) {
        return false;
    }
    if (heap) {
        return true;
    }
    if (mapping->path[0] || bytes > search->budget) {
        return false;
    }
    search->budget -= bytes;
    return true;
}

/* The unresolved stacks become hints without a context. */
static struct qh_error *begin_hints(struct qh_reader *reader)
{
    struct qh_qemu *qemu = reader->qemu;

    QH_TRY(qh_array_reserve(&qemu->hints, &qemu->hint_room,
                            reader->unresolved_count, sizeof(*qemu->hints)));
    for (size_t i = 0; i < reader->unresolved_count; i++) {
        qemu->hints[i] = (struct qh_hint){ reader->unresolved[i], { 0 } };
    }
    qemu->hint_count = reader->unresolved_count;
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
        .budget = BUDGET_BYTES,
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
    QH_NOTE(reader, "guest RAM's place", find_ram(&search));
    for (int heap = 1; heap >= 0; heap--) {
        for (size_t i = 0; i < count && search.left; i++) {
            if (to_search(&search, &maps[i], heap)) {
                QH_TRY(search_mapping(&search, &maps[i]));
            }
        }
    }
    return NULL;
}
