/* Any bytes as a core file: opened, described, read from end to end.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf/dwarf.h"
#include "fuzz.h"
#include "target/target.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

/* What is read of one mapping, from both its ends. */
enum { LOOK_BYTES = 8192 };

/* Names end in their arrays; what is said of memory fits into memory. */
static void check_description(struct qh_target *target)
{
    const struct qh_process *process = qh_target_process(target);
    size_t count, previous_end = 0;
    const struct qh_task *tasks = qh_target_tasks(target, &count);

    fuzz_require(process->exe && process->core);
    fuzz_require(memchr(process->name, 0, sizeof(process->name)));
    for (size_t i = 0; i < count; i++) {
        fuzz_require(memchr(tasks[i].name, 0, sizeof(tasks[i].name)));
        fuzz_require(!i || tasks[i - 1].tid <= tasks[i].tid);
    }
    const struct qh_mapping *maps = qh_target_mappings(target, &count);
    for (size_t i = 0; i < count; i++) {
        fuzz_require(maps[i].start < maps[i].end);
        fuzz_require(maps[i].start >= previous_end);
        fuzz_require(maps[i].present_bytes <= maps[i].end - maps[i].start);
        previous_end = maps[i].end;
    }
}

static void read_at(struct qh_target *target, uint64_t address)
{
    static unsigned char buffer[LOOK_BYTES];
    size_t have = 0;

    qh_error_destroy(
        qh_target_read(target, qh_raddr(address), buffer, sizeof(buffer)));
    qh_error_destroy(qh_target_read_some(target, qh_raddr(address), buffer,
                                         sizeof(buffer), &have));
    fuzz_require(have <= sizeof(buffer));
}

static void read_memory(struct qh_target *target)
{
    size_t count;
    const struct qh_mapping *maps = qh_target_mappings(target, &count);

    for (size_t i = 0; i < count; i++) {
        read_at(target, maps[i].start);
        read_at(target, maps[i].end - LOOK_BYTES / 2);
    }
    read_at(target, 0);
    read_at(target, UINT64_MAX - LOOK_BYTES);
    read_at(target, UINT64_MAX);
}

static void open_modules(struct qh_target *target)
{
    size_t count;
    const struct qh_module *modules = qh_target_modules(target, &count);

    for (size_t i = 0; i < count; i++) {
        QH_CLEANUP(qh_close_guard) int fd = -1;
        fuzz_require(
            memchr(modules[i].build_id, 0, sizeof(modules[i].build_id)));
        qh_error_destroy(qh_target_open_module(target, &modules[i], &fd));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    QH_CLEANUP(qh_target_guard) struct qh_target *target = NULL;
    QH_CLEANUP(qh_debug_guard) struct qh_debug *debug = NULL;
    QH_CLEANUP(qh_close_guard) int fd = -1;
    const struct qh_debug_options options = { .debuginfo_dir = "/nowhere" };
    char path[FUZZ_PATH_BYTES];
    int64_t now;

    fd = fuzz_file(data, bytes, path);
    struct qh_error *error = qh_target_open_core(path, NULL, &target);
    if (error) {
        fuzz_require(error->message && !target);
        qh_error_destroy(error);
        return 0;
    }
    qh_error_destroy(qh_target_stop(target));
    check_description(target);
    read_memory(target);
    open_modules(target);
    qh_error_destroy(qh_target_clock(target, CLOCK_MONOTONIC, &now));
    qh_error_destroy(qh_debug_open(target, &options, &debug));
    return 0;
}
