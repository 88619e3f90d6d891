/* Freezing a victim: started, stopped, copied, killed, looked at once.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "frozen.h"

#include "fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void run_victim(const char *program, const char *scenario,
                       const char *plant, int out)
{
    int null = open("/dev/null", O_RDONLY);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    personality(ADDR_NO_RANDOMIZE);
    dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    execl(program, program, "--scenario", scenario, "--coroutines", "4",
          plant ? "--plant" : NULL, plant, (char *)NULL);
    _exit(127);
}

/* Returns when the victim says that it is ready. */
static pid_t start_victim(const char *program, const char *scenario,
                          const char *plant)
{
    int out[2];
    char line[128] = "";

    fuzz_require(pipe2(out, O_CLOEXEC) == 0);
    pid_t pid = fork();
    fuzz_require(pid >= 0);
    if (!pid) {
        run_victim(program, scenario, plant, out[1]);
    }
    close(out[1]);
    FILE *told = fdopen(out[0], "r");
    fuzz_require(told && fgets(line, sizeof(line), told));
    fuzz_require(strncmp(line, "ready ", 6) == 0);
    fclose(told);
    return pid;
}

static void report(struct qh_error *error)
{
    if (error) {
        fprintf(stderr, "cannot freeze the victim: %s; try: %s\n",
                error->message, qh_error_advice(error));
        abort();
    }
}

static void add_page(struct frozen *frozen, uint64_t address,
                     const uint8_t *bytes)
{
    static const uint8_t zeros[QH_PAGE_BYTES];

    if (!memcmp(bytes, zeros, sizeof(zeros))) {
        return; /* what has no page reads as zeros */
    }
    uint8_t *copy = malloc(QH_PAGE_BYTES);
    fuzz_require(copy);
    memcpy(copy, bytes, QH_PAGE_BYTES);
    report(qh_array_reserve(&frozen->pages, &frozen->page_room,
                            frozen->page_count + 1, sizeof(*frozen->pages)));
    frozen->pages[frozen->page_count++] = (struct frozen_page){ address, copy };
}

static void copy_memory(struct frozen *frozen, struct qh_target *live)
{
    enum { CHUNK = 256 * QH_PAGE_BYTES };
    static uint8_t chunk[CHUNK];

    for (size_t i = 0; i < live->mapping_count; i++) {
        const struct qh_mapping *map = &live->mappings[i];
        for (uint64_t at = map->start; at < map->start + map->present_bytes;) {
            uint64_t rest = map->end - at;
            size_t have;
            report(qh_target_read_some(live, qh_raddr(at), chunk,
                                       rest < CHUNK ? rest : CHUNK, &have));
            have -= have % QH_PAGE_BYTES;
            for (size_t page = 0; page < have; page += QH_PAGE_BYTES) {
                add_page(frozen, at + page, chunk + page);
            }
            at += have ? have : QH_PAGE_BYTES;
        }
    }
}

/* With room for one more item. */
static void *copy_array(const void *items, size_t count, size_t item_bytes)
{
    void *copy = calloc(count + 1, item_bytes);

    fuzz_require(copy);
    memcpy(copy, items, count * item_bytes);
    return copy;
}

static const char *copy_string(const char *text)
{
    char *copy = strdup(text);

    fuzz_require(copy);
    return copy;
}

/* The map, and the plant in its order. */
static void copy_mappings(struct frozen *frozen, const struct qh_target *live)
{
    size_t count = live->mapping_count, at = 0;

    frozen->mappings =
        copy_array(live->mappings, count, sizeof(*frozen->mappings));
    for (size_t i = 0; i < count; i++) {
        frozen->mappings[i].path = copy_string(live->mappings[i].path);
        at += frozen->mappings[i].start < FROZEN_PLANT;
    }
    memmove(&frozen->mappings[at + 1], &frozen->mappings[at],
            (count - at) * sizeof(*frozen->mappings));
    frozen->mappings[at] = (struct qh_mapping){
        .start = FROZEN_PLANT,
        .end = FROZEN_PLANT + FROZEN_PLANT_BYTES,
        .present_bytes = FROZEN_PLANT_BYTES,
        .readable = true,
        .writable = true,
        .executable = true, /* it is too large to be searched through */
        .path = "",
    };
    frozen->mapping_count = count + 1;
    frozen->target.mappings = copy_array(
        frozen->mappings, frozen->mapping_count, sizeof(*frozen->mappings));
}

static void copy_description(struct frozen *frozen,
                             const struct qh_target *live)
{
    struct qh_target *target = &frozen->target;

    target->hint = &target->last_mapping;
    target->process = live->process;
    target->process.exe = copy_string(live->process.exe);
    target->modules =
        copy_array(live->modules, live->module_count, sizeof(*target->modules));
    target->module_count = live->module_count;
    for (size_t i = 0; i < target->module_count; i++) {
        target->modules[i].path = copy_string(live->modules[i].path);
    }
    frozen->task_count = live->task_count;
    frozen->tasks =
        copy_array(live->tasks, live->task_count, sizeof(*frozen->tasks));
    target->tasks =
        copy_array(live->tasks, live->task_count, sizeof(*target->tasks));
}

/* What one diagnosis of the unchanged victim looks at. */
static void record_spots(struct frozen *frozen, const char *scenario)
{
    struct qh_snapshot *snapshot = NULL;

    frozen->recording = true;
    report(qh_qemu_sample(frozen->qemu, &snapshot));
    frozen_rescue(frozen, snapshot, NULL);
    frozen->recording = false;
    /* Else what follows would be about something else. */
    for (size_t i = 0; i < snapshot->gap_count; i++) {
        fprintf(stderr, "%s: %s\n", snapshot->gaps[i].what,
                snapshot->gaps[i].reason);
    }
    fuzz_require(!snapshot->gap_count && snapshot->coroutine_count > 4);
    fuzz_require(frozen->spot_count);
    qh_snapshot_destroy(snapshot);
    printf("%s: %zu spots\n", scenario, frozen->spot_count);
}

struct frozen *frozen_create(const char *program, const char *scenario,
                             const char *plant)
{
    struct frozen *frozen = calloc(1, sizeof(*frozen));
    /* On a busy machine a thread may take a while to get to its CPU. */
    const struct qh_live_options patient = { .stop_bound_ns = 60000000000 };
    struct qh_target *live;

    fuzz_require(frozen);
    pid_t pid = start_victim(program, scenario, plant);
    report(qh_target_open_live(pid, &patient, &live));
    report(qh_target_stop(live));
    copy_description(frozen, live);
    copy_mappings(frozen, live);
    copy_memory(frozen, live);
    report(qh_target_clock(live, CLOCK_MONOTONIC, &frozen->clock_ns));
    qh_target_destroy(live);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    frozen_reset(frozen);
    report(qh_debug_open(&frozen->target, &(struct qh_debug_options){ NULL },
                         &frozen->debug));
    report(qh_qemu_create(&frozen->target, frozen->debug, &frozen->qemu));
    record_spots(frozen, scenario);
    return frozen;
}
