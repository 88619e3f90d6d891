/* A miniature of QEMU's block layer: nodes, opened and closed.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "block.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph_lock.h"
#include "qcow2.h"
#include "runtime/aio_wait.h"

/* QEMU keeps two lists, of the named ones and of all. */
static TAILQ_HEAD(, BlockDriverState)
    graph_bdrv_states = TAILQ_HEAD_INITIALIZER(graph_bdrv_states);
static TAILQ_HEAD(, BlockDriverState)
    all_bdrv_states = TAILQ_HEAD_INITIALIZER(all_bdrv_states);

static struct BlockDriver bdrv_qcow2 = { .format_name = "qcow2" };

struct BlockDriverState *bdrv_find_node(const char *node_name)
{
    struct BlockDriverState *bs;

    TAILQ_FOREACH(bs, &graph_bdrv_states, node_list)
    {
        if (!strcmp(bs->node_name, node_name)) {
            return bs;
        }
    }
    return NULL;
}

struct BlockDriverState *bdrv_open(const char *node_name,
                                   struct AioContext *ctx, uint64_t interval)
{
    struct BlockDriverState *bs = cfix_zalloc(sizeof(*bs));

    bs->drv = &bdrv_qcow2;
    bs->aio_context = ctx;
    bs->refcnt = 1;
    snprintf(bs->node_name, sizeof(bs->node_name), "%s", node_name);
    TAILQ_INSERT_TAIL(&all_bdrv_states, bs, bs_list);
    TAILQ_INSERT_TAIL(&graph_bdrv_states, bs, node_list);
    qcow2_open(bs, interval);
    return bs;
}

/* Takes the node out of the graph, for which nobody may be reading it. */
static __attribute__((noinline)) void blk_remove_bs(struct BlockDriverState *bs)
{
    bdrv_graph_wrlock();
    TAILQ_REMOVE(&graph_bdrv_states, bs, node_list);
    bdrv_graph_wrunlock();
}

static __attribute__((noinline)) void bdrv_close(struct BlockDriverState *bs)
{
    qcow2_close(bs);
    TAILQ_REMOVE(&all_bdrv_states, bs, bs_list);
}

void bdrv_unref(struct BlockDriverState *bs)
{
    if (--bs->refcnt > 0) {
        return;
    }
    blk_remove_bs(bs);
    bdrv_close(bs);
    free(bs);
}
