/* Reading /proc.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/procfs.h"

#include <elf.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FLAG_KERNEL_THREAD 0x00200000u /* PF_KTHREAD, linux/sched.h */

ssize_t qh_proc_read(int dir, const char *name, char *buffer, size_t size)
{
    QH_CLEANUP(qh_close_guard)
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    size_t have = 0;

    if (fd < 0) {
        return -errno;
    }
    while (have < size - 1) {
        ssize_t got = read(fd, buffer + have, size - 1 - have);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -errno;
        }
        if (!got) {
            break;
        }
        have += (size_t)got;
    }
    buffer[have] = '\0';
    return (ssize_t)have;
}

ssize_t qh_proc_read_task(int tasks, pid_t tid, const char *name, char *buffer,
                          size_t size)
{
    char path[64];

    snprintf(path, sizeof(path), "%d/%s", (int)tid, name);
    return qh_proc_read(tasks, path, buffer, size);
}

ssize_t qh_proc_read_bytes(int fd, char **text, size_t *capacity)
{
    size_t have = 0;

    for (;;) {
        struct qh_error *error =
            qh_array_reserve(text, capacity, have + 16384, 1);
        if (error) {
            qh_error_destroy(error);
            return -ENOMEM;
        }
        ssize_t got = read(fd, *text + have, *capacity - have - 1);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -errno;
        }
        if (!got) {
            (*text)[have] = '\0';
            return (ssize_t)have;
        }
        have += (size_t)got;
    }
}

int qh_proc_read_all(int fd, char **text, size_t *capacity)
{
    ssize_t got = qh_proc_read_bytes(fd, text, capacity);

    return got < 0 ? (int)got : 0;
}

/* comm is in parentheses and may hold parentheses itself: the last one ends
 * it. Fields behind it: 3 state, 9 flags, 39 processor. */
bool qh_proc_parse_stat(const char *text, struct qh_proc_stat *ret)
{
    const char *at = strrchr(text, ')');
    unsigned flags = 0;
    int cpu = -1, exit_code = 0;

    if (!at || at[1] != ' ' || !at[2]) {
        return false;
    }
    char state = at[2];
    at += 1;
    for (unsigned field = 3; (at = strchr(at, ' ')); field++) {
        at++;
        if (field == 9) {
            flags = (unsigned)strtoul(at, NULL, 10);
        } else if (field == 39) {
            cpu = atoi(at);
        } else if (field == 52) {
            exit_code = atoi(at);
            break;
        }
    }
    ret->state = state;
    ret->kernel_thread = flags & FLAG_KERNEL_THREAD;
    ret->cpu = cpu;
    ret->exit_code = exit_code;
    return true;
}

/* The text behind `key` and a colon at the start of a line. */
static const char *value_of(const char *text, const char *key)
{
    size_t length = strlen(key);

    while (text) {
        if (strncmp(text, key, length) == 0) {
            const char *at = text + length + strspn(text + length, " \t");
            if (*at == ':') {
                return at + 1;
            }
        }
        text = strchr(text, '\n');
        text += text != NULL;
    }
    return NULL;
}

bool qh_proc_parse_status(const char *text, const char *key, long *ret)
{
    const char *value = value_of(text, key);

    if (value) {
        *ret = strtol(value, NULL, 10);
    }
    return value != NULL;
}

bool qh_proc_parse_last(const char *text, const char *key, long *ret)
{
    const char *value = value_of(text, key);
    bool found = false;

    for (; value; found = true) {
        char *end;
        value += strspn(value, " \t");
        if (!isdigit((unsigned char)*value)) { /* the end of the line, too */
            break;
        }
        *ret = strtol(value, &end, 10);
        value = end;
    }
    return found;
}

bool qh_proc_parse_exec_start(const char *text, int64_t *ret_ns)
{
    const char *value = value_of(text, "se.exec_start");
    int64_t ms = 0;
    int fraction = 0;

    if (!value || sscanf(value, " %" SCNd64 ".%6d", &ms, &fraction) != 2 ||
        ms < 0 || ms > INT64_MAX / 2000000) {
        return false;
    }
    *ret_ns = ms * 1000000 + fraction;
    return true;
}

bool qh_proc_parse_eventfd(const char *text, uint64_t *ret)
{
    const char *value = value_of(text, "eventfd-count");

    if (value) {
        *ret = strtoull(value, NULL, 16);
    }
    return value != NULL;
}

bool qh_proc_parse_timens(const char *text, const char *clock, int64_t *ret_ns)
{
    const char *line = strstr(text, clock);
    long long seconds = 0, ns = 0;

    if (!line ||
        sscanf(line + strlen(clock), " %lld %lld", &seconds, &ns) != 2) {
        return false;
    }
    *ret_ns = seconds * INT64_C(1000000000) + ns;
    return true;
}

uint64_t qh_auxv_value(const void *auxv, size_t bytes, uint64_t type)
{
    Elf64_auxv_t entry;

    for (size_t at = 0; bytes - at >= sizeof(entry); at += sizeof(entry)) {
        memcpy(&entry, (const char *)auxv + at, sizeof(entry));
        if (entry.a_type == type) {
            return entry.a_un.a_val;
        }
        if (entry.a_type == AT_NULL) {
            break;
        }
    }
    return 0;
}

void qh_proc_read_comm(int tasks, pid_t tid, char ret[64])
{
    ssize_t got = qh_proc_read_task(tasks, tid, "comm", ret, 64);

    if (got <= 0) {
        ret[0] = '\0';
    } else if (ret[got - 1] == '\n') {
        ret[got - 1] = '\0';
    }
}
