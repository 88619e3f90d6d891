/* The memory that is kept: read into one buffer, pruned afterwards.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/private.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* What may come on top between the look before the stop and the stop. */
#define SPARE_BYTES (UINT64_C(4) << 20)

uint64_t qh_pages_total(const struct qh_capture *capture)
{
    uint64_t total = 0;

    for (size_t i = 0; i < capture->wanted.count; i++) {
        total += capture->wanted.items[i].end - capture->wanted.items[i].start;
    }
    return total;
}

/* Faulted in from the start: during the stop every microsecond counts. */
static struct qh_error *make_room(struct qh_capture *capture, uint64_t bytes)
{
    if (bytes <= capture->buffer_bytes) {
        return NULL;
    }
    bytes += bytes / 4 + SPARE_BYTES;
    bytes -= bytes % QH_CAPTURE_PAGE;
    void *buffer = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (buffer == MAP_FAILED) {
        return qh_error_no_memory();
    }
    if (capture->buffer) {
        munmap(capture->buffer, capture->buffer_bytes);
    }
    capture->buffer = buffer;
    capture->buffer_bytes = bytes;
    return NULL;
}

static struct qh_error *add_run(struct qh_capture *capture, uint64_t start,
                                uint64_t bytes, uint64_t offset)
{
    QH_TRY(qh_array_reserve(&capture->runs, &capture->run_room,
                            capture->run_count + 1, sizeof(*capture->runs)));
    capture->runs[capture->run_count++] =
        (struct qh_run){ start, bytes, offset };
    return NULL;
}

/* A page that cannot be read is passed over, and told. */
static struct qh_error *read_range(struct qh_capture *capture, uint64_t start,
                                   uint64_t end)
{
    while (start < end) {
        size_t got = 0;
        QH_TRY(qh_target_read_some(capture->target, qh_raddr(start),
                                   capture->buffer + capture->used_bytes,
                                   end - start, &got));
        got -= got % QH_CAPTURE_PAGE;
        if (got) {
            QH_TRY(add_run(capture, start, got, capture->used_bytes));
            capture->used_bytes += got;
            start += got;
        } else {
            QH_TRY(qh_choose_leave_out(capture, start, start + QH_CAPTURE_PAGE,
                                       QH_OUT_UNREADABLE));
            start += QH_CAPTURE_PAGE;
        }
    }
    return NULL;
}

struct qh_error *qh_pages_read(struct qh_capture *capture)
{
    QH_TRY(make_room(capture, qh_pages_total(capture)));
    capture->used_bytes = 0;
    capture->run_count = 0;
    for (size_t i = 0; i < capture->wanted.count; i++) {
        const struct qh_touched *item = &capture->wanted.items[i];
        QH_TRY(read_range(capture, item->start, item->end));
    }
    return NULL;
}

/* What is not written of memory that belongs to no file reads as zeros; of a
 * file's, as what is in the file. */
static bool drops_zeros(const struct qh_mapping *mapping)
{
    return !mapping->shared && mapping->path[0] != '/';
}

/* The first page of a file that is no ELF file is of no use. */
static bool is_useless(const struct qh_mapping *mapping, uint64_t address,
                       const unsigned char *page)
{
    return mapping->path[0] == '/' && !mapping->writable &&
           !mapping->file_offset && address == mapping->start &&
           memcmp(page, ELFMAG, SELFMAG) != 0;
}

static struct qh_error *prune_run(struct qh_capture *capture,
                                  const struct qh_run *run)
{
    uint64_t kept_from = 0;

    for (uint64_t at = 0; at <= run->bytes; at += QH_CAPTURE_PAGE) {
        const struct qh_mapping *mapping =
            qh_target_mapping_at(capture->target, qh_raddr(run->start + at));
        const unsigned char *page = capture->buffer + run->offset + at;
        bool drop = at == run->bytes || !mapping ||
                    (drops_zeros(mapping) &&
                     qh_memory_is_zero(page, QH_CAPTURE_PAGE)) ||
                    is_useless(mapping, run->start + at, page);
        if (!drop) {
            continue;
        }
        if (at > kept_from) {
            QH_TRY(add_run(capture, run->start + kept_from, at - kept_from,
                           run->offset + kept_from));
        }
        kept_from = at + QH_CAPTURE_PAGE;
    }
    return NULL;
}

/* By now it may be known of a mapping that was new at the stop. */
static enum qh_reason forbids_now(const struct qh_capture *capture,
                                  const struct qh_run *run)
{
    const struct qh_mapping *mapping =
        qh_target_mapping_at(capture->target, qh_raddr(run->start));

    return mapping && !mapping->shared ? qh_choose_forbids(capture, mapping)
                                       : QH_OUT_NOT;
}

static struct qh_error *prune_all(struct qh_capture *capture,
                                  const struct qh_run *runs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        enum qh_reason why = forbids_now(capture, &runs[i]);
        if (why) {
            QH_TRY(qh_choose_leave_out(capture, runs[i].start,
                                       runs[i].start + runs[i].bytes, why));
        } else {
            QH_TRY(prune_run(capture, &runs[i]));
        }
    }
    return NULL;
}

static int by_start(const void *a, const void *b)
{
    const struct qh_left_out *left = a, *right = b;

    return (left->start > right->start) - (left->start < right->start);
}

struct qh_error *qh_pages_prune(struct qh_capture *capture)
{
    QH_CLEANUP(qh_free_guard) struct qh_run *runs = capture->runs;
    size_t count = capture->run_count;

    capture->runs = NULL;
    capture->run_count = capture->run_room = 0;
    QH_TRY(prune_all(capture, runs, count));
    if (capture->left_out_count) {
        qsort(capture->left_out, capture->left_out_count,
              sizeof(*capture->left_out), by_start);
    }
    return NULL;
}
