/* What a drained section waits for: requests in flight, in all its parents.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source of facts: block/io.c (bdrv_drain_poll), block.c and block-backend.c,
 * blockjob.c, nbd/server.c (the functions named drained_poll of a parent's
 * BdrvChildClass, and of its device). A node is busy while it has requests in
 * flight, or one of its parents is busy. */
#include "qemu/wait.h"

#include <string.h>

/* More nodes and operands than a wait is ever told by. */
enum { MAX_NODES = 256, MAX_OPERANDS = 1024 };

#define ANCHOR_DRAIN "bdrv_do_drained_begin"
#define ANCHOR_ROOT "blk_root_drained_poll"
#define ANCHOR_DRAINED_JOB "child_job_drained_poll"
#define ANCHOR_NBD "nbd_drained_poll"

static const struct qh_member
    node_in_flight = { "BlockDriverState", "in_flight", ANCHOR_DRAIN },
    node_requests = { "BlockDriverState", "tracked_requests.lh_first",
                      ANCHOR_DRAIN },
    request_coroutine = { "BdrvTrackedRequest", "co", ANCHOR_DRAIN },
    node_parents = { "BlockDriverState", "parents.lh_first", ANCHOR_DRAIN },
    node_next = { "BlockDriverState", "bs_list.tqe_next", ANCHOR_DRAIN },
    link_next = { "BdrvChild", "next_parent.le_next", ANCHOR_DRAIN },
    link_class = { "BdrvChild", "klass", ANCHOR_DRAIN },
    link_opaque = { "BdrvChild", "opaque", ANCHOR_DRAIN },
    class_poll = { "BdrvChildClass", "drained_poll", ANCHOR_DRAIN },
    class_node = { "BdrvChildClass", "parent_is_bds", ANCHOR_DRAIN },
    root_in_flight = { "BlockBackend", "in_flight", ANCHOR_ROOT },
    root_device = { "BlockBackend", "dev_ops", ANCHOR_ROOT },
    root_opaque = { "BlockBackend", "dev_opaque", ANCHOR_ROOT },
    device_poll = { "BlockDevOps", "drained_poll", ANCHOR_ROOT },
    job_busy = { "BlockJob", "job.busy", ANCHOR_DRAINED_JOB },
    export_clients = { "NBDExport", "clients.tqh_first", ANCHOR_NBD },
    client_next = { "NBDClient", "next.tqe_next", ANCHOR_NBD },
    client_requests = { "NBDClient", "nb_requests", ANCHOR_NBD };

/* Nodes still to be looked at, and those that have been. */
struct walk {
    struct qh_wait_maker *maker;
    struct raddr ignore; /* link that is passed over, or 0 */
    bool ignore_nodes;   /* parents that are nodes are passed over */
    struct raddr nodes[MAX_NODES];
    size_t count, done;
};

static struct qh_error *push(struct walk *walk, struct raddr node)
{
    for (size_t i = 0; i < walk->count; i++) {
        if (qh_raddr_equal(walk->nodes[i], node)) {
            return NULL;
        }
    }
    if (walk->count == MAX_NODES ||
        walk->maker->wait->operand_count > MAX_OPERANDS) {
        return qh_error_new(QH_ERR_INCONSISTENT,
                            "more nodes are drained than are looked at");
    }
    walk->nodes[walk->count++] = node;
    return NULL;
}

static struct qh_error *read_clients(struct walk *walk, struct raddr export)
{
    struct qh_loop_guard guard = { 0 };
    struct raddr at;

    QH_TRY(qh_wait_link(walk->maker, export, &export_clients, &at));
    while (at.value) {
        QH_TRY(qh_loop_check(walk->maker->reader, &guard, at));
        QH_TRY(qh_wait_operand_of(walk->maker, at, &client_requests,
                                  "nb_requests"));
        QH_TRY(qh_wait_link(walk->maker, at, &client_next, &at));
    }
    return NULL;
}

/* A function of QEMU's that only it can evaluate. */
static struct qh_error *unknown_poll(struct walk *walk, struct raddr function)
{
    const char *name = qh_function_name(walk->maker->reader, function);

    return qh_wait_operand(walk->maker, "drained_poll", function, 0,
                           qh_error_new(QH_ERR_ABSENT,
                                        "%s() asks what is not read",
                                        name ? name : "a function"));
}

static struct qh_error *read_root(struct walk *walk, struct raddr root)
{
    struct raddr device, poll, opaque;

    QH_TRY(qh_wait_operand_of(walk->maker, root, &root_in_flight, "in_flight"));
    QH_TRY(qh_wait_link(walk->maker, root, &root_device, &device));
    if (!device.value) {
        return NULL;
    }
    QH_TRY(qh_wait_link(walk->maker, device, &device_poll, &poll));
    if (!poll.value) {
        return NULL;
    }
    const char *name = qh_function_name(walk->maker->reader, poll);
    if (!name || strcmp(name, "nbd_drained_poll")) {
        return unknown_poll(walk, poll);
    }
    QH_TRY(qh_wait_link(walk->maker, root, &root_opaque, &opaque));
    return read_clients(walk, opaque);
}

static struct qh_error *read_link(struct walk *walk, struct raddr link)
{
    struct qh_wait_maker *maker = walk->maker;
    struct raddr class, opaque, poll, address;
    uint64_t is_node = 0;

    QH_TRY(qh_wait_link(maker, link, &link_class, &class));
    QH_TRY(qh_wait_member(maker, class, &class_node, &address, &is_node));
    if (qh_raddr_equal(link, walk->ignore) || (is_node && walk->ignore_nodes)) {
        return NULL;
    }
    QH_TRY(qh_wait_link(maker, class, &class_poll, &poll));
    if (!poll.value) {
        return NULL;
    }
    const char *name = qh_function_name(maker->reader, poll);
    QH_TRY(qh_wait_link(maker, link, &link_opaque, &opaque));
    if (name && !strcmp(name, "bdrv_child_cb_drained_poll")) {
        return push(walk, opaque);
    }
    if (name && !strcmp(name, "blk_root_drained_poll")) {
        return read_root(walk, opaque);
    }
    if (name && !strcmp(name, "child_job_drained_poll")) {
        return qh_wait_operand_of(maker, opaque, &job_busy, "busy");
    }
    return unknown_poll(walk, poll);
}

/* One of the requests that the drain waits for, where the node has one; good
 * to know, and no more. */
static void find_request(struct walk *walk, struct raddr node)
{
    struct qh_wait *wait = walk->maker->wait;
    struct raddr request = { 0 }, coroutine = { 0 };

    if (wait->owner_coroutine.value) {
        return;
    }
    qh_error_destroy(qh_wait_link(walk->maker, node, &node_requests, &request));
    if (request.value) {
        qh_error_destroy(
            qh_wait_link(walk->maker, request, &request_coroutine, &coroutine));
    }
    if (qh_snapshot_coroutine(walk->maker->reader->snapshot, coroutine)) {
        wait->owner_coroutine = coroutine;
    }
}

static struct qh_error *read_node(struct walk *walk, struct raddr node)
{
    struct qh_loop_guard guard = { 0 };
    struct raddr link;

    QH_TRY(qh_wait_operand_of(walk->maker, node, &node_in_flight, "in_flight"));
    find_request(walk, node);
    QH_TRY(qh_wait_link(walk->maker, node, &node_parents, &link));
    while (link.value) {
        QH_TRY(qh_loop_check(walk->maker->reader, &guard, link));
        QH_TRY(read_link(walk, link));
        QH_TRY(qh_wait_link(walk->maker, link, &link_next, &link));
    }
    return NULL;
}

/* What went wrong on the way leaves an operand that is not known, so that the
 * wait is never taken for one whose condition is met. */
static struct qh_error *read_nodes(struct walk *walk)
{
    while (walk->done < walk->count) {
        struct raddr node = walk->nodes[walk->done++];
        struct qh_error *error = read_node(walk, node);
        if (error) {
            return qh_wait_operand(walk->maker, "drained_poll", node, 0, error);
        }
    }
    return NULL;
}

struct qh_error *qh_tell_drain(struct qh_wait_maker *maker,
                               const char *function)
{
    struct qh_wait *wait = maker->wait;
    struct walk walk = { .maker = maker };

    wait->kind = QH_WAIT_DRAIN;
    struct qh_error *error = qh_walk_value(maker->reader, maker->walk, function,
                                           "bs", &wait->object.value);
    if (error) {
        return qh_wait_operand(maker, "in_flight", qh_raddr(0), 0, error);
    }
    /* Of which link it came, or 0: where that cannot be told a link too many
     * is looked at, and the wait at worst not judged. */
    qh_walk_knows(maker->reader, maker->walk, function, "parent",
                  &walk.ignore.value);
    if (qh_has_field(maker->reader, QH_F_BDS_NODE_NAME)) {
        wait->object_name = qh_read_string(
            maker->reader,
            qh_field_at(maker->reader, wait->object, QH_F_BDS_NODE_NAME));
    }
    QH_TRY(push(&walk, wait->object));
    return read_nodes(&walk);
}

static struct qh_error *push_all(struct walk *walk)
{
    struct qh_reader *reader = walk->maker->reader;
    struct qh_loop_guard guard = { 0 };
    struct raddr at;

    QH_TRY(qh_wait_read(walk->maker, qh_symbol(reader, QH_S_ALL_NODES), 8,
                        &at.value));
    while (at.value) {
        QH_TRY(qh_loop_check(reader, &guard, at));
        QH_TRY(push(walk, at));
        QH_TRY(qh_wait_link(walk->maker, at, &node_next, &at));
    }
    return NULL;
}

struct qh_error *qh_tell_drain_all(struct qh_wait_maker *maker)
{
    struct walk walk = { .maker = maker, .ignore_nodes = true };

    maker->wait->kind = QH_WAIT_DRAIN;
    maker->wait->object = qh_symbol(maker->reader, QH_S_ALL_NODES);
    struct qh_error *error = push_all(&walk);
    if (error) {
        return qh_wait_operand(maker, "in_flight", maker->wait->object, 0,
                               error);
    }
    return read_nodes(&walk);
}
