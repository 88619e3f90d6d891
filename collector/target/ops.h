/* What the files of this room share: the target object and its two kinds.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * target.c holds what is the same for both kinds and hands the rest on through
 * a table of functions. live.c, stop.c and access.c are the live kind, of which
 * held.c makes one that is not stopped but found so, and running.c one that is
 * not even that; core.c and its neighbours
 * are the other. Nothing outside this folder includes this.
 *
 * All that a target gives out (mappings, tasks, modules, strings) lies in its
 * arena until it is destroyed: a second stop makes new arrays and leaves the
 * old ones alone, so a pointer from the first sample stays good.
 */
#ifndef QH_TARGET_OPS_H
#define QH_TARGET_OPS_H

#include "target/cache.h"
#include "target/target.h"

enum { QH_PAGE_BYTES = 4096 };

struct qh_live;
struct qh_core;

struct qh_target_ops {
    void (*destroy)(struct qh_target *target);
    struct qh_error *(*stop)(struct qh_target *target);
    void (*resume)(struct qh_target *target);
    /* The rest is as target.h tells; addresses do not wrap, `bytes` > 0. */
    struct qh_error *(*read)(struct qh_target *target, uint64_t address,
                             void *buffer, size_t bytes);
    struct qh_error *(*read_some)(struct qh_target *target, uint64_t address,
                                  void *buffer, size_t bytes,
                                  size_t *ret_bytes);
    struct qh_error *(*prefetch)(struct qh_target *target,
                                 const struct qh_range *ranges, size_t count);
    /* A readable descriptor of a regular file, its build-id not yet looked at.
     */
    struct qh_error *(*open_file)(struct qh_target *target,
                                  const struct qh_module *module, int *ret_fd);
    struct qh_error *(*clock)(struct qh_target *target, int clock,
                              int64_t *ret_ns);
    struct qh_error *(*eventfd_count)(struct qh_target *target, int fd,
                                      uint64_t *ret_count);
};

struct qh_target {
    const struct qh_target_ops *ops;
    struct qh_process process;
    struct qh_arena arena;
    struct qh_arena mapping_arena; /* of the mappings, new at each stop */
    struct qh_mapping *mappings;
    size_t mapping_count;
    /* Where the last look-up ended: the next one is often nearby. To look
     * something up changes nothing else, hence the pointer. */
    size_t last_mapping;
    size_t *hint; /* &last_mapping */
    struct qh_arena task_arena; /* of the tasks, new at each stop */
    struct qh_task *tasks;
    size_t task_count;
    struct qh_module *modules;
    size_t module_count;
    bool stopped;
    bool was_stopped; /* at least once */
    int64_t pause_ns;
    uint64_t bytes_read;
    uint64_t late_reads;
    size_t late_from; /* units of the cache from here on are late */
    size_t looked_pages, changed_pages; /* of the last look, if it was one */
    struct qh_cache cache;              /* of a process only */
    struct qh_live *live;               /* NULL for a core */
    struct qh_core *core;               /* NULL for a process */
};

/* Now, by a clock of <time.h>. */
int64_t qh_now_ns(int clock);

/* The first mapping that ends behind `address`, or the count of them. */
size_t qh_mapping_from(const struct qh_target *target, uint64_t address);

/* A new target of no kind yet, with its arena and nothing else. */
struct qh_error *qh_target_new(enum qh_target_kind kind,
                               struct qh_target **ret) QH_MUST_CHECK;
struct qh_error *qh_unreadable(uint64_t address) QH_MUST_CHECK;

/* maps.c: turns the text of /proc/PID/maps into the target's mappings, in place
 * of those that it had; after an error those are still there. */
struct qh_error *qh_maps_parse(struct qh_target *target,
                               const char *text) QH_MUST_CHECK;
/* Whether the kernel refuses to have these pages read, whatever the map says
 * ([vvar], [vsyscall]). */
bool qh_maps_is_special(const char *path);

/*
 * modules.c: fills in target->modules from the mappings. `phdr` is AT_PHDR, by
 * which the executable is told, and `vdso` AT_SYSINFO_EHDR; 0 for not known.
 */
struct qh_error *qh_modules_find(struct qh_target *target, uint64_t phdr,
                                 uint64_t vdso) QH_MUST_CHECK;
/* The module that holds `address`, or NULL. */
struct qh_module *qh_module_at(const struct qh_target *target,
                               uint64_t address);
/* The path without " (deleted)"; tells whether it was there. */
bool qh_path_take_deleted(char *path);

/* build_id.c: hex digits of at most 64 bytes, "" when there is none. */
enum { QH_BUILD_ID_HEX = 129 };
/* From the notes of the ELF file that is mapped at [start, end). */
void qh_build_id_of_memory(struct qh_target *target, uint64_t start,
                           uint64_t end, char ret_hex[QH_BUILD_ID_HEX]);
void qh_build_id_of_fd(int fd, char ret_hex[QH_BUILD_ID_HEX]);
/* Of the vdso that the kernel gave to qhang itself. */
void qh_build_id_of_own_vdso(char ret_hex[QH_BUILD_ID_HEX]);

/*
 * files.c: opens a regular file for reading without ever opening a device or a
 * FIFO: it is looked at first (O_PATH), then reopened. `at` may be AT_FDCWD;
 * with `inside` nothing outside the folder `at` can be reached, "/" and links
 * included. Errors: SYSTEM with errno, also for what is no regular file.
 */
struct qh_error *qh_open_regular(int at, const char *path, bool inside,
                                 int *ret_fd) QH_MUST_CHECK;
/* For where openat2(2) is missing: before Linux 5.6, and under a filter such as
 * that of systemd's RestrictSUIDSGID=. Like open() with O_PATH, but without
 * following any link, and not through "..". */
int qh_open_linkless(int at, const char *path);

#endif
