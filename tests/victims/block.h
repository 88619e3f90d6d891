/* A miniature of QEMU's block layer: nodes, and qcow2's cache cleaner.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VICTIMS_BLOCK_H
#define VICTIMS_BLOCK_H

/*
 * Only what stands around the two lost wake-ups, under QEMU's names
 * (include/block/block_int-common.h, block/qcow2.h), with no storage behind
 * it.  A node is opened into an iothread by a coroutine that is a reader of
 * the graph lock; it starts a cleaner coroutine there, which sleeps
 * cache_clean_interval seconds, again and again; closing the node takes the
 * graph lock for writing, then asks the cleaner to stop and waits for it.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "co_sleep.h"
#include "runtime/aio.h"
#include "runtime/co_lock.h"

struct BdrvChild;

struct BlockDriver {
    const char *format_name;
};

/* What a node's parent does at a drain (include/block/block_int-common.h). */
struct BdrvChildClass {
    bool parent_is_bds;
    bool (*drained_poll)(struct BdrvChild *child);
};

/* A link from a parent, `opaque`, to the node `bs`. */
struct BdrvChild {
    struct BlockDriverState *bs;
    const struct BdrvChildClass *klass;
    void *opaque;
    LIST_ENTRY(BdrvChild) next_parent;
};

struct BlockDriverState {
    /* The driver's own state: struct BDRVQcow2State. */
    void *opaque;
    struct BlockDriver *drv;
    /* Where it runs: an iothread's context. */
    struct AioContext *aio_context;
    char node_name[32];
    unsigned in_flight;
    int quiesce_counter;
    int refcnt;
    LIST_HEAD(, BdrvChild) parents;
    TAILQ_ENTRY(BlockDriverState) node_list;
    TAILQ_ENTRY(BlockDriverState) bs_list;
};

/* `lock` guards all members but cache_clean_timer_wake. */
struct BDRVQcow2State {
    struct CoMutex lock;
    /* Seconds between two cleanings; 0 = the cleaner is to stop. */
    uint64_t cache_clean_interval;
    /* The cleaner, from its start to its end. */
    struct Coroutine *cache_clean_timer_co;
    /* What the cleaner sleeps on. */
    struct QemuCoSleep cache_clean_timer_wake;
    /* Those who wait for the cleaner's end. */
    struct CoQueue cache_clean_timer_exit;
    /* How often it has cleaned. */
    uint64_t cleanings;
};

/* Opens a node called `node_name` (cut to 31 bytes) in `ctx`; its cleaner
 * sleeps `interval` seconds, 0 = there is none.  Main thread. */
struct BlockDriverState *bdrv_open(const char *node_name,
                                   struct AioContext *ctx, uint64_t interval);

/* Closes and frees it.  Main thread; this is what hangs. */
void bdrv_unref(struct BlockDriverState *bs);

/* The first node with that name, NULL if there is none.  Main thread. */
struct BlockDriverState *bdrv_find_node(const char *node_name);

#endif
