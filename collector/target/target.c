/* What a live process and a core have in common; the rest goes to their table.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/live.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

int64_t qh_now_ns(int clock)
{
    struct timespec now = { 0 };

    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

struct qh_error *qh_target_new(enum qh_target_kind kind, struct qh_target **ret)
{
    struct qh_target *target = calloc(1, sizeof(*target));

    if (!target) {
        return qh_error_no_memory();
    }
    target->process.kind = kind;
    target->process.exe = "";
    target->hint = &target->last_mapping;
    *ret = target;
    return NULL;
}

void qh_target_destroy(struct qh_target *target)
{
    if (!target) {
        return;
    }
    qh_target_resume(target);
    if (target->ops) {
        target->ops->destroy(target);
    }
    qh_cache_deinit(&target->cache);
    qh_arena_deinit(&target->mapping_arena);
    qh_arena_deinit(&target->task_arena);
    qh_arena_deinit(&target->arena);
    free(target);
}

void qh_target_guard(struct qh_target **target)
{
    qh_target_destroy(*target);
}

const struct qh_process *qh_target_process(const struct qh_target *target)
{
    return &target->process;
}

struct qh_error *qh_target_stop(struct qh_target *target)
{
    if (target->stopped) {
        return NULL;
    }
    qh_cache_clear(&target->cache);
    QH_TRY(target->ops->stop(target));
    target->stopped = true;
    target->was_stopped = true;
    return NULL;
}

void qh_target_resume(struct qh_target *target)
{
    if (target->stopped) {
        target->stopped = false;
        target->late_from = target->cache.used;
        target->ops->resume(target);
    }
}

void qh_target_resume_guard(struct qh_target **target)
{
    if (*target) {
        qh_target_resume(*target);
    }
}

void qh_target_leave_running(struct qh_target *target, bool running)
{
    if (target->live && target->process.kind == QH_TARGET_LIVE) {
        target->live->leave_running = running || target->live->never_stop;
    }
}

size_t qh_target_changed_pages(const struct qh_target *target,
                               size_t *ret_pages)
{
    *ret_pages = target->looked_pages;
    return target->changed_pages;
}

int64_t qh_target_pause_ns(const struct qh_target *target)
{
    return target->pause_ns;
}

const struct qh_task *qh_target_tasks(const struct qh_target *target,
                                      size_t *ret_count)
{
    *ret_count = target->task_count;
    return target->tasks;
}

const struct qh_mapping *qh_target_mappings(const struct qh_target *target,
                                            size_t *ret_count)
{
    *ret_count = target->mapping_count;
    return target->mappings;
}

/* Whether `at` is what qh_mapping_from() looks for. */
static bool is_first_behind(const struct qh_target *target, size_t at,
                            uint64_t address)
{
    return at < target->mapping_count && target->mappings[at].end > address &&
           (!at || target->mappings[at - 1].end <= address);
}

/* Stacks are come by in order of address, each a guard page and a mapping. */
enum { NEARBY = 4 };

size_t qh_mapping_from(const struct qh_target *target, uint64_t address)
{
    size_t low = 0, high = target->mapping_count;

    for (size_t i = 0; i < NEARBY; i++) {
        if (is_first_behind(target, *target->hint + i, address)) {
            return *target->hint += i;
        }
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (target->mappings[middle].end <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *target->hint = low;
    return low;
}

const struct qh_mapping *qh_target_mapping_at(const struct qh_target *target,
                                              struct raddr address)
{
    size_t at = qh_mapping_from(target, address.value);

    return at < target->mapping_count &&
                   target->mappings[at].start <= address.value
               ? &target->mappings[at]
               : NULL;
}

const struct qh_module *qh_target_modules(const struct qh_target *target,
                                          size_t *ret_count)
{
    *ret_count = target->module_count;
    return target->modules;
}

struct qh_error *qh_target_open_module(struct qh_target *target,
                                       const struct qh_module *module,
                                       int *ret_fd)
{
    QH_CLEANUP(qh_close_guard) int fd = -1;
    char found[QH_BUILD_ID_HEX];

    QH_TRY(target->ops->open_file(target, module, &fd));
    if (module->build_id[0]) {
        qh_build_id_of_fd(fd, found);
        if (strcmp(found, module->build_id) != 0) {
            return qh_error_path(
                qh_error_new(QH_ERR_WRONG_EXE,
                             "the file has build-id %s, the target runs %s",
                             found[0] ? found : "(none)", module->build_id),
                module->path);
        }
    }
    *ret_fd = fd;
    fd = -1;
    return NULL;
}

struct qh_error *qh_unreadable(uint64_t address)
{
    return qh_error_at(qh_error_new(QH_ERR_UNREADABLE,
                                    "no memory to be read at 0x%llx",
                                    (unsigned long long)address),
                       qh_raddr(address));
}

struct qh_error *qh_target_read(struct qh_target *target, struct raddr address,
                                void *buffer, size_t bytes)
{
    if (!bytes) {
        return NULL;
    }
    if (address.value > UINT64_MAX - bytes) {
        return qh_unreadable(address.value);
    }
    return target->ops->read(target, address.value, buffer, bytes);
}

struct qh_error *qh_target_prefetch(struct qh_target *target,
                                    const struct qh_range *ranges, size_t count)
{
    return target->ops->prefetch(target, ranges, count);
}

bool qh_target_is_cached(const struct qh_target *target, struct raddr address)
{
    return !target->live ||
           qh_cache_find(&target->cache, address.value / QH_PAGE_BYTES,
                         address.value % QH_PAGE_BYTES);
}

struct qh_error *qh_target_make_room(struct qh_target *target, size_t pages,
                                     size_t bytes)
{
    bool fits = bytes <= QH_CACHE_BYTES;

    return target->live && fits
               ? qh_cache_make_room(&target->cache, pages, bytes)
               : NULL;
}

struct qh_error *qh_target_read_some(struct qh_target *target,
                                     struct raddr address, void *buffer,
                                     size_t bytes, size_t *ret_bytes)
{
    if (!bytes || address.value > UINT64_MAX - bytes) {
        *ret_bytes = 0;
        return NULL;
    }
    return target->ops->read_some(target, address.value, buffer, bytes,
                                  ret_bytes);
}

uint64_t qh_target_bytes_read(const struct qh_target *target)
{
    return target->bytes_read;
}

uint64_t qh_target_late_reads(const struct qh_target *target)
{
    return target->late_reads;
}

bool qh_target_is_late(const struct qh_target *target, struct raddr address)
{
    return target->process.kind == QH_TARGET_LIVE && !target->stopped &&
           !qh_cache_holds_before(&target->cache, address.value / QH_PAGE_BYTES,
                                  address.value % QH_PAGE_BYTES,
                                  target->late_from);
}

struct qh_error *qh_target_clock(struct qh_target *target, int clock,
                                 int64_t *ret_ns)
{
    if (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME) {
        return qh_error_new(QH_ERR_ABSENT, "clock %d is not looked at", clock);
    }
    return target->ops->clock(target, clock, ret_ns);
}

struct qh_error *qh_target_eventfd_count(struct qh_target *target, int fd,
                                         uint64_t *ret_count)
{
    return target->ops->eventfd_count(target, fd, ret_count);
}
