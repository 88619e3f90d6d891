/* The page cache.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/cache.h"

#include <string.h>

enum {
    PAGE = 4096,
    SLAB_BYTES = 256 * PAGE,
    SLAB_UNITS = SLAB_BYTES / QH_CACHE_UNIT,
    FIRST_CAPACITY = 1024
};

void qh_cache_deinit(struct qh_cache *cache)
{
    for (size_t i = 0; i < cache->slab_count; i++) {
        free(cache->slabs[i]);
    }
    free(cache->slabs);
    free(cache->places);
    memset(cache, 0, sizeof(*cache));
}

void qh_cache_clear(struct qh_cache *cache)
{
    if (cache->count) {
        memset(cache->places, 0, cache->capacity * sizeof(*cache->places));
    }
    cache->count = 0;
    cache->used = 0;
}

uint64_t qh_cache_bytes(const struct qh_cache *cache)
{
    return (uint64_t)cache->used * QH_CACHE_UNIT;
}

/* The place that holds `page`, or the empty one where it would go. The table
 * is never more than half full, so this ends. */
static struct qh_cached *place_of(const struct qh_cache *cache, uint64_t page)
{
    uint64_t hash = page * UINT64_C(0x9e3779b97f4a7c15);
    size_t mask = cache->capacity - 1;
    size_t place = (hash >> 32) & mask;

    while (cache->places[place].key && cache->places[place].key != page + 1) {
        place = (place + 1) & mask;
    }
    return &cache->places[place];
}

static unsigned char *unit_bytes(const struct qh_cache *cache, size_t unit)
{
    return cache->slabs[unit / SLAB_UNITS] +
           (unit % SLAB_UNITS) * (size_t)QH_CACHE_UNIT;
}

const unsigned char *qh_cache_find(const struct qh_cache *cache, uint64_t page,
                                   size_t offset)
{
    if (!cache->count) {
        return NULL;
    }
    const struct qh_cached *place = place_of(cache, page);
    return place->key && offset >= place->from
               ? unit_bytes(cache, place->part) + (offset - place->from)
               : NULL;
}

static int by_page(const void *a, const void *b)
{
    uint64_t left = ((const struct qh_cached *)a)->key;
    uint64_t right = ((const struct qh_cached *)b)->key;

    return (left > right) - (left < right);
}

void qh_cache_pages(const struct qh_cache *cache, struct qh_cached *ret)
{
    size_t count = 0;

    for (size_t i = 0; i < cache->capacity; i++) {
        if (cache->places[i].key) {
            ret[count++] = cache->places[i];
        }
    }
    qsort(ret, count, sizeof(*ret), by_page);
}

bool qh_cache_holds_before(const struct qh_cache *cache, uint64_t page,
                           size_t offset, size_t used)
{
    const struct qh_cached *place = cache->count ? place_of(cache, page) : NULL;

    if (!place || !place->key || offset < place->from) {
        return false;
    }
    return place->part < used ||
           (place->kept_from && offset >= place->kept_from &&
            place->kept_part < used);
}

static struct qh_error *grow_table(struct qh_cache *cache, size_t pages)
{
    struct qh_cached *old = cache->places;
    size_t old_capacity = cache->capacity;
    size_t capacity = old_capacity ? old_capacity : FIRST_CAPACITY;

    while (capacity < 2 * pages) {
        capacity *= 2;
    }
    if (capacity == old_capacity) {
        return NULL;
    }
    struct qh_cached *places = calloc(capacity, sizeof(*places));
    if (!places) {
        return qh_error_no_memory();
    }
    cache->places = places;
    cache->capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].key) {
            *place_of(cache, old[i].key - 1) = old[i];
        }
    }
    free(old);
    return NULL;
}

static struct qh_error *grow_slabs(struct qh_cache *cache, size_t units)
{
    while (cache->slab_count * SLAB_UNITS < units) {
        QH_TRY(qh_array_reserve(&cache->slabs, &cache->slab_capacity,
                                cache->slab_count + 1, sizeof(*cache->slabs)));
        unsigned char *slab = malloc(SLAB_BYTES);
        if (!slab) {
            return qh_error_no_memory();
        }
        cache->slabs[cache->slab_count++] = slab;
    }
    return NULL;
}

struct qh_error *qh_cache_make_room(struct qh_cache *cache, size_t pages,
                                    size_t bytes)
{
    QH_TRY(grow_table(cache, cache->count + pages));
    QH_TRY(grow_slabs(cache, cache->used + bytes / QH_CACHE_UNIT));
    qh_memory_touch(cache->places, cache->capacity * sizeof(*cache->places));
    for (size_t i = 0; i < cache->slab_count; i++) {
        qh_memory_touch(cache->slabs[i], SLAB_BYTES);
    }
    return NULL;
}

/* Where a part begins when the units before `at` are taken: none lies in two
 * slabs. */
static size_t part_at(size_t at, uint16_t from)
{
    size_t left = SLAB_UNITS - at % SLAB_UNITS;

    return (PAGE - from) / QH_CACHE_UNIT <= (int)left ? at : at + left;
}

static size_t behind_part(size_t part, uint16_t from)
{
    return part + (PAGE - from) / QH_CACHE_UNIT;
}

struct qh_error *qh_cache_reserve(struct qh_cache *cache, const uint16_t *from,
                                  size_t count, unsigned char **ret)
{
    size_t at = cache->used;

    QH_TRY(grow_table(cache, cache->count + count));
    for (size_t i = 0; i < count; i++) {
        size_t part = part_at(at, from[i]);
        at = behind_part(part, from[i]);
        QH_TRY(grow_slabs(cache, at));
        ret[i] = unit_bytes(cache, part);
    }
    return NULL;
}

/* The upper part of a page, which `old` holds, into the one that `next` holds
 * more of. */
static void keep_upper(const struct qh_cache *cache,
                       const struct qh_cached *old, struct qh_cached *next)
{
    memcpy(unit_bytes(cache, next->part) + (old->from - next->from),
           unit_bytes(cache, old->part), PAGE - old->from);
    next->kept_from = old->kept_from ? old->kept_from : old->from;
    next->kept_part = old->kept_from ? old->kept_part : old->part;
}

void qh_cache_commit(struct qh_cache *cache, const uint64_t *pages,
                     const uint16_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct qh_cached *place = place_of(cache, pages[i]);
        struct qh_cached next = { .key = pages[i] + 1,
                                  .part =
                                      (uint32_t)part_at(cache->used, from[i]),
                                  .from = from[i] };
        if (place->key && place->from > from[i]) {
            keep_upper(cache, place, &next);
        }
        cache->count += !place->key;
        *place = next;
        cache->used = behind_part(next.part, from[i]);
    }
}
