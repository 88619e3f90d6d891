/* A running process: opened, described, closed.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/live.h"
#include "target/procfs.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STOP_BOUND_NS (50 * INT64_C(1000000))

static void live_destroy(struct qh_target *target)
{
    struct qh_live *live = target->live;

    if (!live) {
        return;
    }
    qh_close_guard(&live->dir);
    qh_close_guard(&live->tasks);
    qh_close_guard(&live->pagemap);
    qh_close_guard(&live->pidfd);
    free(live->tracees);
    free(live->text);
    free(live->ran);
    free(live->handed);
    free(live);
}

/* map_files leads to the mapped file itself, whatever its name leads to now;
 * but only with CAP_CHECKPOINT_RESTORE. Its links must be named exactly as the
 * mapping is. */
static int open_map_file(struct qh_target *target,
                         const struct qh_module *module)
{
    const struct qh_mapping *mapping =
        qh_target_mapping_at(target, qh_raddr(module->start));
    char path[80];
    int fd = -1;

    if (!mapping) {
        return -1;
    }
    snprintf(path, sizeof(path), "map_files/%llx-%llx",
             (unsigned long long)mapping->start,
             (unsigned long long)mapping->end);
    qh_error_destroy(qh_open_regular(target->live->dir, path, false, &fd));
    return fd;
}

static struct qh_error *not_found(const struct qh_module *module,
                                  struct qh_error *why)
{
    struct qh_error *error = qh_error_path(
        qh_error_new(QH_ERR_NO_DEBUGINFO, "cannot open the mapped file: %s",
                     why->message),
        module->path);

    qh_error_destroy(why);
    return error;
}

static struct qh_error *live_open_file(struct qh_target *target,
                                       const struct qh_module *module,
                                       int *ret_fd)
{
    struct qh_live *live = target->live;

    if (module->path[0] != '/') {
        return qh_error_path(
            qh_error_new(QH_ERR_NO_DEBUGINFO, "%s is no file", module->path),
            module->path);
    }
    if (module->is_exe) {
        int fd = -1;
        struct qh_error *error = qh_open_regular(live->dir, "exe", false, &fd);
        if (!error) {
            *ret_fd = fd;
            return NULL;
        }
        qh_error_destroy(error);
    }
    int fd = open_map_file(target, module);
    if (fd >= 0) {
        *ret_fd = fd;
        return NULL;
    }
    struct qh_error *error = qh_live_open_inside(live, module->path, ret_fd);
    return error ? not_found(module, error) : NULL;
}

static struct qh_error *live_clock(struct qh_target *target, int clock,
                                   int64_t *ret_ns)
{
    struct qh_live *live = target->live;

    if (clock == CLOCK_MONOTONIC) {
        *ret_ns =
            live->clock_skew_ns +
            (target->was_stopped ? live->stop_monotonic_ns : qh_now_ns(clock));
    } else {
        *ret_ns =
            target->was_stopped ? live->stop_realtime_ns : qh_now_ns(clock);
    }
    return NULL;
}

static struct qh_error *live_eventfd_count(struct qh_target *target, int fd,
                                           uint64_t *ret_count)
{
    char path[64], text[4096];

    snprintf(path, sizeof(path), "fdinfo/%d", fd);
    ssize_t got = qh_proc_read(target->live->dir, path, text, sizeof(text));
    if (got < 0) {
        return qh_error_errno(QH_ERR_ABSENT, (int)-got,
                              "cannot look at descriptor %d", fd);
    }
    if (!qh_proc_parse_eventfd(text, ret_count)) {
        return qh_error_new(QH_ERR_ABSENT, "descriptor %d is no eventfd", fd);
    }
    return NULL;
}

static struct qh_error *live_stop(struct qh_target *target)
{
    target->process.unstopped = target->live->leave_running;
    target->process.is_glance =
        target->process.unstopped && !target->live->never_stop;
    target->looked_pages = 0;
    target->changed_pages = 0;
    return target->process.unstopped ? qh_running_look(target)
                                     : qh_live_stop(target);
}

static void live_resume(struct qh_target *target)
{
    if (target->process.unstopped) {
        qh_running_look_again(target);
    } else {
        qh_live_resume(target);
    }
}

static const struct qh_target_ops live_ops = {
    .destroy = live_destroy,
    .stop = live_stop,
    .resume = live_resume,
    .read = qh_live_read,
    .read_some = qh_live_read_some,
    .prefetch = qh_live_prefetch,
    .open_file = live_open_file,
    .clock = live_clock,
    .eventfd_count = live_eventfd_count,
};

static const struct qh_target_ops held_ops = {
    .destroy = live_destroy,
    .stop = qh_held_stop,
    .resume = qh_held_resume,
    .read = qh_live_read,
    .read_some = qh_live_read_some,
    .prefetch = qh_live_prefetch,
    .open_file = live_open_file,
    .clock = live_clock,
    .eventfd_count = live_eventfd_count,
};

static struct qh_error *no_process(pid_t pid)
{
    return qh_error_tid(
        qh_error_new(QH_ERR_NO_PROCESS, "there is no process %d", (int)pid),
        pid);
}

/* The pid may be that of a thread (`top -H` shows those): /proc has it too,
 * and tells the process that it belongs to. */
static struct qh_error *open_proc(struct qh_live *live, pid_t pid)
{
    char path[32], status[8192];
    long group = pid, parent = 0;

    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    live->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (live->dir < 0 ||
        qh_proc_read(live->dir, "status", status, sizeof(status)) <= 0) {
        return no_process(pid);
    }
    qh_proc_parse_status(status, "Tgid", &group);
    qh_proc_parse_status(status, "PPid", &parent);
    live->own_child = parent == getpid();
    if (group != pid) {
        close(live->dir);
        snprintf(path, sizeof(path), "/proc/%ld", group);
        live->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    live->pid = (pid_t)group;
    live->tasks = openat(live->dir, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return live->dir < 0 || live->tasks < 0 ? no_process(pid) : NULL;
}

static struct qh_error *read_exe(struct qh_target *target)
{
    char path[4096];
    ssize_t got = readlinkat(target->live->dir, "exe", path, sizeof(path) - 1);

    if (got <= 0) {
        return NULL;
    }
    path[got] = '\0';
    qh_path_take_deleted(path);
    target->process.exe = qh_arena_strdup(&target->arena, path);
    return target->process.exe ? NULL : qh_error_no_memory();
}

struct qh_error *qh_live_read_maps(struct qh_target *target)
{
    struct qh_live *live = target->live;
    QH_CLEANUP(qh_close_guard)
    int fd = openat(live->dir, "maps", O_RDONLY | O_CLOEXEC);
    int failed = fd < 0
                     ? -errno
                     : qh_proc_read_all(fd, &live->text, &live->text_capacity);

    if (failed == -EACCES || failed == -EPERM) {
        return qh_access_refused(live);
    }
    if (failed) {
        return failed == -ENOMEM ? qh_error_no_memory()
                                 : no_process(live->pid);
    }
    return qh_maps_parse(target, live->text);
}

static struct qh_error *read_modules(struct qh_target *target)
{
    char auxv[4096];

    QH_TRY(qh_live_read_maps(target));
    ssize_t got = qh_proc_read(target->live->dir, "auxv", auxv, sizeof(auxv));
    size_t bytes = got > 0 ? (size_t)got : 0;
    return qh_modules_find(target, qh_auxv_value(auxv, bytes, AT_PHDR),
                           qh_auxv_value(auxv, bytes, AT_SYSINFO_EHDR));
}

static struct qh_error *add_live(struct qh_target *target)
{
    struct qh_live *live = calloc(1, sizeof(*live));

    if (!live) {
        return qh_error_no_memory();
    }
    *live =
        (struct qh_live){ .dir = -1, .tasks = -1, .maps = -1, .pagemap = -1,
                          .pidfd = -1 };
    target->live = live;
    live->is_held = target->process.kind == QH_TARGET_HELD;
    target->ops = live->is_held ? &held_ops : &live_ops;
    return NULL;
}

/* The innermost namespace's, the last of NSpid; a kernel without namespaces
 * does not tell, and needs not. */
static pid_t inner_pid(const struct qh_live *live)
{
    char status[8192];
    long inner = live->pid;

    if (qh_proc_read(live->dir, "status", status, sizeof(status)) > 0) {
        qh_proc_parse_last(status, "NSpid", &inner);
    }
    return (pid_t)inner;
}

/* Namespaces are told apart by their inode (namespaces(7)). */
static bool shares_pid_namespace(const struct qh_live *live)
{
    struct stat own, its;

    return stat("/proc/self/ns/pid", &own) == 0 &&
           fstatat(live->dir, "ns/pid", &its, 0) == 0 &&
           own.st_dev == its.st_dev && own.st_ino == its.st_ino;
}

static struct qh_error *open_process(struct qh_target *target, pid_t pid)
{
    struct qh_live *live = target->live;

    QH_TRY(pid > 0 ? open_proc(live, pid) : no_process(pid));
    if (live->pid == getpid()) {
        return qh_error_new(QH_ERR_USAGE, "process %d is qhang itself",
                            (int)pid);
    }
    QH_TRY(qh_access_check(live));
    target->process.pid = live->pid;
    target->process.inner_pid = inner_pid(live);
    live->same_pid_namespace = shares_pid_namespace(live);
    qh_proc_read_comm(live->tasks, live->pid, target->process.name);
    live->clock_skew_ns = qh_clock_skew_ns(live->dir);
    QH_TRY(read_exe(target));
    return read_modules(target);
}

struct qh_error *qh_target_open_live(pid_t pid,
                                     const struct qh_live_options *options,
                                     struct qh_target **ret)
{
    QH_CLEANUP(qh_target_guard) struct qh_target *target = NULL;

    QH_TRY(qh_target_new(QH_TARGET_LIVE, &target));
    QH_TRY(add_live(target));
    target->live->stop_bound_ns = options && options->stop_bound_ns > 0
                                      ? options->stop_bound_ns
                                      : STOP_BOUND_NS;
    target->live->never_stop = options && options->leave_running;
    target->live->leave_running = target->live->never_stop;
    QH_TRY(open_process(target, pid));
    *ret = target;
    target = NULL;
    return NULL;
}

/* That it is held is looked at here already: what comes next, loading debug
 * information, takes longer. */
struct qh_error *qh_target_open_held(pid_t pid, const char *registers,
                                     struct qh_target **ret)
{
    QH_CLEANUP(qh_target_guard) struct qh_target *target = NULL;

    QH_TRY(qh_target_new(QH_TARGET_HELD, &target));
    QH_TRY(add_live(target));
    QH_TRY(qh_handed_read(registers, &target->live->handed,
                          &target->live->handed_count));
    QH_TRY(open_process(target, pid));
    QH_TRY(qh_held_stop(target));
    *ret = target;
    target = NULL;
    return NULL;
}
