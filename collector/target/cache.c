/* The page cache.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/cache.h"

#include <string.h>

enum { PAGE = 4096, SLAB_PAGES = 256, FIRST_CAPACITY = 1024 };

void qh_cache_deinit(struct qh_cache *cache)
{
    for (size_t i = 0; i < cache->slab_count; i++) {
        free(cache->slabs[i]);
    }
    free(cache->slabs);
    free(cache->keys);
    free(cache->frames);
    memset(cache, 0, sizeof(*cache));
}

void qh_cache_clear(struct qh_cache *cache)
{
    if (cache->count) {
        memset(cache->keys, 0, cache->capacity * sizeof(*cache->keys));
    }
    cache->count = 0;
    cache->used = 0;
}

/* The place that holds `page`, or the empty one where it would go. The table
 * is never more than half full, so this ends. */
static size_t place_of(const struct qh_cache *cache, uint64_t page)
{
    uint64_t hash = page * UINT64_C(0x9e3779b97f4a7c15);
    size_t mask = cache->capacity - 1;
    size_t place = (hash >> 32) & mask;

    while (cache->keys[place] && cache->keys[place] != page + 1) {
        place = (place + 1) & mask;
    }
    return place;
}

static unsigned char *frame_bytes(const struct qh_cache *cache, size_t frame)
{
    return cache->slabs[frame / SLAB_PAGES] +
           (frame % SLAB_PAGES) * (size_t)PAGE;
}

const unsigned char *qh_cache_find(const struct qh_cache *cache, uint64_t page)
{
    if (!cache->count) {
        return NULL;
    }
    size_t place = place_of(cache, page);
    return cache->keys[place] ? frame_bytes(cache, cache->frames[place]) : NULL;
}

bool qh_cache_holds_before(const struct qh_cache *cache, uint64_t page,
                           size_t frame)
{
    size_t place = cache->count ? place_of(cache, page) : 0;

    return cache->count && cache->keys[place] && cache->frames[place] < frame;
}

static int by_page(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

void qh_cache_pages(const struct qh_cache *cache, uint64_t *pages)
{
    size_t count = 0;

    for (size_t i = 0; i < cache->capacity; i++) {
        if (cache->keys[i]) {
            pages[count++] = cache->keys[i] - 1;
        }
    }
    qsort(pages, count, sizeof(*pages), by_page);
}

static struct qh_error *grow_table(struct qh_cache *cache, size_t capacity)
{
    struct qh_cache old = *cache;
    uint64_t *keys = calloc(capacity, sizeof(*keys));
    uint32_t *frames = malloc(capacity * sizeof(*frames));

    if (!keys || !frames) {
        free(keys);
        free(frames);
        return qh_error_no_memory();
    }
    cache->keys = keys;
    cache->frames = frames;
    cache->capacity = capacity;
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.keys[i]) {
            size_t place = place_of(cache, old.keys[i] - 1);
            keys[place] = old.keys[i];
            frames[place] = old.frames[i];
        }
    }
    free(old.keys);
    free(old.frames);
    return NULL;
}

static struct qh_error *add_slab(struct qh_cache *cache)
{
    QH_TRY(qh_array_reserve(&cache->slabs, &cache->slab_capacity,
                            cache->slab_count + 1, sizeof(*cache->slabs)));
    unsigned char *slab = malloc((size_t)SLAB_PAGES * PAGE);
    if (!slab) {
        return qh_error_no_memory();
    }
    cache->slabs[cache->slab_count++] = slab;
    return NULL;
}

struct qh_error *qh_cache_reserve(struct qh_cache *cache, size_t count)
{
    size_t capacity = cache->capacity ? cache->capacity : FIRST_CAPACITY;

    while (capacity < 2 * (cache->used + count)) {
        capacity *= 2;
    }
    if (capacity != cache->capacity) {
        QH_TRY(grow_table(cache, capacity));
    }
    while (cache->slab_count * SLAB_PAGES < cache->used + count) {
        QH_TRY(add_slab(cache));
    }
    return NULL;
}

unsigned char *qh_cache_frame(struct qh_cache *cache, size_t index)
{
    return frame_bytes(cache, cache->used + index);
}

void qh_cache_commit(struct qh_cache *cache, const uint64_t *pages,
                     size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t place = place_of(cache, pages[i]);
        cache->count += !cache->keys[place];
        cache->keys[place] = pages[i] + 1;
        cache->frames[place] = (uint32_t)(cache->used + i);
    }
    cache->used += count;
}
