/* The QEMUs of this host: found, read twice, judged.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/procfs.h"
#include "watch/reading.h"
#include "watch/watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CMDLINE_BYTES = 65536 };

/* A process that is one of those looked for, between the readings. */
struct found {
    int dir; /* /proc/PID */
    struct qh_watched watched;
    struct qh_readings before;
};

struct search {
    struct qh_watch *watch;
    struct found *items; /* malloc'd */
    size_t count, room;
    char cmdline[CMDLINE_BYTES];
};

static void search_guard(struct search **search)
{
    if (!*search) {
        return;
    }
    for (size_t i = 0; i < (*search)->count; i++) {
        qh_close_guard(&(*search)->items[i].dir);
        qh_readings_deinit(&(*search)->items[i].before);
    }
    free((*search)->items);
    free(*search);
}

bool qh_watch_is_qemu(const char *name)
{
    static const char *const names[] = { "qemu-storage-daemon",
                                         "qemu-nbd",
                                         "qemu-img",
                                         "qemu-io",
                                         "qemu-kvm",
                                         "kvm" };
    static const char system[] = "qemu-system-";

    for (size_t i = 0; i < QH_COUNT(names); i++) {
        if (!strcmp(name, names[i])) {
            return true;
        }
    }
    return !strncmp(name, system, sizeof(system) - 1) &&
           name[sizeof(system) - 1];
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* The name of the executable, without " (deleted)"; "" when not shown. */
static void read_exe(int dir, char *ret, size_t size)
{
    static const char deleted[] = " (deleted)";
    ssize_t got = readlinkat(dir, "exe", ret, size - 1);
    size_t tail = sizeof(deleted) - 1;

    ret[got > 0 ? got : 0] = '\0';
    size_t length = strlen(ret);
    if (length > tail && !strcmp(ret + length - tail, deleted)) {
        ret[length - tail] = '\0';
    }
}

/* Which of its names makes it a QEMU; NULL if none does. */
static const char *qemu_name(int dir, const char *cmdline, char exe[4096],
                             char comm[64])
{
    const char *called = base_name(cmdline);

    read_exe(dir, exe, 4096);
    if (exe[0] && qh_watch_is_qemu(base_name(exe))) {
        return base_name(exe);
    }
    if (qh_watch_is_qemu(called)) {
        return called;
    }
    /* The kernel keeps 15 bytes of a name: "qemu-storage-da". */
    if (!exe[0] && !called[0] && qh_proc_read(dir, "comm", comm, 64) > 0) {
        comm[strcspn(comm, "\n")] = '\0';
        if (qh_watch_is_qemu(comm) || !strcmp(comm, "qemu-storage-da")) {
            return comm;
        }
    }
    return NULL;
}

/* What stands behind -name: "web1", or "guest=web1,debug-threads=on". */
static const char *guest_name(struct qh_arena *arena, const char *cmdline,
                              size_t bytes)
{
    const char *end = cmdline + bytes;

    for (const char *at = cmdline; at < end; at += strlen(at) + 1) {
        const char *value = at + strlen(at) + 1;
        if ((strcmp(at, "-name") && strcmp(at, "--name")) || value >= end) {
            continue;
        }
        const char *guest = strstr(value, "guest=");
        guest = guest ? guest + strlen("guest=") : value;
        return qh_arena_printf(arena, "%.*s", (int)strcspn(guest, ","), guest);
    }
    return NULL;
}

/* starttime, the 22nd field, in ticks since boot. */
static int64_t age_of(const char *stat)
{
    const char *at = strrchr(stat, ')');
    unsigned long long ticks = 0;
    struct timespec now = { 0 };
    long rate = sysconf(_SC_CLK_TCK);

    for (unsigned field = 2; at && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    if (!at || sscanf(at, " %llu", &ticks) != 1 || rate <= 0) {
        return 0;
    }
    clock_gettime(CLOCK_BOOTTIME, &now);
    int64_t now_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    int64_t start_ns =
        (int64_t)(ticks / (unsigned long)rate) * INT64_C(1000000000) +
        (int64_t)(ticks % (unsigned long)rate) * (INT64_C(1000000000) / rate);
    return now_ns > start_ns ? now_ns - start_ns : 0;
}

static struct qh_error *describe(struct search *search, int dir, pid_t pid,
                                 const char *name, size_t cmdline_bytes,
                                 struct qh_watched *ret)
{
    struct qh_arena *arena = &search->watch->arena;
    char text[8192];
    long inner = pid;

    *ret = (struct qh_watched){ .pid = pid, .inner_pid = pid, .uid = -1 };
    ret->name = qh_arena_strdup(arena, name);
    ret->guest = guest_name(arena, search->cmdline, cmdline_bytes);
    if (qh_proc_read(dir, "stat", text, sizeof(text)) > 0) {
        ret->age_ns = age_of(text);
    }
    if (qh_proc_read(dir, "status", text, sizeof(text)) > 0) {
        qh_proc_parse_status(text, "Uid", &ret->uid);
        qh_proc_parse_last(text, "NSpid", &inner);
        ret->inner_pid = (pid_t)inner;
    }
    return ret->name ? NULL : qh_error_no_memory();
}

/* Looks at one process, which may well be gone. */
static struct qh_error *look_at(struct search *search, int proc, pid_t pid)
{
    char path[32], exe[4096], comm[64];

    snprintf(path, sizeof(path), "%d", (int)pid);
    QH_CLEANUP(qh_close_guard)
    int dir = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        return NULL;
    }
    ssize_t got = qh_proc_read(dir, "cmdline", search->cmdline, CMDLINE_BYTES);
    search->cmdline[got > 0 ? got : 0] = '\0';
    const char *name = qemu_name(dir, search->cmdline, exe, comm);
    if (!name) {
        return NULL;
    }
    QH_TRY(qh_array_reserve(&search->items, &search->room, search->count + 1,
                            sizeof(*search->items)));
    struct found *found = &search->items[search->count];
    QH_TRY(describe(search, dir, pid, name, got > 0 ? (size_t)got : 0,
                    &found->watched));
    QH_TRY(qh_reading_take(dir, pid, &found->before));
    found->dir = dir;
    dir = -1;
    search->count++;
    return NULL;
}

static struct qh_error *find_all(struct search *search)
{
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    struct qh_error *error = NULL;

    if (!folder) {
        return qh_error_path(
            qh_error_errno(QH_ERR_SYSTEM, errno, "cannot list the processes"),
            "/proc");
    }
    while (!error && (entry = readdir(folder))) {
        pid_t pid = (pid_t)atoi(entry->d_name);
        if (pid > 0 && pid != getpid()) {
            error = look_at(search, dirfd(folder), pid);
        }
    }
    closedir(folder);
    return error;
}

/* One that has ended meanwhile is left out. */
static struct qh_error *judge_one(struct search *search, struct found *found)
{
    struct qh_watch *watch = search->watch;
    struct qh_readings after;
    struct qh_error *error =
        qh_reading_take(found->dir, found->watched.pid, &after);

    if (!error && after.main.state != 'X') {
        error = qh_watch_judge(watch, &found->before, &after, &found->watched);
        struct qh_watched *item =
            error ? NULL
                  : qh_list_add(&watch->arena, &watch->items, &watch->count,
                                &watch->room, sizeof(*item));
        if (item) {
            *item = found->watched;
        } else if (!error) {
            error = qh_error_no_memory();
        }
    }
    qh_readings_deinit(&after);
    return error;
}

static int by_pid(const void *a, const void *b)
{
    const struct qh_watched *left = a, *right = b;

    return (left->pid > right->pid) - (left->pid < right->pid);
}

struct qh_error *qh_watch_list(int64_t interval_ns, struct qh_watch **ret)
{
    QH_CLEANUP(qh_watch_guard)
    struct qh_watch *watch = calloc(1, sizeof(*watch));
    QH_CLEANUP(search_guard) struct search *search = calloc(1, sizeof(*search));
    const struct timespec interval = {
        .tv_sec = interval_ns / 1000000000,
        .tv_nsec = interval_ns % 1000000000,
    };

    if (!watch || !search) {
        return qh_error_no_memory();
    }
    watch->interval_ns = interval_ns;
    search->watch = watch;
    QH_TRY(find_all(search));
    if (search->count) {
        nanosleep(&interval, NULL);
    }
    for (size_t i = 0; i < search->count; i++) {
        QH_TRY(judge_one(search, &search->items[i]));
    }
    if (watch->count) {
        qsort(watch->items, watch->count, sizeof(*watch->items), by_pid);
    }
    *ret = watch;
    watch = NULL;
    return NULL;
}

void qh_watch_destroy(struct qh_watch *watch)
{
    if (watch) {
        qh_arena_deinit(&watch->arena);
        free(watch);
    }
}

void qh_watch_guard(struct qh_watch **watch)
{
    qh_watch_destroy(*watch);
}
