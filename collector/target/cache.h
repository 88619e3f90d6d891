/* A page cache: page number to bytes of that page.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Of a page it holds all, or the upper part from some offset on: of most stacks
 * no more is in use. To go through cold memory is what takes the time of a
 * stop, so that the parts lie close together. What is held stays as it is: when
 * all of such a page is brought in later, its upper part is kept.
 *
 * A hash table by page number, and slabs that the parts are cut from. Emptying
 * it keeps the slabs, so that the kernel has them to give only once; room for
 * a stop is made before it.
 */
#ifndef QH_TARGET_CACHE_H
#define QH_TARGET_CACHE_H

#include "base/base.h"

/* One place of the table. */
struct qh_cached {
    uint64_t key;  /* page number + 1; 0: empty */
    uint32_t part; /* where its bytes begin, in units of the slabs */
    uint16_t from; /* the first byte of the page that is held */
    /* Where more of a page was wanted later: of which part the bytes from
     * `kept_from` on are; 0: of this one. */
    uint16_t kept_from;
    uint32_t kept_part;
};

/* Zero-initialise one to begin. */
struct qh_cache {
    struct qh_cached *places;
    size_t capacity; /* places, a power of two */
    size_t count;    /* pages held */
    unsigned char **slabs;
    size_t slab_count, slab_capacity;
    size_t used; /* units cut off so far */
};

/* More than this is not held; the caller reads past it. */
#define QH_CACHE_BYTES (UINT64_C(1) << 30)

void qh_cache_deinit(struct qh_cache *cache);
/* Forgets every page, keeps the memory. */
void qh_cache_clear(struct qh_cache *cache);
/* How much memory is in use. */
uint64_t qh_cache_bytes(const struct qh_cache *cache);
/* Has the memory for so many pages and so many bytes of them ready: the kernel
 * gives it now. */
struct qh_error *qh_cache_make_room(struct qh_cache *cache, size_t pages,
                                    size_t bytes) QH_MUST_CHECK;
/* The page's byte at `offset` and what follows to its end, valid until the
 * cache is cleared; NULL when these are not held. */
const unsigned char *qh_cache_find(const struct qh_cache *cache, uint64_t page,
                                   size_t offset);
/* What it holds, into `ret` with room for cache->count, in order of page. */
void qh_cache_pages(const struct qh_cache *cache, struct qh_cached *ret);
/* Whether that byte of the page is held since before `used` units were. */
bool qh_cache_holds_before(const struct qh_cache *cache, uint64_t page,
                           size_t offset, size_t used);
/*
 * Makes room for `count` more parts of pages, from offset `from[i]` to the end
 * of each; `ret[i]` is where the caller is to put them. `from` is a multiple of
 * QH_CACHE_UNIT. The room is had until the next call.
 */
enum { QH_CACHE_UNIT = 64 };
struct qh_error *qh_cache_reserve(struct qh_cache *cache, const uint16_t *from,
                                  size_t count,
                                  unsigned char **ret) QH_MUST_CHECK;
/* Enters the first `count` of the parts that were reserved. */
void qh_cache_commit(struct qh_cache *cache, const uint64_t *pages,
                     const uint16_t *from, size_t count);

#endif
