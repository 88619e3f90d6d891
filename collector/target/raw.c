/* What the kernel tells of a live process besides memory and threads.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/raw.h"
#include "target/live.h"
#include "target/procfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct qh_error *cannot_read(const struct qh_target *target,
                                    const char *name, int errnum)
{
    int pid = (int)target->live->pid;

    if (errnum == ESRCH) {
        return qh_error_tid(
            qh_error_new(QH_ERR_EXITED, "process %d has exited", pid), pid);
    }
    return qh_error_errno(QH_ERR_SYSTEM, errnum, "cannot read /proc/%d/%s", pid,
                          name);
}

struct qh_error *qh_raw_file(struct qh_target *target, const char *name,
                             struct qh_arena *arena, char **ret,
                             size_t *ret_bytes)
{
    QH_CLEANUP(qh_close_guard)
    int fd = openat(target->live->dir, name, O_RDONLY | O_CLOEXEC);
    QH_CLEANUP(qh_free_guard) char *text = NULL;
    size_t capacity = 0;

    if (fd < 0) {
        return cannot_read(target, name, errno);
    }
    ssize_t bytes = qh_proc_read_bytes(fd, &text, &capacity);
    if (bytes < 0 && bytes != -ENOMEM) {
        return cannot_read(target, name, (int)-bytes);
    }
    char *copy = bytes < 0 ? NULL : qh_arena_alloc(arena, (size_t)bytes + 1);
    if (!copy) {
        return qh_error_no_memory();
    }
    memcpy(copy, text, (size_t)bytes);
    *ret = copy;
    *ret_bytes = (size_t)bytes;
    return NULL;
}

const char *qh_raw_maps(const struct qh_target *target)
{
    return target->live->text;
}

static bool is_eventfd(int folder, const char *name)
{
    static const char wanted[] = "anon_inode:[eventfd]";
    char link[sizeof(wanted) + 1];
    ssize_t got = readlinkat(folder, name, link, sizeof(link));

    return got == (ssize_t)sizeof(wanted) - 1 &&
           memcmp(link, wanted, sizeof(wanted) - 1) == 0;
}

static void folder_guard(DIR **folder)
{
    if (*folder) {
        closedir(*folder);
    }
}

struct qh_error *qh_raw_eventfds(struct qh_target *target,
                                 struct qh_arena *arena,
                                 struct qh_eventfd **ret, size_t *ret_count)
{
    struct qh_eventfd *items = NULL;
    size_t count = 0, capacity = 0;
    struct dirent *entry;
    int fd =
        openat(target->live->dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    QH_CLEANUP(folder_guard) DIR *folder = fd < 0 ? NULL : fdopendir(fd);

    if (!folder) {
        int errnum = errno;
        qh_close_guard(&fd);
        return cannot_read(target, "fd", errnum);
    }
    while ((entry = readdir(folder))) {
        if (entry->d_name[0] == '.' || !is_eventfd(fd, entry->d_name)) {
            continue;
        }
        struct qh_eventfd *item =
            qh_list_add(arena, &items, &count, &capacity, sizeof(*item));
        if (!item) {
            return qh_error_no_memory();
        }
        item->fd = atoi(entry->d_name);
    }
    *ret = items;
    *ret_count = count;
    return NULL;
}
