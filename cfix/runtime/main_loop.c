/* The main thread's loop over its two AioContexts.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "runtime/main_loop.h"

#include <stddef.h>

static struct AioContext *qemu_aio_context;
static struct AioContext *iohandler_ctx;

struct AioContext *qemu_get_aio_context(void)
{
    return qemu_aio_context;
}

struct AioContext *iohandler_get_aio_context(void)
{
    return iohandler_ctx;
}

void qemu_notify_event(void)
{
    aio_notify(qemu_aio_context);
}

static void qemu_timer_notify_cb(void *opaque, enum QEMUClockType type)
{
    qemu_notify_event();
}

void qemu_init_main_loop(void)
{
    init_clocks(qemu_timer_notify_cb);
    iohandler_ctx = aio_context_new("io-handler", false);
    qemu_aio_context = aio_context_new("aio-context", true);
    qemu_set_current_aio_context(qemu_aio_context);
}

void qemu_cleanup_main_loop(void)
{
    qemu_set_current_aio_context(NULL);
    aio_context_free(qemu_aio_context);
    aio_context_free(iohandler_ctx);
    qemu_aio_context = NULL;
    iohandler_ctx = NULL;
    cleanup_clocks();
}

static void context_dispatch(struct AioContext *ctx)
{
    const struct _GSourceFuncs *funcs = ctx->source.source_funcs;

    if (funcs->check(&ctx->source)) {
        funcs->dispatch(&ctx->source);
    }
}

static void os_host_main_loop_wait(int64_t timeout)
{
    struct pollfd fds[2 * (AIO_MAX_HANDLERS + 1)];
    struct _GSource *aio = &qemu_aio_context->source;
    struct _GSource *io = &iohandler_ctx->source;
    unsigned nfds;
    int ret;

    aio->source_funcs->prepare(aio, &timeout);
    io->source_funcs->prepare(io, &timeout);
    nfds = aio_fill_pollfds(qemu_aio_context, fds, 0);
    nfds = aio_fill_pollfds(iohandler_ctx, fds, nfds);
    ret = qemu_poll_ns(fds, nfds, timeout);
    if (ret > 0) {
        nfds = aio_take_revents(qemu_aio_context, fds, 0);
        aio_take_revents(iohandler_ctx, fds, nfds);
    }
    context_dispatch(qemu_aio_context);
    context_dispatch(iohandler_ctx);
}

void main_loop_wait(bool nonblocking)
{
    int64_t timeout = nonblocking ? 0 : -1;

    timeout = qemu_soonest_timeout(timeout,
                                   timerlistgroup_deadline_ns(&main_loop_tlg));
    os_host_main_loop_wait(timeout);
    timerlistgroup_run_timers(&main_loop_tlg);
}
