/* EventNotifier on an eventfd.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "runtime/event_notifier.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/thread.h"

void event_notifier_init(struct EventNotifier *e)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    if (fd < 0) {
        cfix_die("eventfd");
    }
    e->rfd = fd;
    e->wfd = fd;
    e->initialized = true;
}

void event_notifier_cleanup(struct EventNotifier *e)
{
    e->initialized = false;
    close(e->rfd);
    e->rfd = -1;
    e->wfd = -1;
}

void event_notifier_set(struct EventNotifier *e)
{
    const uint64_t one = 1;
    ssize_t n;

    do {
        n = write(e->wfd, &one, sizeof(one));
    } while (n < 0 && errno == EINTR);
    /* EAGAIN: the counter is at its end, so the reader is woken anyway. */
    if (n < 0 && errno != EAGAIN) {
        cfix_die("write to an eventfd");
    }
}

bool event_notifier_test_and_clear(struct EventNotifier *e)
{
    uint64_t count;
    ssize_t n;

    do {
        n = read(e->rfd, &count, sizeof(count));
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof(count);
}
