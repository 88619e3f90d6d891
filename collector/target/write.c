/* Changing a live target: a few words of its memory, and its eventfds.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/write.h"

#include "target/live.h"
#include "target/procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct qh_error *qh_target_check_still(const struct qh_target *target)
{
    if (target->process.kind != QH_TARGET_LIVE || !target->stopped ||
        target->process.unstopped) {
        return qh_error_new(QH_ERR_NOT_HELD,
                            "the process is not stopped by qhang");
    }
    for (size_t i = 0; i < target->task_count; i++) {
        const struct qh_task *task = &target->tasks[i];
        if (task->stop != QH_TASK_STOPPED && task->stop != QH_TASK_GONE) {
            return qh_error_tid(
                qh_error_new(QH_ERR_NOT_HELD,
                             "thread %d did not stop: it is in %s",
                             (int)task->tid,
                             task->wchan[0] ? task->wchan : "the kernel"),
                task->tid);
        }
    }
    return NULL;
}

/* What the word holds at this instant, past the page cache. */
static struct qh_error *read_word(struct qh_target *target,
                                  struct raddr address, uint64_t *ret)
{
    uint64_t value = 0;
    size_t got = 0;

    QH_TRY(qh_live_read_some(target, address.value, &value, sizeof(value),
                             &got));
    if (got != sizeof(value)) {
        return qh_unreadable(address.value);
    }
    *ret = value;
    return NULL;
}

static struct qh_error *check_word(struct qh_target *target,
                                   struct raddr address, uint64_t expected)
{
    uint64_t value = 0;

    if (address.value % sizeof(value)) {
        return qh_error_at(qh_error_new(QH_ERR_INCONSISTENT,
                                        "the word is not aligned"),
                           address);
    }
    QH_TRY(read_word(target, address, &value));
    if (value != expected) {
        return qh_error_at(qh_error_new(QH_ERR_INCONSISTENT,
                                        "the word holds 0x%" PRIx64
                                        ", not 0x%" PRIx64,
                                        value, expected),
                           address);
    }
    return NULL;
}

/* Gives the number of words that were written, from the first on. */
static size_t write_words(struct qh_target *target, const struct raddr *at,
                          uint64_t *values, size_t count)
{
    struct iovec local = { values, count * sizeof(*values) };
    struct iovec remote[QH_WORDS_MAX];

    for (size_t i = 0; i < count; i++) {
        remote[i] =
            (struct iovec){ (void *)(uintptr_t)at[i].value, sizeof(*values) };
    }
    ssize_t put =
        process_vm_writev(target->live->pid, &local, 1, remote, count, 0);
    return put > 0 ? (size_t)put / sizeof(*values) : 0;
}

/* Takes back what was written, the last of it first. */
static void undo(struct qh_target *target, const struct qh_word *words,
                 size_t count)
{
    while (count--) {
        uint64_t before = words[count].before;
        write_words(target, &words[count].address, &before, 1);
    }
}

static struct qh_error *write_checked(struct qh_target *target,
                                      const struct qh_word *words, size_t count)
{
    struct raddr at[QH_WORDS_MAX];
    uint64_t values[QH_WORDS_MAX];

    for (size_t i = 0; i < count; i++) {
        at[i] = words[i].address;
        values[i] = words[i].after;
    }
    errno = 0;
    size_t done = write_words(target, at, values, count);
    if (done < count) {
        int failed = errno;
        undo(target, words, done);
        return qh_error_at(
            qh_error_errno(QH_ERR_SYSTEM, failed ? failed : EFAULT,
                           "cannot write to the process's memory"),
            words[done].address);
    }
    for (size_t i = 0; i < count; i++) {
        struct qh_error *error =
            check_word(target, words[i].address, words[i].after);
        if (error) {
            undo(target, words, count);
            return error;
        }
    }
    return NULL;
}

struct qh_error *qh_target_check_words(struct qh_target *target,
                                       const struct qh_word *words,
                                       size_t count)
{
    if (count > QH_WORDS_MAX) {
        return qh_error_new(QH_ERR_USAGE, "%zu words are too many", count);
    }
    QH_TRY(qh_target_check_still(target));
    for (size_t i = 0; i < count; i++) {
        QH_TRY(check_word(target, words[i].address, words[i].before));
    }
    return NULL;
}

struct qh_error *qh_target_write(struct qh_target *target,
                                 const struct qh_word *words, size_t count)
{
    QH_TRY(qh_target_check_words(target, words, count));
    if (!count) {
        return NULL;
    }
    struct qh_error *error = write_checked(target, words, count);
    qh_cache_clear(&target->cache);
    return error;
}

static struct qh_error *refused(int errnum, int fd)
{
    switch (errnum) {
    case EBADF:
        return qh_error_new(QH_ERR_ABSENT,
                            "the process has no descriptor %d", fd);
    case EPERM:
    case EACCES:
        return qh_error_try(
            qh_error_errno(QH_ERR_PERMISSION, errnum,
                           "the kernel does not hand out descriptor %d", fd),
            "run it on the host: the filter of a container may refuse "
            "pidfd_getfd(2)");
    case ENOSYS:
        return qh_error_try(qh_error_errno(QH_ERR_SYSTEM, errnum,
                                           "cannot take descriptor %d", fd),
                            "a kernel of 5.6 or later");
    default:
        return qh_error_errno(QH_ERR_SYSTEM, errnum,
                              "cannot take descriptor %d", fd);
    }
}

static struct qh_error *take_fd(const struct qh_target *target, int fd,
                                int *ret_fd)
{
    struct qh_live *live = target->live;
    int taken = qh_live_open_pidfd(live)
                    ? (int)syscall(SYS_pidfd_getfd, live->pidfd, fd, 0)
                    : -1;

    if (taken < 0) {
        return refused(errno, fd);
    }
    *ret_fd = taken;
    return NULL;
}

/* The text of /proc/…/fdinfo/FD below the folder `dir`; "" when there is none.
 */
static void read_fdinfo(int dir, int fd, char *text, size_t size)
{
    char path[64];

    snprintf(path, sizeof(path), "fdinfo/%d", fd);
    if (qh_proc_read(dir, path, text, size) < 0) {
        text[0] = '\0';
    }
}

static int open_self(void)
{
    return open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Both are eventfds, and by the kernel's own number the same one. */
static bool is_same_eventfd(const struct qh_target *target, int fd, int own)
{
    QH_CLEANUP(qh_close_guard) int self = open_self();
    char theirs[4096], ours[4096];
    long id = -1, own_id = -2;
    uint64_t count;

    read_fdinfo(target->live->dir, fd, theirs, sizeof(theirs));
    read_fdinfo(self, own, ours, sizeof(ours));
    return qh_proc_parse_eventfd(theirs, &count) &&
           qh_proc_parse_eventfd(ours, &count) &&
           qh_proc_parse_status(theirs, "eventfd-id", &id) &&
           qh_proc_parse_status(ours, "eventfd-id", &own_id) && id == own_id;
}

struct qh_error *qh_target_take_eventfd(struct qh_target *target, int fd,
                                        int *ret_fd)
{
    QH_CLEANUP(qh_close_guard) int taken = -1;

    if (!target->live) {
        return qh_error_new(QH_ERR_ABSENT, "a core has no descriptors");
    }
    QH_TRY(take_fd(target, fd, &taken));
    if (!is_same_eventfd(target, fd, taken)) {
        return qh_error_new(QH_ERR_ABSENT, "descriptor %d is no eventfd", fd);
    }
    *ret_fd = taken;
    taken = -1;
    return NULL;
}

struct qh_error *qh_eventfd_add(int fd)
{
    QH_CLEANUP(qh_close_guard) int self = open_self();
    const uint64_t one = 1;
    char text[4096];
    uint64_t count;

    read_fdinfo(self, fd, text, sizeof(text));
    if (!qh_proc_parse_eventfd(text, &count) || count >= QH_EVENTFD_MUCH) {
        return qh_error_new(QH_ERR_INCONSISTENT,
                            "the eventfd's count cannot be told, or is too "
                            "high");
    }
    if (write(fd, &one, sizeof(one)) != sizeof(one)) {
        return qh_error_errno(QH_ERR_SYSTEM, errno,
                              "cannot write to the eventfd");
    }
    return NULL;
}
