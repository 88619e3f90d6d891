/* One reading of a process's counters.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/procfs.h"
#include "watch/reading.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* "NUMBER SIX-ARGUMENTS SP PC", "-1 SP PC" outside of any call, or "running".
 */
static void read_call(int tasks, struct qh_reading *reading)
{
    char text[512];
    ssize_t got =
        qh_proc_read_task(tasks, reading->tid, "syscall", text, sizeof(text));

    reading->permitted = got > 0;
    if (got <= 0 || sscanf(text, "%" SCNd64, &reading->call) != 1) {
        reading->call = -1;
        return;
    }
    int used = 0;
    if (reading->call < 0) {
        sscanf(text, "%*d%n", &used);
    } else {
        sscanf(text, "%*d %*s %*s %*s %*s %*s %*s%n", &used);
    }
    sscanf(text + used, "%" SCNx64 "%" SCNx64, &reading->sp, &reading->pc);
}

static void read_wchan(int tasks, struct qh_reading *reading)
{
    ssize_t got = qh_proc_read_task(tasks, reading->tid, "wchan",
                                    reading->wchan, sizeof(reading->wchan));

    if (got <= 0 || !strcmp(reading->wchan, "0")) {
        reading->wchan[0] = '\0';
    }
}

static char state_of(int tasks, pid_t tid)
{
    char text[1024];
    struct qh_proc_stat stat;

    return qh_proc_read_task(tasks, tid, "stat", text, sizeof(text)) > 0 &&
                   qh_proc_parse_stat(text, &stat)
               ? stat.state
               : 'X';
}

static void read_counters(int tasks, struct qh_reading *reading)
{
    char text[8192];
    long wished = 0, forced = 0, tracer = 0;

    if (qh_proc_read_task(tasks, reading->tid, "status", text, sizeof(text)) >
        0) {
        qh_proc_parse_status(text, "voluntary_ctxt_switches", &wished);
        qh_proc_parse_status(text, "nonvoluntary_ctxt_switches", &forced);
        qh_proc_parse_status(text, "TracerPid", &tracer);
    }
    reading->tracer = (pid_t)tracer;
    reading->switches = (uint64_t)wished + (uint64_t)forced;
    if (qh_proc_read_task(tasks, reading->tid, "schedstat", text,
                          sizeof(text)) > 0) {
        sscanf(text, "%" SCNu64 " %" SCNu64, &reading->run_ns,
               &reading->starved_ns);
    }
}

static void read_thread(int tasks, pid_t tid, struct qh_reading *ret)
{
    *ret = (struct qh_reading){ .tid = tid, .call = -1 };
    read_counters(tasks, ret);
    read_call(tasks, ret);
    read_wchan(tasks, ret);
    ret->state = state_of(tasks, tid);
}

static struct qh_error *read_others(int tasks, DIR *folder, pid_t pid,
                                    struct qh_readings *ret)
{
    struct dirent *entry;

    while ((entry = readdir(folder))) {
        pid_t tid = (pid_t)atoi(entry->d_name);
        ret->threads += tid > 0;
        if (tid <= 0 || tid == pid || state_of(tasks, tid) != 'D') {
            continue;
        }
        QH_TRY(qh_array_reserve(&ret->in_kernel, &ret->in_kernel_room,
                                ret->in_kernel_count + 1,
                                sizeof(*ret->in_kernel)));
        read_thread(tasks, tid, &ret->in_kernel[ret->in_kernel_count++]);
    }
    return NULL;
}

struct qh_error *qh_reading_take(int dir, pid_t pid, struct qh_readings *ret)
{
    int tasks = openat(dir, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = tasks < 0 ? NULL : fdopendir(tasks);

    *ret = (struct qh_readings){ .main = { .state = 'X' } };
    if (!folder) {
        qh_close_guard(&tasks);
        return NULL; /* it has ended */
    }
    read_thread(tasks, pid, &ret->main);
    struct qh_error *error = read_others(tasks, folder, pid, ret);
    closedir(folder);
    return error;
}

void qh_reading_take_main(int dir, pid_t pid, struct qh_reading *ret)
{
    QH_CLEANUP(qh_close_guard)
    int tasks = openat(dir, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    *ret = (struct qh_reading){ .tid = pid, .state = 'X', .call = -1 };
    if (tasks >= 0) {
        read_thread(tasks, pid, ret);
    }
}

void qh_readings_deinit(struct qh_readings *readings)
{
    free(readings->in_kernel);
}
