/* AioContext: life, notification, scheduling of coroutines.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "runtime/aio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomics.h"
#include "graph_lock.h"
#include "runtime/window.h"

static __thread struct AioContext *co_tls_my_aiocontext;

__attribute__((noinline)) struct AioContext *qemu_get_current_aio_context(void)
{
    __asm__ volatile("");
    return co_tls_my_aiocontext;
}

__attribute__((noinline)) void
qemu_set_current_aio_context(struct AioContext *ctx)
{
    __asm__ volatile("");
    co_tls_my_aiocontext = ctx;
}

bool in_aio_context_home_thread(struct AioContext *ctx)
{
    return ctx == qemu_get_current_aio_context();
}

void aio_notify(struct AioContext *ctx)
{
    /* Pairs with the exchange in aio_notify_accept (the list is seen by who
     * sees the flag) and, together with the next load, with notify_me's add
     * and notified's load in aio_poll and aio_ctx_prepare. */
    cfix_store(&ctx->notified, true);
    if (cfix_load(&ctx->notify_me)) {
        cfix_at(CFIX_NOTIFY_QUEUED);
        event_notifier_set(&ctx->notifier);
    }
}

void aio_notify_accept(struct AioContext *ctx)
{
    /* An exchange and not a store: the lists are read after this, and must
     * show what was queued before the flag that is cleared here. */
    (void)cfix_exchange(&ctx->notified, false);
}

void aio_timerlist_notify(void *opaque, enum QEMUClockType type)
{
    aio_notify(opaque);
}

static bool aio_ctx_prepare(struct _GSource *source, int64_t *timeout)
{
    struct AioContext *ctx = (struct AioContext *)source;

    /* Pairs with aio_notify: from here on the eventfd is written. */
    cfix_fetch_or(&ctx->notify_me, 1u);
    *timeout = qemu_soonest_timeout(*timeout, aio_compute_timeout(ctx));
    if (cfix_load(&ctx->notified)) {
        *timeout = 0;
    }
    return *timeout == 0;
}

static bool aio_ctx_check(struct _GSource *source)
{
    struct AioContext *ctx = (struct AioContext *)source;
    struct AioHandler *node;

    cfix_fetch_and(&ctx->notify_me, ~1u);
    aio_notify_accept(ctx);
    LIST_FOREACH(node, &ctx->aio_handlers, node)
    {
        if (node->pfd.revents) {
            return true;
        }
    }
    return aio_compute_timeout(ctx) == 0;
}

static bool aio_ctx_dispatch(struct _GSource *source)
{
    return aio_dispatch((struct AioContext *)source);
}

static void aio_ctx_finalize(struct _GSource *source)
{
    struct AioContext *ctx = (struct AioContext *)source;

    qemu_bh_delete(ctx->co_schedule_bh);
    aio_bh_cleanup(ctx);
    aio_set_fd_handler(ctx, ctx->notifier.rfd, NULL, NULL);
    event_notifier_cleanup(&ctx->notifier);
    timerlistgroup_deinit(&ctx->tlg);
    unregister_aiocontext(ctx);
    free(ctx->source.name);
    free(ctx);
}

static const struct _GSourceFuncs aio_source_funcs = {
    .prepare = aio_ctx_prepare,
    .check = aio_ctx_check,
    .dispatch = aio_ctx_dispatch,
    .finalize = aio_ctx_finalize,
};

static void aio_context_notifier_cb(void *opaque)
{
    struct AioContext *ctx = opaque;

    event_notifier_test_and_clear(&ctx->notifier);
}

struct AioContext *aio_context_new(const char *name, bool listed)
{
    struct AioContext *ctx = cfix_zalloc(sizeof(*ctx));

    ctx->source.source_funcs = &aio_source_funcs;
    ctx->source.name = strdup(name);
    if (!ctx->source.name) {
        cfix_die("strdup");
    }
    ctx->fdmon_ops = &fdmon_poll_ops;
    SIMPLEQ_INIT(&ctx->bh_slice_list);
    event_notifier_init(&ctx->notifier);
    aio_set_fd_handler(ctx, ctx->notifier.rfd, aio_context_notifier_cb, ctx);
    ctx->co_schedule_bh =
        aio_bh_new(ctx, "co_schedule_bh_cb", co_schedule_bh_cb, ctx);
    timerlistgroup_init(&ctx->tlg, aio_timerlist_notify, ctx, listed);
    register_aiocontext(ctx);
    return ctx;
}

void aio_context_free(struct AioContext *ctx)
{
    ctx->source.source_funcs->finalize(&ctx->source);
}

static void push_scheduled(struct AioContext *ctx, struct Coroutine *co)
{
    struct Coroutine *head;

    do {
        head = cfix_load_relaxed(&ctx->scheduled_coroutines.slh_first);
        co->co_scheduled_next.sle_next = head;
        /* Pairs with the exchange in co_schedule_bh_cb. */
    } while (cfix_cmpxchg(&ctx->scheduled_coroutines.slh_first, head, co) !=
             head);
}

void aio_co_schedule(struct AioContext *ctx, struct Coroutine *co)
{
    const char *scheduled = cfix_cmpxchg(&co->scheduled, NULL, __func__);

    if (scheduled) {
        fprintf(stderr, "cfix: %s: coroutine is already in %s\n", __func__,
                scheduled);
        abort();
    }
    push_scheduled(ctx, co);
    qemu_bh_schedule(ctx->co_schedule_bh);
}

void co_schedule_bh_cb(void *opaque)
{
    struct AioContext *ctx = opaque;
    SLIST_HEAD(, Coroutine) oldest_first = SLIST_HEAD_INITIALIZER(oldest_first);
    struct Coroutine *co;
    struct Coroutine *next;

    /* Pairs with the compare-and-swap in push_scheduled. */
    co = cfix_exchange(&ctx->scheduled_coroutines.slh_first, NULL);
    for (; co; co = next) {
        next = SLIST_NEXT(co, co_scheduled_next);
        SLIST_INSERT_HEAD(&oldest_first, co, co_scheduled_next);
    }
    while ((co = SLIST_FIRST(&oldest_first))) {
        SLIST_REMOVE_HEAD(&oldest_first, co_scheduled_next);
        /* Relaxed is enough: the next claim on it is made by the coroutine
         * itself, or by who was told of it after it ran. */
        cfix_store_relaxed(&co->scheduled, NULL);
        qemu_aio_coroutine_enter(ctx, co);
    }
}

void aio_co_wake(struct Coroutine *co)
{
    /* Pairs with the release in qemu_aio_coroutine_enter. */
    struct AioContext *ctx = cfix_load_acquire(&co->ctx);

    aio_co_enter(ctx, co);
}

void aio_co_enter(struct AioContext *ctx, struct Coroutine *co)
{
    if (!in_aio_context_home_thread(ctx)) {
        aio_co_schedule(ctx, co);
        return;
    }
    if (qemu_in_coroutine()) {
        struct Coroutine *self = qemu_coroutine_self();

        SIMPLEQ_INSERT_TAIL(&self->co_queue_wakeup, co, co_queue_next);
        return;
    }
    qemu_aio_coroutine_enter(ctx, co);
}
