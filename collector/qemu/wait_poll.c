/* Threads in aio_poll(): which wait it is, and what its condition is made of.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * AIO_WAIT_WHILE() and BDRV_POLL_WHILE() (include/block/aio-wait.h) are macros:
 * the function around them stands right outside of aio_poll(), and has the
 * operands of the condition among its variables. Each row names the function's
 * own file as the source. */
#include "qemu/wait.h"

#include <string.h>

enum where {
    IN_LOCAL,  /* the variable is the operand */
    IN_STRUCT, /* the variable is a struct that holds it */
    BEHIND     /* the variable points to a struct that holds it */
};

struct poll_wait {
    const char *function;
    enum qh_wait_kind kind;
    const char *variable;
    enum where where;
    const char *type, *operand; /* also what the operand is called */
    const char *name;           /* member with the object's name, or NULL */
    const char *coroutine; /* member with the coroutine that works, or NULL */
};

static const struct poll_wait waits[] = {
    /* block/block-gen.h */
    { "bdrv_poll_co", QH_WAIT_POLL, "s", BEHIND, "BdrvPollCo", "in_progress",
      NULL, "co" },
    /* block/qcow2.c, since 10.2 */
    { "cache_clean_timer_del_and_wait", QH_WAIT_POLL, "p", IN_STRUCT,
      "CacheCleanTimerDelAndWaitCoParams", "done", NULL, NULL },
    { "qcow2_open", QH_WAIT_POLL, "qoc", IN_STRUCT, "QCow2OpenCo", "ret", NULL,
      NULL },
    /* block/qed.c */
    { "bdrv_qed_open", QH_WAIT_POLL, "qoc", IN_STRUCT, "QEDOpenCo", "ret", NULL,
      NULL },
    /* block/block-backend.c */
    { "blk_drain", QH_WAIT_DRAIN, "blk", BEHIND, "BlockBackend", "in_flight",
      "name", NULL },
    { "blk_drain_all", QH_WAIT_DRAIN, "blk", BEHIND, "BlockBackend",
      "in_flight", "name", NULL },
    /* util/aio-wait.c */
    { "aio_wait_bh_oneshot", QH_WAIT_POLL, "data", IN_STRUCT, "AioWaitBHData",
      "done", NULL, NULL },
    /* job.c */
    { "job_finish_sync_locked", QH_WAIT_POLL, "job", BEHIND, "Job", "status",
      "id", "co" },
    /* block/throttle-groups.c */
    { "throttle_group_unregister_tgm", QH_WAIT_THROTTLE, "tgm", BEHIND,
      "ThrottleGroupMember", "restart_pending", NULL, NULL },
    /* blockdev-nbd.c */
    { "nbd_server_free", QH_WAIT_NBD, "server", BEHIND, "NBDServerData",
      "connections", NULL, NULL },
    /* block/io.c */
    { "bdrv_aio_cancel", QH_WAIT_AIO, "acb", BEHIND, "BlockAIOCB", "refcnt",
      NULL, NULL },
    /* block/nvme.c */
    { "nvme_admin_cmd_sync", QH_WAIT_AIO, "ret", IN_LOCAL, NULL, "ret", NULL,
      NULL },
    /* util/vhost-user-server.c */
    { "vhost_user_server_stop", QH_WAIT_POLL, "server", BEHIND, "VuServer",
      "co_trip", NULL, "co_trip" },
    /* monitor/hmp.c */
    { "handle_hmp_command", QH_WAIT_POLL, "data", IN_STRUCT,
      "HandleHmpCommandCo", "done", NULL, NULL },
};

static struct qh_error *find_struct(struct qh_wait_maker *maker,
                                    const struct poll_wait *known,
                                    struct raddr *ret)
{
    if (known->where == BEHIND) {
        return qh_walk_value(maker->reader, maker->walk, known->function,
                             known->variable, &ret->value);
    }
    return qh_walk_address(maker->reader, maker->walk, known->function,
                           known->variable, ret);
}

/* A name or a coroutine is good to have, and no more. */
static void read_extras(struct qh_wait_maker *maker,
                        const struct poll_wait *known)
{
    struct qh_wait *wait = maker->wait;
    struct raddr name = { 0 };

    if (known->coroutine) {
        const struct qh_member member = { known->type, known->coroutine,
                                          known->function };
        qh_error_destroy(
            qh_wait_link(maker, wait->object, &member, &wait->owner_coroutine));
    }
    if (known->name) {
        const struct qh_member member = { known->type, known->name,
                                          known->function };
        qh_error_destroy(qh_wait_link(maker, wait->object, &member, &name));
        wait->object_name = qh_read_string(maker->reader, name);
    }
}

static struct qh_error *read_local(struct qh_wait_maker *maker,
                                   const struct poll_wait *known)
{
    uint64_t value = 0;
    struct qh_error *error = qh_walk_value(
        maker->reader, maker->walk, known->function, known->variable, &value);

    return qh_wait_operand(maker, known->operand, qh_raddr(0),
                           (uint64_t)(int64_t)(int32_t)value, error);
}

static struct qh_error *tell_known(struct qh_wait_maker *maker,
                                   const struct poll_wait *known)
{
    struct qh_wait *wait = maker->wait;
    const struct qh_member member = { known->type, known->operand,
                                      known->function };

    wait->kind = known->kind;
    if (known->where == IN_LOCAL) {
        return read_local(maker, known);
    }
    struct qh_error *error = find_struct(maker, known, &wait->object);
    if (error) {
        return qh_wait_operand(maker, known->operand, qh_raddr(0), 0, error);
    }
    read_extras(maker, known);
    return qh_wait_operand_of(maker, wait->object, &member, known->operand);
}

/* The graph lock was read while the target stood still. */
static struct qh_error *tell_writer(struct qh_wait_maker *maker)
{
    const struct qh_graph_lock *graph = &maker->reader->snapshot->graph;

    maker->wait->kind = QH_WAIT_GRAPH_WRITE;
    maker->wait->object = graph->has_writer_address;
    if (!graph->readable) { /* noted where it was read */
        return NULL;
    }
    return qh_wait_operand(maker, "reader_count", graph->orphaned_address,
                           (uint64_t)(int64_t)graph->readers, NULL);
}

static struct qh_error *tell_dispatcher(struct qh_wait_maker *maker)
{
    struct raddr at;
    uint64_t value = 0;
    struct qh_error *error =
        qh_debug_symbol(maker->reader->qemu->debug, "qmp_dispatcher_co", &at);

    maker->wait->kind = QH_WAIT_POLL;
    if (!error) {
        error = qh_wait_read(maker, at, 8, &value);
    }
    maker->wait->owner_coroutine = qh_raddr(value);
    return qh_wait_operand(maker, "qmp_dispatcher_co", at, value, error);
}

/* block/export/export.c. `*ret_all`: the type could not be told, so that all
 * were counted. */
static struct qh_error *count_exports(struct qh_wait_maker *maker,
                                      struct raddr list, uint64_t *ret_count,
                                      bool *ret_all)
{
    static const char anchor[] = "blk_exp_close_all_type";
    static const struct qh_member next = { "BlockExport", "next.le_next",
                                           anchor };
    static const struct qh_member id = { "BlockExport", "id", anchor };
    static const struct qh_member driver = { "BlockExport", "drv", anchor };
    static const struct qh_member type = { "BlockExportDriver", "type",
                                           anchor };
    struct qh_loop_guard guard = { 0 };
    struct raddr at, address, name, drv;
    uint64_t wanted = 0, found;
    int64_t any = -1;

    qh_error_destroy(qh_debug_enumerator(
        maker->reader->qemu->debug, "BLOCK_EXPORT_TYPE__MAX", anchor, &any));
    *ret_all =
        !qh_walk_knows(maker->reader, maker->walk, anchor, "type", &wanted);
    *ret_count = 0;
    QH_TRY(qh_wait_read(maker, list, 8, &at.value));
    while (at.value) {
        QH_TRY(qh_loop_check(maker->reader, &guard, at));
        QH_TRY(qh_wait_link(maker, at, &driver, &drv));
        QH_TRY(qh_wait_member(maker, drv, &type, &address, &found));
        if (*ret_all || (int64_t)wanted == any || found == wanted) {
            QH_TRY(qh_wait_link(maker, at, &id, &name));
            maker->wait->object = at;
            maker->wait->object_name = qh_read_string(maker->reader, name);
            ++*ret_count;
        }
        QH_TRY(qh_wait_link(maker, at, &next, &at));
    }
    return NULL;
}

/* Whether the coroutine does a request of the export's, and does not only wait
 * for the client's next one (nbd/server.c, nbd_trip()). */
static struct qh_error *does_request(struct qh_wait_maker *maker,
                                     const struct qh_coroutine *coroutine,
                                     struct raddr export, bool *ret)
{
    static const char anchor[] = "nbd_trip";
    static const struct qh_member of = { "NBDRequestData", "client", anchor };
    static const struct qh_member served = { "NBDClient", "exp", anchor };
    static const struct qh_member receiver = { "NBDClient", "recv_coroutine",
                                               anchor };
    struct raddr client, of_client, receives;

    *ret = false;
    QH_TRY(qh_wait_link(maker, coroutine->entry_arg, &of, &client));
    if (!client.value) {
        return NULL;
    }
    QH_TRY(qh_wait_link(maker, client, &served, &of_client));
    QH_TRY(qh_wait_link(maker, client, &receiver, &receives));
    *ret = qh_raddr_equal(of_client, export) &&
           !qh_raddr_equal(receives, coroutine->address);
    return NULL;
}

/* A request that keeps the export; good to know, and no more. */
static void find_trip(struct qh_wait_maker *maker)
{
    struct qh_wait *wait = maker->wait;
    const struct qh_snapshot *snapshot = maker->reader->snapshot;

    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        const struct qh_coroutine *coroutine = &snapshot->coroutines[i];
        bool does = false;
        if (coroutine->state != QH_CO_SUSPENDED || !coroutine->entry ||
            strcmp(coroutine->entry, "nbd_trip")) {
            continue;
        }
        qh_error_destroy(does_request(maker, coroutine, wait->object, &does));
        if (does) {
            wait->owner_coroutine = coroutine->address;
            return;
        }
    }
}

static struct qh_error *tell_exports(struct qh_wait_maker *maker)
{
    struct raddr list = { 0 };
    uint64_t count = 0;
    bool all = false;
    struct qh_error *error =
        qh_debug_symbol(maker->reader->qemu->debug, "block_exports", &list);

    maker->wait->kind = QH_WAIT_POLL;
    if (!error) {
        error = count_exports(maker, list, &count, &all);
    }
    if (!error && count) {
        find_trip(maker);
    }
    if (!error && all && count) {
        error = qh_error_new(QH_ERR_ABSENT, "the frame does not tell which "
                                            "type of exports it closes");
    }
    return qh_wait_operand(maker, "exports", list, count, error);
}

static const struct {
    const char *function;
    struct qh_error *(*tell)(struct qh_wait_maker *maker);
} special[] = {
    { "bdrv_graph_wrlock", tell_writer },
    { "bdrv_drain_all_begin", qh_tell_drain_all },
    { "blk_exp_close_all_type", tell_exports },
    { "monitor_cleanup", tell_dispatcher },
};

/* Tells the wait when `function` is known to poll for something. */
static struct qh_error *tell_by_function(struct qh_wait_maker *maker,
                                         const char *function, bool *ret_known)
{
    *ret_known = true;
    if (!strcmp(function, "bdrv_do_drained_begin")) {
        return qh_tell_drain(maker, function);
    }
    for (size_t i = 0; i < QH_COUNT(special); i++) {
        if (!strcmp(function, special[i].function)) {
            return special[i].tell(maker);
        }
    }
    for (size_t i = 0; i < QH_COUNT(waits); i++) {
        if (!strcmp(function, waits[i].function)) {
            return tell_known(maker, &waits[i]);
        }
    }
    *ret_known = false;
    return NULL;
}

/* The coroutine that will end it, where the sleepers know. */
static void find_cleaner(struct qh_wait_maker *maker)
{
    const struct qh_snapshot *snapshot = maker->reader->snapshot;

    for (size_t i = 0; i < snapshot->sleeper_count; i++) {
        const struct qh_sleeper *sleeper = &snapshot->sleepers[i];
        if (sleeper->has_cleaner &&
            sleeper->cleaner.waiter_tid == maker->thread->tid) {
            maker->wait->owner_coroutine = sleeper->coroutine;
            maker->wait->object_name = sleeper->cleaner.node;
        }
    }
}

/* The thread that runs the bottom half. */
static void find_bh_thread(struct qh_wait_maker *maker)
{
    struct raddr context;

    if (qh_walk_knows(maker->reader, maker->walk, "aio_wait_bh_oneshot", "ctx",
                      &context.value)) {
        const struct qh_context *at =
            qh_snapshot_context(maker->reader->snapshot, context);
        maker->wait->owner_tid = at ? at->tid : 0;
    }
}

static void find_owner(struct qh_wait_maker *maker, const char *function)
{
    const struct qh_backtrace *stack = &maker->thread->stack;

    if (!strcmp(function, "cache_clean_timer_del_and_wait")) {
        find_cleaner(maker);
    } else if (!strcmp(function, "aio_wait_bh_oneshot")) {
        find_bh_thread(maker);
    } else if (!strcmp(function, "bdrv_poll_co")) {
        /* Its caller says more: bdrv_flush(), blk_pread(), ... */
        for (size_t i = maker->frame; i + 1 < stack->count; i++) {
            const char *outer = stack->frames[i + 1].function;
            if (!strcmp(stack->frames[i].function, function) && outer) {
                maker->wait->function = outer;
                return;
            }
        }
    }
}

static const struct qh_member
    iothread_ctx = { "IOThread", "ctx", "iothread_run" },
    iothread_stopping = { "IOThread", "stopping", "iothread_run" },
    iothread_running = { "IOThread", "running", "iothread_run" };

/* Whether `object` is the IOThread of the maker's thread. */
static bool is_own_iothread(struct qh_wait_maker *maker, struct raddr object)
{
    struct raddr context = { 0 };

    qh_error_destroy(qh_wait_link(maker, object, &iothread_ctx, &context));
    return context.value && qh_raddr_equal(context, maker->thread->home);
}

/* A loop at rest; and whether it is to stop, where the frames tell whose it is
 * (iothread.c). */
static struct qh_error *tell_iothread(struct qh_wait_maker *maker)
{
    static const char *const names[] = { "iothread", "opaque" };
    struct raddr object;

    maker->wait->kind = QH_WAIT_EVENTS;
    maker->wait->object = maker->thread->polls;
    for (size_t i = 0; i < QH_COUNT(names); i++) {
        if (qh_walk_knows(maker->reader, maker->walk, "iothread_run", names[i],
                          &object.value) &&
            is_own_iothread(maker, object)) {
            QH_TRY(qh_wait_operand_of(maker, object, &iothread_stopping,
                                      "stopping"));
            return qh_wait_operand_of(maker, object, &iothread_running,
                                      "running");
        }
    }
    return NULL;
}

/* In aio_poll(): the functions right outside of it, down to the first that is
 * not inlined. */
struct qh_error *qh_tell_poll(struct qh_wait_maker *maker)
{
    const struct qh_backtrace *stack = &maker->thread->stack;
    struct qh_wait *wait = maker->wait;
    bool inlined = true, known = false;

    wait->kind = QH_WAIT_POLL;
    for (size_t i = maker->frame + 1; inlined && i < stack->count; i++) {
        const char *function = stack->frames[i].function;
        inlined = stack->frames[i].is_inline;
        if (!function) {
            continue;
        }
        maker->frame = i;
        wait->function = function;
        if (!strcmp(function, "iothread_run")) {
            return tell_iothread(maker);
        }
        QH_TRY(tell_by_function(maker, function, &known));
        if (known) {
            find_owner(maker, function);
            return NULL;
        }
    }
    wait->object = maker->thread->polls;
    return maker->reader->snapshot->graph.num_waiters
               ? qh_error_new(QH_ERR_ABSENT,
                              "what %s() polls for is not known here",
                              wait->function ? wait->function : "a function")
               : NULL;
}
