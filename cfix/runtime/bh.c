/* Bottom halves: function calls queued for a context's home thread.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>

#include "atomics.h"
#include "runtime/aio.h"

static void push_bh(struct AioContext *ctx, struct QEMUBH *bh)
{
    struct QEMUBH *head;

    do {
        head = cfix_load_relaxed(&ctx->bh_list.slh_first);
        bh->next.sle_next = head;
        /* Pairs with the exchange in aio_bh_poll. */
    } while (cfix_cmpxchg(&ctx->bh_list.slh_first, head, bh) != head);
}

/* Sets flags; whoever sets BH_PENDING also puts it on the list. */
static void aio_bh_enqueue(struct QEMUBH *bh, unsigned new_flags)
{
    /* Read before the flags are set: from then on the home thread may free a
     * oneshot or deleted one. */
    struct AioContext *ctx = bh->ctx;
    /* Pairs with the fetch_and in aio_bh_dequeue: the callback sees what its
     * scheduler did before. */
    unsigned old = cfix_fetch_or(&bh->flags, BH_PENDING | new_flags);

    if (!(old & BH_PENDING)) {
        push_bh(ctx, bh);
    }
    aio_notify(ctx);
}

struct QEMUBH *aio_bh_new(struct AioContext *ctx, const char *name,
                          void (*cb)(void *opaque), void *opaque)
{
    struct QEMUBH *bh = cfix_zalloc(sizeof(*bh));

    bh->ctx = ctx;
    bh->name = name;
    bh->cb = cb;
    bh->opaque = opaque;
    return bh;
}

void qemu_bh_schedule(struct QEMUBH *bh)
{
    aio_bh_enqueue(bh, BH_SCHEDULED);
}

void qemu_bh_delete(struct QEMUBH *bh)
{
    aio_bh_enqueue(bh, BH_DELETED);
}

void aio_bh_schedule_oneshot(struct AioContext *ctx, const char *name,
                             void (*cb)(void *opaque), void *opaque)
{
    aio_bh_enqueue(aio_bh_new(ctx, name, cb, opaque),
                   BH_SCHEDULED | BH_ONESHOT);
}

/* Takes one BH off and clears its flags; NULL if there is none. */
static struct QEMUBH *aio_bh_dequeue(struct BHList *list, unsigned *ret_flags)
{
    struct QEMUBH *bh = SLIST_FIRST(list);

    if (bh) {
        SLIST_REMOVE_HEAD(list, next);
        /* After the link was read: from here on it may be queued anew. */
        *ret_flags = cfix_fetch_and(
            &bh->flags, ~(unsigned)(BH_PENDING | BH_SCHEDULED | BH_IDLE));
    }
    return bh;
}

static bool is_called(unsigned flags)
{
    return (flags & (BH_SCHEDULED | BH_DELETED)) == BH_SCHEDULED;
}

static bool aio_bh_call(struct QEMUBH *bh, unsigned flags)
{
    if (is_called(flags)) {
        bh->cb(bh->opaque);
    }
    if (flags & (BH_DELETED | BH_ONESHOT)) {
        free(bh);
    }
    return is_called(flags);
}

bool aio_bh_poll(struct AioContext *ctx)
{
    struct BHListSlice slice;
    struct BHListSlice *first;
    bool progress = false;

    /*
     * A callback may call aio_poll and so come here again.  The inner call
     * also serves what the outer one has taken and not yet run, hence a list
     * of slices; it leaves only when all are empty, so no slice is left in the
     * list when its frame goes.
     */
    slice.bh_list.slh_first = cfix_exchange(&ctx->bh_list.slh_first, NULL);
    SIMPLEQ_INSERT_TAIL(&ctx->bh_slice_list, &slice, next);
    while ((first = SIMPLEQ_FIRST(&ctx->bh_slice_list))) {
        unsigned flags = 0;
        struct QEMUBH *bh = aio_bh_dequeue(&first->bh_list, &flags);

        if (bh) {
            progress |= aio_bh_call(bh, flags);
        } else {
            SIMPLEQ_REMOVE_HEAD(&ctx->bh_slice_list, next);
        }
    }
    return progress;
}

static bool list_pending(struct QEMUBH *bh)
{
    for (; bh; bh = SLIST_NEXT(bh, next)) {
        if (is_called(cfix_load_acquire(&bh->flags))) {
            return true;
        }
    }
    return false;
}

bool aio_bh_pending(struct AioContext *ctx)
{
    struct BHListSlice *slice;

    /* Pairs with the compare-and-swap in push_bh: `next` of what is found is
     * set; only this thread takes anything off. */
    if (list_pending(cfix_load_acquire(&ctx->bh_list.slh_first))) {
        return true;
    }
    SIMPLEQ_FOREACH(slice, &ctx->bh_slice_list, next)
    {
        if (list_pending(SLIST_FIRST(&slice->bh_list))) {
            return true;
        }
    }
    return false;
}

void aio_bh_cleanup(struct AioContext *ctx)
{
    struct BHList list = { cfix_exchange(&ctx->bh_list.slh_first, NULL) };
    struct QEMUBH *bh;
    unsigned flags;

    while ((bh = aio_bh_dequeue(&list, &flags))) {
        aio_bh_call(bh, flags & ~(unsigned)BH_SCHEDULED);
    }
}
