/* Which pages of a process are there at all.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source: Documentation/admin-guide/mm/pagemap.rst of Linux; the layout of
 * struct pm_scan_arg is that of include/uapi/linux/fs.h since 6.7, which the
 * headers that this is built with may lack. */
#include "target/live.h"
#include "target/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    SCAN_FILE = 1 << 2,
    SCAN_PRESENT = 1 << 3,
    SCAN_SWAPPED = 1 << 4,
    SCAN_ZERO_PAGE = 1 << 5,
    SCAN_REGIONS = 512,
    ENTRIES = 8192 /* of pagemap, read at once */
};

#define ENTRY_PRESENT (UINT64_C(1) << 63)
#define ENTRY_SWAPPED (UINT64_C(1) << 62)
#define ENTRY_FILE (UINT64_C(1) << 61)

struct region {
    uint64_t start, end, categories;
};

struct scan {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t inverted, mask, any_of, report;
};

#define SCAN_IOCTL _IOWR('f', 16, struct scan)

/* Next to the one before it is made one with it. */
static struct qh_error *add(struct qh_touched_list *list, uint64_t start,
                            uint64_t end, bool is_file)
{
    struct qh_touched *last =
        list->count ? &list->items[list->count - 1] : NULL;

    if (last && last->end == start && last->is_file == is_file) {
        last->end = end;
        return NULL;
    }
    QH_TRY(qh_array_reserve(&list->items, &list->capacity, list->count + 1,
                            sizeof(*list->items)));
    list->items[list->count++] = (struct qh_touched){ start, end, is_file };
    return NULL;
}

/* `*ret_done` is false where the kernel has no such call. */
static struct qh_error *scan(int fd, uint64_t start, uint64_t end,
                             struct qh_touched_list *list, bool *ret_done)
{
    /* Cleared for valgrind, which does not know what the kernel fills. */
    struct region regions[SCAN_REGIONS] = { { 0 } };
    struct scan request = {
        .size = sizeof(request),
        .start = start,
        .end = end,
        .vec = (uint64_t)(uintptr_t)regions,
        .vec_len = SCAN_REGIONS,
        .inverted = SCAN_ZERO_PAGE,
        .mask = SCAN_ZERO_PAGE,
        .any_of = SCAN_PRESENT | SCAN_SWAPPED,
        .report = SCAN_FILE,
    };

    *ret_done = true;
    while (request.start < end) {
        int got = ioctl(fd, SCAN_IOCTL, &request);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            *ret_done = false;
            return NULL;
        }
        for (int i = 0; i < got; i++) {
            QH_TRY(add(list, regions[i].start, regions[i].end,
                       regions[i].categories & SCAN_FILE));
        }
        if (request.walk_end <= request.start) {
            break;
        }
        request.start = request.walk_end;
    }
    return NULL;
}

static struct qh_error *read_entries(int fd, uint64_t start, uint64_t end,
                                     struct qh_touched_list *list)
{
    uint64_t entries[ENTRIES];

    while (start < end) {
        uint64_t pages = (end - start) / QH_PAGE_BYTES;
        size_t wanted = pages < ENTRIES ? (size_t)pages : ENTRIES;
        ssize_t got = pread(fd, entries, wanted * sizeof(entries[0]),
                            (off_t)(start / QH_PAGE_BYTES * sizeof(*entries)));
        if (got < 0) {
            return qh_error_errno(QH_ERR_SYSTEM, errno, "cannot read pagemap");
        }
        size_t count = (size_t)got / sizeof(entries[0]);
        if (!count) {
            break;
        }
        for (size_t i = 0; i < count; i++, start += QH_PAGE_BYTES) {
            if (entries[i] & (ENTRY_PRESENT | ENTRY_SWAPPED)) {
                QH_TRY(add(list, start, start + QH_PAGE_BYTES,
                           entries[i] & ENTRY_FILE));
            }
        }
    }
    return NULL;
}

/* A scan may end in the middle: what it has added is taken off again. */
struct qh_error *qh_raw_touched(struct qh_target *target, uint64_t start,
                                uint64_t end, struct qh_touched_list *list)
{
    size_t before = list->count;
    struct qh_touched last = { 0 };
    bool done = false;

    if (!target->live) {
        return qh_error_new(QH_ERR_ABSENT, "there is no process to ask");
    }
    if (target->live->pagemap < 0) {
        target->live->pagemap =
            openat(target->live->dir, "pagemap", O_RDONLY | O_CLOEXEC);
    }
    if (target->live->pagemap < 0) {
        return qh_error_errno(QH_ERR_SYSTEM, errno,
                              "cannot open /proc/%d/pagemap",
                              (int)target->live->pid);
    }
    if (before) {
        last = list->items[before - 1];
    }
    QH_TRY(scan(target->live->pagemap, start, end, list, &done));
    if (done) {
        return NULL;
    }
    list->count = before;
    if (before) {
        list->items[before - 1] = last;
    }
    return read_entries(target->live->pagemap, start, end, list);
}
