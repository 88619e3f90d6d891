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

/* Pages on their way into the cache, each from an offset on to its end. */
enum { SEEN = 4 * BATCH };
struct batch {
    uint64_t pages[BATCH];
    uint16_t from[BATCH];
    size_t count;
    /* What has been put in, by the low bits of the page, which is one more
     * here; one may push another out. Many objects share a page. */
    struct {
        uint64_t page;
        uint16_t from;
    } seen[SEEN];
};

static bool is_on_its_way(struct batch *batch, uint64_t page, uint16_t from)
{
    bool seen = batch->seen[page % SEEN].page == page + 1 &&
                batch->seen[page % SEEN].from <= from;

    if (!seen) {
        batch->seen[page % SEEN].page = page + 1;
        batch->seen[page % SEEN].from = from;
    }
    return seen;
}

/* Merges neighbours: the kernel walks the target's pages run by run. */
static size_t remote_runs(const uint64_t *pages, const uint16_t *from,
                          size_t count, struct iovec *runs)
{
    size_t used = 0;

    for (size_t i = 0; i < count; i++) {
        if (i && pages[i] == pages[i - 1] + 1 && !from[i]) {
            runs[used - 1].iov_len += QH_PAGE_BYTES;
        } else {
            runs[used].iov_base =
                (void *)(uintptr_t)(pages[i] * QH_PAGE_BYTES + from[i]);
            runs[used++].iov_len = QH_PAGE_BYTES - from[i];
        }
    }
    return used;
}

/* How many of the pieces are whole when so many bytes have come. */
static size_t pieces_in(const struct iovec *pieces, size_t count, ssize_t bytes)
{
    size_t done = 0;

    while (done < count && bytes >= (ssize_t)pieces[done].iov_len) {
        bytes -= (ssize_t)pieces[done++].iov_len;
    }
    return done;
}

/* Reads at most BATCH pages into the cache; `*ret_done` is how many of them,
 * from the first on, were there. */
static struct qh_error *fetch_batch(struct qh_target *target,
                                    const uint64_t *pages, const uint16_t *from,
                                    size_t count, size_t *ret_done)
{
    struct iovec local[BATCH], remote[BATCH];
    unsigned char *parts[BATCH];

    QH_TRY(qh_cache_reserve(&target->cache, from, count, parts));
    for (size_t i = 0; i < count; i++) {
        local[i].iov_base = parts[i];
        local[i].iov_len = QH_PAGE_BYTES - from[i];
    }
    size_t runs = remote_runs(pages, from, count, remote);
    ssize_t got =
        process_vm_readv(target->live->pid, local, count, remote, runs, 0);
    if (got < 0 && errno == ESRCH) {
        return qh_error_tid(qh_error_new(QH_ERR_EXITED, "process %d has exited",
                                         (int)target->live->pid),
                            target->live->pid);
    }
    size_t done = pieces_in(local, count, got);
    qh_cache_commit(&target->cache, pages, from, done);
    target->bytes_read += got > 0 ? (uint64_t)got : 0;
    if (target->was_stopped && !target->stopped) {
        target->late_reads += done;
    }
    *ret_done = done;
    return NULL;
}

/* Reads all of the pages that are there, and passes over the others. */
static struct qh_error *fetch(struct qh_target *target,
                              const struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        size_t done = 0;
        QH_TRY(fetch_batch(target, batch->pages + i, batch->from + i,
                           batch->count - i, &done));
        i += done; /* and past the one that is not to be had */
    }
    return NULL;
}

static bool has_room(const struct qh_target *target, size_t pages)
{
    return qh_cache_bytes(&target->cache) + pages * QH_PAGE_BYTES <=
           QH_CACHE_BYTES;
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
        const unsigned char *from =
            qh_cache_find(&target->cache, page_of(at), offset);
        if (!from) {
            break;
        }
        if (piece > bytes - copied) {
            piece = bytes - copied;
        }
        memcpy(buffer + copied, from, piece);
        copied += piece;
    }
    return copied;
}

/* Brings in the missing pages of one piece of memory. */
static struct qh_error *fetch_missing(struct qh_target *target,
                                      uint64_t address, size_t bytes)
{
    static const uint16_t from[BATCH]; /* all of each */
    uint64_t pages[BATCH];
    size_t count = 0;

    for (uint64_t page = page_of(address); page <= page_of(address + bytes - 1);
         page++) {
        if (!qh_cache_find(&target->cache, page, 0)) {
            pages[count++] = page;
        }
    }
    size_t done = 0;
    return count ? fetch_batch(target, pages, from, count, &done) : NULL;
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

/* Reads parts of pages past the cache, those that are there; tells how many
 * have come whole. */
static size_t fetch_anew(struct qh_target *target,
                         const struct qh_cached *parts, size_t count,
                         unsigned char *buffer)
{
    struct iovec local[BATCH], remote[BATCH];

    for (size_t i = 0; i < count; i++) {
        size_t bytes = QH_PAGE_BYTES - parts[i].from;
        uint64_t at = (parts[i].key - 1) * QH_PAGE_BYTES + parts[i].from;
        local[i] = (struct iovec){ buffer + i * QH_PAGE_BYTES, bytes };
        remote[i] = (struct iovec){ (void *)(uintptr_t)at, bytes };
    }
    ssize_t got =
        process_vm_readv(target->live->pid, local, count, remote, count, 0);
    return pieces_in(local, count, got);
}

static size_t count_changed(const struct qh_target *target,
                            const struct qh_cached *parts, size_t count,
                            const unsigned char *now)
{
    size_t changed = 0;

    for (size_t i = 0; i < count; i++) {
        changed +=
            memcmp(
                qh_cache_find(&target->cache, parts[i].key - 1, parts[i].from),
                now + i * QH_PAGE_BYTES, QH_PAGE_BYTES - parts[i].from) != 0;
    }
    return changed;
}

size_t qh_live_changed_pages(struct qh_target *target, size_t *ret_pages)
{
    size_t count = target->cache.count, changed = 0;
    QH_CLEANUP(qh_free_guard)
    struct qh_cached *parts = malloc((count + 1) * sizeof(*parts));
    QH_CLEANUP(qh_free_guard)
    unsigned char *buffer = malloc((size_t)BATCH * QH_PAGE_BYTES);

    *ret_pages = count;
    if (!parts || !buffer) {
        return count; /* as many may have */
    }
    qh_cache_pages(&target->cache, parts);
    for (size_t at = 0; at < count;) {
        size_t batch = count - at < BATCH ? count - at : BATCH;
        size_t got = fetch_anew(target, parts + at, batch, buffer);
        changed += count_changed(target, parts + at, got, buffer);
        at += got;
        if (got < batch) { /* this one is gone */
            changed++;
            at++;
        }
    }
    return changed;
}

static struct qh_error *flush(struct qh_target *target, struct batch *batch)
{
    struct qh_error *error =
        has_room(target, batch->count) ? fetch(target, batch) : NULL;

    batch->count = 0;
    return error;
}

/* A range that ends where a page does, as the upper end of a stack, is brought
 * in without what lies below it; of any other whole pages are, for the objects
 * beside it will be wanted too. */
static struct qh_error *prefetch_pages(struct qh_target *target,
                                       struct batch *batch, uint64_t start,
                                       uint64_t end)
{
    uint16_t from = end % QH_PAGE_BYTES ? 0 : start % QH_PAGE_BYTES;

    from -= from % QH_CACHE_UNIT;
    for (uint64_t page = page_of(start); page <= page_of(end - 1); page++) {
        if (!has_room(target, batch->count + 1)) {
            return NULL;
        }
        if (!is_on_its_way(batch, page, from) &&
            !qh_cache_find(&target->cache, page, from)) {
            batch->from[batch->count] = from;
            batch->pages[batch->count++] = page;
        }
        if (batch->count == BATCH) {
            QH_TRY(flush(target, batch));
        }
        from = 0;
    }
    return NULL;
}

/* Only what the map calls readable is asked for: a hole would cost a system
 * call a page. */
struct qh_error *qh_live_prefetch(struct qh_target *target,
                                  const struct qh_range *ranges, size_t count)
{
    struct batch batch = { .count = 0 };

    for (size_t i = 0; i < count; i++) {
        size_t at = qh_mapping_from(target, ranges[i].start);
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
