/* What the kernel tells of a live process besides its memory and its threads.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * For capture/, which keeps these facts beside the memory. Of a live target
 * only; none of it stops anything, so a caller who wants one moment of it all
 * stops the target around the calls.
 */
#ifndef QH_TARGET_RAW_H
#define QH_TARGET_RAW_H

#include "target/target.h"

/*
 * The whole of the file /proc/PID/`name`, NUL-terminated, in `arena`. Errors:
 * SYSTEM (this kernel has no such file, say), EXITED.
 */
struct qh_error *qh_raw_file(struct qh_target *target, const char *name,
                             struct qh_arena *arena, char **ret,
                             size_t *ret_bytes) QH_MUST_CHECK;

/* The text of /proc/PID/maps as of the last stop, or NULL; valid until the
 * next one, or the target's end. */
const char *qh_raw_maps(const struct qh_target *target);

struct qh_eventfd {
    int fd;
    bool counted;
    uint64_t count; /* when `counted` */
};

/* The eventfds of the process, without their counts, in `arena`. */
struct qh_error *qh_raw_eventfds(struct qh_target *target,
                                 struct qh_arena *arena,
                                 struct qh_eventfd **ret,
                                 size_t *ret_count) QH_MUST_CHECK;

/* Pages [start, end) that are there: in memory or swapped out. */
struct qh_touched {
    uint64_t start;
    uint64_t end;
    bool is_file; /* still the file's own pages (or shared memory's) */
};

/* A malloc'd array; the caller frees `items`. */
struct qh_touched_list {
    struct qh_touched *items;
    size_t count, capacity;
};

/*
 * Adds what has been touched of [start, end), in order of address. Pages that
 * only read as the kernel's page of zeros are left out where the kernel tells
 * them apart. PAGEMAP_SCAN (Linux 6.7) where there is one, else the entries of
 * /proc/PID/pagemap one by one. Errors: SYSTEM (a kernel without pagemap).
 * Source: Documentation/admin-guide/mm/pagemap.rst.
 */
struct qh_error *qh_raw_touched(struct qh_target *target, uint64_t start,
                                uint64_t end,
                                struct qh_touched_list *list) QH_MUST_CHECK;

#endif
