/* A page cache: page number to 4 KiB of bytes.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A hash table by page number and slabs of page frames. Emptying it keeps the
 * slabs: what was read before the stop has already faulted them in, so that
 * during the stop, when every microsecond counts, they cost nothing.
 */
#ifndef QH_TARGET_CACHE_H
#define QH_TARGET_CACHE_H

#include "base/base.h"

/* Zero-initialise one to begin. */
struct qh_cache {
    uint64_t *keys;   /* page number + 1; 0 is an empty place */
    uint32_t *frames; /* frame of the key at the same place */
    size_t capacity;  /* places, a power of two */
    size_t count;     /* pages held */
    unsigned char **slabs;
    size_t slab_count, slab_capacity;
    size_t used; /* frames given out so far */
};

/* More than this many pages (1 GiB) are not held; the caller reads past it. */
enum { QH_CACHE_PAGES = 1 << 18 };

void qh_cache_deinit(struct qh_cache *cache);
/* Forgets every page, keeps the memory. */
void qh_cache_clear(struct qh_cache *cache);
/* The bytes of the page, valid until the cache is cleared, or NULL. */
const unsigned char *qh_cache_find(const struct qh_cache *cache, uint64_t page);
/* Whether the page is held in a frame that was given out before `frame`. */
bool qh_cache_holds_before(const struct qh_cache *cache, uint64_t page,
                           size_t frame);
/* The pages that it holds, into `pages` with room for cache->count, sorted. */
void qh_cache_pages(const struct qh_cache *cache, uint64_t *pages);
/*
 * Makes room for `count` more pages. Their frames, to be filled by the caller,
 * are qh_cache_frame(cache, 0 .. count - 1).
 */
struct qh_error *qh_cache_reserve(struct qh_cache *cache,
                                  size_t count) QH_MUST_CHECK;
unsigned char *qh_cache_frame(struct qh_cache *cache, size_t index);
/* Enters the first `count` reserved frames under `pages`. */
void qh_cache_commit(struct qh_cache *cache, const uint64_t *pages,
                     size_t count);

#endif
