/* Guards, growing arrays and arenas.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/base.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* 1 under a sanitizer: each piece then has its own bounds to be watched. */
#ifndef QH_ARENA_BLOCK_BYTES
#define QH_ARENA_BLOCK_BYTES 65536
#endif

struct qh_arena_block {
    struct qh_arena_block *next;
    size_t used;
    size_t size;
    _Alignas(max_align_t) unsigned char bytes[];
};

void qh_free_guard(void *pointer_to_pointer)
{
    free(*(void **)pointer_to_pointer);
}

void qh_close_guard(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

/* The next capacity that holds `count` items, or 0 if none can. */
static size_t grown(size_t capacity, size_t count, size_t item_bytes)
{
    size_t wanted = capacity ? capacity : 16;

    while (wanted < count && wanted <= SIZE_MAX / 2) {
        wanted *= 2;
    }
    return wanted < count || wanted > SIZE_MAX / item_bytes ? 0 : wanted;
}

struct qh_error *qh_array_reserve(void *items, size_t *capacity, size_t count,
                                  size_t item_bytes)
{
    void **array = items;

    if (count <= *capacity) {
        return NULL;
    }
    size_t wanted = grown(*capacity, count, item_bytes);
    void *moved = wanted ? realloc(*array, wanted * item_bytes) : NULL;
    if (!moved) {
        return qh_error_no_memory();
    }
    *array = moved;
    *capacity = wanted;
    return NULL;
}

bool qh_memory_is_zero(const void *memory, size_t bytes)
{
    const unsigned char *at = memory;

    return !bytes || (!at[0] && memcmp(at, at + 1, bytes - 1) == 0);
}

enum { PAGE_BYTES = 4096, PIECE_BYTES = 1 << 20 };

/* One system call where the kernel has it (5.14), else page by page. */
void qh_memory_touch(void *memory, size_t bytes)
{
    volatile unsigned char *at = memory;
    uintptr_t first = (uintptr_t)memory / PAGE_BYTES * PAGE_BYTES;

    if (!bytes) {
        return;
    }
#ifdef MADV_POPULATE_WRITE
    if (madvise((void *)first, (uintptr_t)memory + bytes - first,
                MADV_POPULATE_WRITE) == 0) {
        return;
    }
#endif
    for (size_t i = 0; i < bytes; i += PAGE_BYTES) {
        at[i] = at[i];
    }
    at[bytes - 1] = at[bytes - 1];
}

/* What is freed at the top of the heap stays there, and large blocks come from
 * there too: 32 MiB is the most that malloc takes for a threshold. */
static void keep_freed_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, INT32_MAX);
}

void qh_memory_warm(size_t bytes)
{
    struct piece {
        struct piece *next;
    } *pieces = NULL;

    keep_freed_memory();
    for (size_t have = 0; have < bytes; have += PIECE_BYTES) {
        struct piece *piece = malloc(PIECE_BYTES);
        if (!piece) {
            break;
        }
        qh_memory_touch(piece, PIECE_BYTES);
        piece->next = pieces;
        pieces = piece;
    }
    while (pieces) {
        struct piece *next = pieces->next;
        free(pieces);
        pieces = next;
    }
}

static struct qh_arena_block *add_block(struct qh_arena *arena, size_t bytes)
{
    size_t size = bytes > QH_ARENA_BLOCK_BYTES ? bytes : QH_ARENA_BLOCK_BYTES;
    struct qh_arena_block *block = calloc(1, sizeof(*block) + size);

    if (block) {
        block->size = size;
        block->next = arena->blocks;
        arena->blocks = block;
    }
    return block;
}

void *qh_arena_alloc(struct qh_arena *arena, size_t bytes)
{
    const size_t align = _Alignof(max_align_t);

    if (bytes > SIZE_MAX / 2) {
        return NULL;
    }
    bytes = (bytes + align - 1) / align * align;
    struct qh_arena_block *block = arena->blocks;
    if (!block || block->size - block->used < bytes) {
        block = add_block(arena, bytes);
    }
    if (!block) {
        return NULL;
    }
    void *memory = block->bytes + block->used;
    block->used += bytes;
    return memory;
}

char *qh_arena_strdup(struct qh_arena *arena, const char *text)
{
    if (!text) {
        return NULL;
    }
    size_t bytes = strlen(text) + 1;
    char *copy = qh_arena_alloc(arena, bytes);
    return copy ? memcpy(copy, text, bytes) : NULL;
}

char *qh_arena_printf(struct qh_arena *arena, const char *format, ...)
{
    QH_CLEANUP(qh_free_guard) char *text = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) {
        text = NULL;
    }
    va_end(args);
    return qh_arena_strdup(arena, text);
}

void qh_arena_deinit(struct qh_arena *arena)
{
    while (arena->blocks) {
        struct qh_arena_block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
}

void *qh_list_add(struct qh_arena *arena, void *items, size_t *count,
                  size_t *capacity, size_t item_bytes)
{
    void **array = items;

    if (*count == *capacity) {
        size_t wanted = grown(*capacity, *count + 1, item_bytes);
        void *moved =
            wanted ? qh_arena_alloc(arena, wanted * item_bytes) : NULL;
        if (!moved) {
            return NULL;
        }
        if (*count) {
            memcpy(moved, *array, *count * item_bytes);
        }
        *array = moved;
        *capacity = wanted;
    }
    return (unsigned char *)*array + (*count)++ * item_bytes;
}
