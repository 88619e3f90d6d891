/* Reading the memory of a running process, page by page and in batches.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * process_vm_readv copies the pieces in order and stops at the first that is
 * not there; what it returns tells how far it came. So a batch is repeated
 * from behind the page that failed.
 */
#include "target/live.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

enum { BATCH = 1024 /* IOV_MAX, linux/uio.h UIO_MAXIOV */ };

static uint64_t page_of(uint64_t address)
{
    return address / QH_PAGE_BYTES;
}

/* Merges neighbours: the kernel walks the target's pages run by run. */
static size_t remote_runs(const uint64_t *pages, size_t count,
                          struct iovec *runs)
{
    size_t used = 0;

    for (size_t i = 0; i < count; i++) {
        if (i && pages[i] == pages[i - 1] + 1) {
            runs[used - 1].iov_len += QH_PAGE_BYTES;
        } else {
            runs[used].iov_base = (void *)(uintptr_t)(pages[i] * QH_PAGE_BYTES);
            runs[used++].iov_len = QH_PAGE_BYTES;
        }
    }
    return used;
}

/* Reads at most BATCH pages into the cache; `*ret_done` is how many of them,
 * from the first on, were there. */
static struct qh_error *fetch_batch(struct qh_target *target,
                                    const uint64_t *pages, size_t count,
                                    size_t *ret_done)
{
    struct iovec local[BATCH], remote[BATCH];

    QH_TRY(qh_cache_reserve(&target->cache, count));
    for (size_t i = 0; i < count; i++) {
        local[i].iov_base = qh_cache_frame(&target->cache, i);
        local[i].iov_len = QH_PAGE_BYTES;
    }
    size_t runs = remote_runs(pages, count, remote);
    ssize_t got =
        process_vm_readv(target->live->pid, local, count, remote, runs, 0);
    if (got < 0 && errno == ESRCH) {
        return qh_error_tid(qh_error_new(QH_ERR_EXITED, "process %d has exited",
                                         (int)target->live->pid),
                            target->live->pid);
    }
    size_t done = got > 0 ? (size_t)got / QH_PAGE_BYTES : 0;
    qh_cache_commit(&target->cache, pages, done);
    target->bytes_read += done * QH_PAGE_BYTES;
    if (target->was_stopped && !target->stopped) {
        target->late_reads += done;
    }
    *ret_done = done;
    return NULL;
}

/* Reads all of the pages that are there, and passes over the others. */
static struct qh_error *fetch(struct qh_target *target, const uint64_t *pages,
                              size_t count)
{
    while (count) {
        size_t batch = count < BATCH ? count : BATCH, done = 0;
        QH_TRY(fetch_batch(target, pages, batch, &done));
        if (done < batch) {
            done++; /* this one is not to be had */
        }
        pages += done;
        count -= done;
    }
    return NULL;
}

static bool has_room(const struct qh_target *target, size_t pages)
{
    return target->cache.used + pages <= QH_CACHE_PAGES;
}

/* Copies from the cache until a page is missing; returns the bytes copied. */
static size_t copy_cached(const struct qh_target *target, uint64_t address,
                          unsigned char *buffer, size_t bytes)
{
    size_t copied = 0;

    while (copied < bytes) {
        uint64_t at = address + copied;
        size_t offset = at % QH_PAGE_BYTES;
        size_t piece = QH_PAGE_BYTES - offset;
        const unsigned char *page = qh_cache_find(&target->cache, page_of(at));
        if (!page) {
            break;
        }
        if (piece > bytes - copied) {
            piece = bytes - copied;
        }
        memcpy(buffer + copied, page + offset, piece);
        copied += piece;
    }
    return copied;
}

/* Brings in the missing pages of one piece of memory. */
static struct qh_error *fetch_missing(struct qh_target *target,
                                      uint64_t address, size_t bytes)
{
    uint64_t pages[BATCH];
    size_t count = 0;

    for (uint64_t page = page_of(address); page <= page_of(address + bytes - 1);
         page++) {
        if (!qh_cache_find(&target->cache, page)) {
            pages[count++] = page;
        }
    }
    size_t done = 0;
    return count ? fetch_batch(target, pages, count, &done) : NULL;
}

/* A large piece goes through in steps that fit into one batch. */
struct qh_error *qh_live_read(struct qh_target *target, uint64_t address,
                              void *buffer, size_t bytes)
{
    const size_t step = (size_t)(BATCH - 1) * QH_PAGE_BYTES;
    unsigned char *out = buffer;

    while (bytes) {
        size_t piece = bytes < step ? bytes : step;
        size_t copied = copy_cached(target, address, out, piece);
        if (copied < piece && has_room(target, BATCH)) {
            QH_TRY(fetch_missing(target, address, piece));
            copied = copy_cached(target, address, out, piece);
        } else if (copied < piece) {
            size_t more = 0;
            QH_TRY(qh_live_read_some(target, address + copied, out + copied,
                                     piece - copied, &more));
            copied += more;
        }
        if (copied < piece) {
            return qh_unreadable(address + copied);
        }
        out += piece;
        address += piece;
        bytes -= piece;
    }
    return NULL;
}

struct qh_error *qh_live_read_some(struct qh_target *target, uint64_t address,
                                   void *buffer, size_t bytes,
                                   size_t *ret_bytes)
{
    struct iovec local = { buffer, bytes };
    struct iovec remote = { (void *)(uintptr_t)address, bytes };
    ssize_t got = process_vm_readv(target->live->pid, &local, 1, &remote, 1, 0);

    if (got < 0 && errno == ESRCH) {
        return qh_error_tid(qh_error_new(QH_ERR_EXITED, "process %d has exited",
                                         (int)target->live->pid),
                            target->live->pid);
    }
    *ret_bytes = got > 0 ? (size_t)got : 0;
    target->bytes_read += *ret_bytes;
    if (target->was_stopped && !target->stopped) {
        target->late_reads += (*ret_bytes + QH_PAGE_BYTES - 1) / QH_PAGE_BYTES;
    }
    return NULL;
}

/* Reads pages past the cache, those that are there; a bit short of that is told
 * by how many. */
static size_t fetch_anew(struct qh_target *target, const uint64_t *pages,
                         size_t count, unsigned char *buffer)
{
    struct iovec local = { buffer, count * QH_PAGE_BYTES }, remote[BATCH];
    size_t runs = remote_runs(pages, count, remote);
    ssize_t got =
        process_vm_readv(target->live->pid, &local, 1, remote, runs, 0);

    return got > 0 ? (size_t)got / QH_PAGE_BYTES : 0;
}

static size_t count_changed(const struct qh_target *target,
                            const uint64_t *pages, size_t count,
                            const unsigned char *now)
{
    size_t changed = 0;

    for (size_t i = 0; i < count; i++) {
        changed += memcmp(qh_cache_find(&target->cache, pages[i]),
                          now + i * QH_PAGE_BYTES, QH_PAGE_BYTES) != 0;
    }
    return changed;
}

size_t qh_live_changed_pages(struct qh_target *target, size_t *ret_pages)
{
    size_t count = target->cache.count, changed = 0;
    QH_CLEANUP(qh_free_guard)
    uint64_t *pages = malloc((count + 1) * sizeof(*pages));
    QH_CLEANUP(qh_free_guard)
    unsigned char *buffer = malloc((size_t)BATCH * QH_PAGE_BYTES);

    *ret_pages = count;
    if (!pages || !buffer) {
        return count; /* as many may have */
    }
    qh_cache_pages(&target->cache, pages);
    for (size_t at = 0; at < count;) {
        size_t batch = count - at < BATCH ? count - at : BATCH;
        size_t got = fetch_anew(target, pages + at, batch, buffer);
        changed += count_changed(target, pages + at, got, buffer);
        at += got;
        if (got < batch) { /* this one is gone */
            changed++;
            at++;
        }
    }
    return changed;
}

/* Pages on their way into the cache. */
struct batch {
    uint64_t pages[BATCH];
    size_t count;
};

static struct qh_error *flush(struct qh_target *target, struct batch *batch)
{
    size_t count = batch->count;

    batch->count = 0;
    return count && has_room(target, count) ? fetch(target, batch->pages, count)
                                            : NULL;
}

static struct qh_error *prefetch_pages(struct qh_target *target,
                                       struct batch *batch, uint64_t start,
                                       uint64_t end)
{
    for (uint64_t page = page_of(start); page <= page_of(end - 1); page++) {
        if (!has_room(target, batch->count + 1)) {
            return NULL;
        }
        if (qh_cache_find(&target->cache, page)) {
            continue;
        }
        batch->pages[batch->count++] = page;
        if (batch->count == BATCH) {
            QH_TRY(flush(target, batch));
        }
    }
    return NULL;
}

/* The first mapping that ends behind `address`. */
static size_t first_mapping(const struct qh_target *target, uint64_t address)
{
    size_t low = 0, high = target->mapping_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (target->mappings[middle].end <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Only what the map calls readable is asked for: a hole would cost a system
 * call a page. */
struct qh_error *qh_live_prefetch(struct qh_target *target,
                                  const struct qh_range *ranges, size_t count)
{
    struct batch batch = { .count = 0 };

    for (size_t i = 0; i < count; i++) {
        size_t at = first_mapping(target, ranges[i].start);
        for (; at < target->mapping_count; at++) {
            const struct qh_mapping *mapping = &target->mappings[at];
            uint64_t start = mapping->start > ranges[i].start ? mapping->start
                                                              : ranges[i].start;
            uint64_t end =
                mapping->end < ranges[i].end ? mapping->end : ranges[i].end;
            if (mapping->start >= ranges[i].end) {
                break;
            }
            if (mapping->present_bytes && start < end) {
                QH_TRY(prefetch_pages(target, &batch, start, end));
            }
        }
    }
    return flush(target, &batch);
}
