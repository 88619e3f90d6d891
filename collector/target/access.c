/* Whether a process may be examined, and the words when it may not.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/live.h"
#include "target/procfs.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { STATUS_BYTES = 8192 };

pid_t qh_access_tracer(const char *status, char ret_comm[64])
{
    long tracer = 0;
    char path[64];

    ret_comm[0] = '\0';
    if (!qh_proc_parse_status(status, "TracerPid", &tracer) || !tracer) {
        return 0;
    }
    snprintf(path, sizeof(path), "/proc/%ld/comm", tracer);
    if (qh_proc_read(AT_FDCWD, path, ret_comm, 64) > 0) {
        ret_comm[strcspn(ret_comm, "\n")] = '\0';
    }
    return (pid_t)tracer;
}

struct qh_error *qh_access_traced(pid_t tid, const char *status)
{
    char comm[64];
    pid_t tracer = qh_access_tracer(status, comm);

    if (!tracer) {
        return NULL;
    }
    return qh_error_try(
        qh_error_tid(qh_error_new(QH_ERR_TRACED,
                                  "%d is already traced by %d (%s)", (int)tid,
                                  (int)tracer, comm[0] ? comm : "unknown"),
                     tid),
        "detach %s (pid %d), or have it write a core (in gdb: gcore)",
        comm[0] ? comm : "it", (int)tracer);
}

/* What each value of kernel.yama.ptrace_scope means:
 * Documentation/admin-guide/LSM/Yama.rst of Linux. */
static struct qh_error *denied_by_yama(struct qh_error *error, int scope)
{
    if (scope >= 3) {
        return qh_error_try(
            error, "kernel.yama.ptrace_scope is 3: nobody may trace until the "
                   "next boot, not with sudo either; examine a core");
    }
    return qh_error_try(
        error,
        "kernel.yama.ptrace_scope is %d: %s; run it with sudo, or give qhang "
        "CAP_SYS_PTRACE",
        scope,
        scope == 2 ? "only CAP_SYS_PTRACE may trace"
                   : "only a parent or CAP_SYS_PTRACE may trace");
}

struct qh_error *qh_access_denied(pid_t pid, long owner, long self, int scope)
{
    struct qh_error *error = qh_error_tid(
        qh_error_new(QH_ERR_PERMISSION,
                     "not permitted to examine process %d (of uid %ld, qhang "
                     "runs as uid %ld)",
                     (int)pid, owner, self),
        pid);

    if (scope >= 3 || (scope > 0 && (owner == self || scope == 2))) {
        return denied_by_yama(error, scope);
    }
    if (self == 0) {
        return qh_error_try(
            error, "root lacks CAP_SYS_PTRACE here (in a container?): run it "
                   "with sudo on the host, or give qhang CAP_SYS_PTRACE");
    }
    return qh_error_try(error, "run it with sudo, or give qhang "
                               "CAP_SYS_PTRACE (setcap cap_sys_ptrace=ep)");
}

static int yama_scope(void)
{
    char text[16];

    if (qh_proc_read(AT_FDCWD, "/proc/sys/kernel/yama/ptrace_scope", text,
                     sizeof(text)) <= 0) {
        return -1;
    }
    return atoi(text);
}

struct qh_error *qh_access_refused(const struct qh_live *live)
{
    char status[STATUS_BYTES];
    long owner = -1;

    if (qh_proc_read(live->dir, "status", status, sizeof(status)) > 0) {
        qh_proc_parse_status(status, "Uid", &owner);
    }
    return qh_access_denied(live->pid, owner, (long)geteuid(), yama_scope());
}

static struct qh_error *not_there(pid_t pid, const char *what)
{
    return qh_error_tid(
        qh_error_new(QH_ERR_NO_PROCESS, "%d is %s", (int)pid, what), pid);
}

static struct qh_error *check_kind(const struct qh_live *live)
{
    char text[1024];
    struct qh_proc_stat stat;

    if (qh_proc_read(live->dir, "stat", text, sizeof(text)) <= 0 ||
        !qh_proc_parse_stat(text, &stat)) {
        return not_there(live->pid, "gone");
    }
    if (stat.kernel_thread) {
        return not_there(live->pid, "a kernel thread, no process");
    }
    if (stat.state == 'X') {
        return not_there(live->pid, "gone");
    }
    /* A zombie has no threads left; where only the main thread has ended,
     * the process lives on. */
    if (stat.state == 'Z' && live->count <= 1) {
        return qh_error_try(
            not_there(live->pid, "a zombie: it has exited already"),
            "nothing is left to examine but its exit status, for its parent");
    }
    return NULL;
}

static struct qh_error *check_traced(const struct qh_live *live)
{
    char status[STATUS_BYTES];

    for (size_t i = 0; i < live->count; i++) {
        pid_t tid = live->tracees[i].task.tid;
        if (qh_proc_read_task(live->tasks, tid, "status", status,
                              sizeof(status)) > 0) {
            QH_TRY(qh_access_traced(tid, status));
        }
    }
    return NULL;
}

/* Reading one byte asks the kernel for the very permission that a stop needs
 * (PTRACE_MODE_ATTACH_REALCREDS); address 0 gives EFAULT when it is granted. */
static struct qh_error *check_permission(const struct qh_live *live)
{
    char byte;
    struct iovec local = { &byte, 1 }, remote = { NULL, 1 };
    ssize_t got = process_vm_readv(live->pid, &local, 1, &remote, 1, 0);

    if (got < 0 && (errno == EPERM || errno == EACCES)) {
        return qh_access_refused(live);
    }
    return NULL;
}

static struct qh_error *check_architecture(const struct qh_live *live)
{
    QH_CLEANUP(qh_close_guard)
    int fd = openat(live->dir, "exe", O_RDONLY | O_CLOEXEC);
    Elf64_Ehdr header;

    /* Unreadable (a root that the file server does not trust): the maps will
     * show soon enough. */
    if (fd < 0 ||
        pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header)) {
        return NULL;
    }
    if (header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_machine != EM_X86_64) {
        return qh_error_new(QH_ERR_ARCH,
                            "process %d is no x86-64 program (ELF class %d, "
                            "machine %d)",
                            (int)live->pid, header.e_ident[EI_CLASS],
                            header.e_machine);
    }
    return NULL;
}

struct qh_error *qh_access_check(struct qh_live *live)
{
    size_t added;

    if (qh_live_list(live, true, &added) < 0) {
        live->count = 0;
    }
    QH_TRY(check_kind(live));
    if (!live->is_held && !live->never_stop) {
        QH_TRY(check_traced(live));
    }
    QH_TRY(check_permission(live));
    return check_architecture(live);
}
