/* aio_poll: waiting for a context's work, and serving it.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "atomics.h"
#include "runtime/aio.h"
#include "runtime/window.h"

/* QemuLockCnt counts in the upper bits; the lower two are a futex's. */
#define LOCKCNT_ONE 4u

static void handler_free_deleted(struct AioContext *ctx)
{
    struct AioHandler *node;

    while ((node = LIST_FIRST(&ctx->deleted_aio_handlers))) {
        LIST_REMOVE(node, node_deleted);
        LIST_REMOVE(node, node);
        free(node);
    }
}

static void walk_begin(struct AioContext *ctx)
{
    cfix_fetch_add(&ctx->list_lock.count, LOCKCNT_ONE);
}

static void walk_end(struct AioContext *ctx)
{
    /* Only the home thread walks and deletes, so this is no race. */
    if (cfix_fetch_sub(&ctx->list_lock.count, LOCKCNT_ONE) == LOCKCNT_ONE) {
        handler_free_deleted(ctx);
    }
}

static struct AioHandler *find_handler(struct AioContext *ctx, int fd,
                                       unsigned *ret_others)
{
    struct AioHandler *node;
    struct AioHandler *found = NULL;

    *ret_others = 0;
    LIST_FOREACH(node, &ctx->aio_handlers, node)
    {
        if (node->pfd.fd == fd && !node->node_deleted.le_prev) {
            found = node;
        } else {
            ++*ret_others;
        }
    }
    return found;
}

void aio_set_fd_handler(struct AioContext *ctx, int fd,
                        void (*io_read)(void *opaque), void *opaque)
{
    unsigned others;
    struct AioHandler *node = find_handler(ctx, fd, &others);

    if (node) {
        walk_begin(ctx);
        node->pfd.events = 0;
        node->pfd.revents = 0;
        LIST_INSERT_HEAD(&ctx->deleted_aio_handlers, node, node_deleted);
        walk_end(ctx);
    }
    if (!io_read) {
        return;
    }
    if (others >= AIO_MAX_HANDLERS) {
        errno = 0;
        cfix_die("aio_set_fd_handler: too many descriptors");
    }
    node = cfix_zalloc(sizeof(*node));
    node->pfd.fd = fd;
    node->pfd.events = POLLIN;
    node->io_read = io_read;
    node->opaque = opaque;
    LIST_INSERT_HEAD(&ctx->aio_handlers, node, node);
}

int qemu_poll_ns(struct pollfd *fds, unsigned nfds, int64_t timeout)
{
    struct timespec ts;

    if (timeout < 0) {
        return ppoll(fds, nfds, NULL, NULL);
    }
    ts.tv_sec = timeout / 1000000000;
    ts.tv_nsec = timeout % 1000000000;
    return ppoll(fds, nfds, &ts, NULL);
}

unsigned aio_fill_pollfds(struct AioContext *ctx, struct pollfd *fds,
                          unsigned nfds)
{
    struct AioHandler *node;

    LIST_FOREACH(node, &ctx->aio_handlers, node)
    {
        if (!node->node_deleted.le_prev) {
            fds[nfds].fd = node->pfd.fd;
            fds[nfds].events = (short)node->pfd.events;
            fds[nfds].revents = 0;
            nfds++;
        }
    }
    return nfds;
}

unsigned aio_take_revents(struct AioContext *ctx, const struct pollfd *fds,
                          unsigned nfds)
{
    struct AioHandler *node;

    LIST_FOREACH(node, &ctx->aio_handlers, node)
    {
        if (!node->node_deleted.le_prev) {
            node->pfd.revents = (unsigned short)fds[nfds].revents;
            nfds++;
        }
    }
    return nfds;
}

static int fdmon_poll_wait(struct AioContext *ctx, int64_t timeout)
{
    struct pollfd fds[AIO_MAX_HANDLERS + 1];
    unsigned nfds = aio_fill_pollfds(ctx, fds, 0);
    int ret = qemu_poll_ns(fds, nfds, timeout);

    cfix_at(CFIX_POLL_RETURNED);
    if (ret > 0) {
        aio_take_revents(ctx, fds, 0);
    }
    return ret;
}

const struct FDMonOps fdmon_poll_ops = {
    .wait = fdmon_poll_wait,
};

int64_t aio_compute_timeout(struct AioContext *ctx)
{
    if (aio_bh_pending(ctx)) {
        return 0;
    }
    return timerlistgroup_deadline_ns(&ctx->tlg);
}

/* Calls the handlers whose descriptors have something. */
static bool aio_dispatch_handlers(struct AioContext *ctx)
{
    struct AioHandler *node;
    bool progress = false;

    LIST_FOREACH(node, &ctx->aio_handlers, node)
    {
        unsigned revents = node->pfd.revents;

        node->pfd.revents = 0;
        if (!revents || node->node_deleted.le_prev) {
            continue;
        }
        node->io_read(node->opaque);
        /* The notifier only says "look": that alone is no progress. */
        progress |= node->pfd.fd != ctx->notifier.rfd;
    }
    return progress;
}

bool aio_dispatch(struct AioContext *ctx)
{
    bool progress;

    walk_begin(ctx);
    progress = aio_bh_poll(ctx);
    progress |= aio_dispatch_handlers(ctx);
    walk_end(ctx);
    progress |= timerlistgroup_run_timers(&ctx->tlg);
    return progress;
}

bool aio_poll(struct AioContext *ctx, bool blocking)
{
    int64_t timeout = blocking ? aio_compute_timeout(ctx) : 0;
    bool use_notify_me = timeout != 0;
    bool progress;

    walk_begin(ctx);
    if (use_notify_me) {
        /* Pairs with aio_notify: either it sees notify_me and writes the
         * eventfd, or notified is seen here. */
        cfix_fetch_add(&ctx->notify_me, 2u);
        if (cfix_load(&ctx->notified)) {
            timeout = 0;
        }
    }
    ctx->fdmon_ops->wait(ctx, timeout);
    /* Keeps the variable alive across the wait: an observer reads from it how
     * long the loop means to sleep. */
    __asm__ volatile("" : : "rm"(timeout));
    if (use_notify_me) {
        cfix_fetch_sub(&ctx->notify_me, 2u);
    }
    aio_notify_accept(ctx);
    progress = aio_dispatch(ctx);
    walk_end(ctx);
    cfix_at(CFIX_POLL_SERVED);
    return progress;
}
