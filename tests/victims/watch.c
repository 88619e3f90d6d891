/* Knowing, from within the process, that its threads have come to rest.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "watch.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "atomics.h"
#include "runtime/aio.h"

void watch_fail(const char *format, ...)
{
    va_list args;

    fputs("victim: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    fflush(stderr);
    _exit(1);
}

void watch_until(const char *what, bool (*holds)(void *opaque), void *opaque)
{
    const struct timespec pause = { .tv_nsec = 1000000 };

    for (int ms = 0; ms < WATCH_LIMIT_SECONDS * 1000; ms++) {
        if (holds(opaque)) {
            return;
        }
        nanosleep(&pause, NULL);
    }
    watch_fail("%s: not within %d s", what, WATCH_LIMIT_SECONDS);
}

/* Reads a small file of a thread of ours; false if there is none. */
static bool read_task(int tid, const char *name, char *buffer, int size)
{
    char path[64];
    FILE *file;
    size_t length;

    snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, name);
    file = fopen(path, "re");
    if (!file) {
        return false;
    }
    length = fread(buffer, 1, (size_t)size - 1, file);
    buffer[length] = '\0';
    fclose(file);
    return length > 0;
}

char watch_state(int tid)
{
    char stat[512];
    char *paren;

    if (!read_task(tid, "stat", stat, sizeof(stat))) {
        return 0;
    }
    /* The comm before it may hold anything, also parentheses. */
    paren = strrchr(stat, ')');
    return paren && paren[1] ? paren[2] : 0;
}

static bool in_call(int tid, int number)
{
    char call[256];

    return read_task(tid, "syscall", call, sizeof(call)) &&
           atoi(call) == number && watch_state(tid) == 'S';
}

bool watch_in_ppoll(int tid)
{
    return in_call(tid, SYS_ppoll);
}

bool watch_in_epoll(int tid)
{
    return in_call(tid, SYS_epoll_wait);
}

bool watch_in_futex(int tid)
{
    return in_call(tid, SYS_futex);
}

bool watch_nothing_queued(struct AioContext *ctx)
{
    struct pollfd eventfd = { .fd = ctx->notifier.rfd, .events = POLLIN };

    return !cfix_load_acquire(&ctx->bh_list.slh_first) &&
           !cfix_load_acquire(&ctx->scheduled_coroutines.slh_first) &&
           poll(&eventfd, 1, 0) == 0;
}
