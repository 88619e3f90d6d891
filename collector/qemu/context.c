/* Every AioContext: found, named, and what it has to do.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source of facts: util/async.c, include/block/aio.h, util/main-loop.c,
 * util/qemu-timer.c. The lists of timer lists lead to every context but the
 * I/O handler's, which is made before qemu_clock_init() empties them. */
#include "qemu/reader.h"

#include <stdio.h>
#include <string.h>

/* More than a QEMU has; each is held against all others. */
enum { MAX_CONTEXTS = 4096 };

/* QEMUBH.flags, util/async.c */
enum { BH_SCHEDULED = 2, BH_DELETED = 4, BH_IDLE = 16 };

static struct qh_error *read_bh(struct qh_reader *reader, struct raddr at,
                                struct qh_context *context, size_t *room)
{
    uint64_t flags, callback;
    struct raddr name = { 0 };

    QH_TRY(qh_read_field(reader, at, QH_F_BH_FLAGS, &flags));
    if ((flags & (BH_SCHEDULED | BH_DELETED)) != BH_SCHEDULED) {
        return NULL;
    }
    QH_TRY(qh_read_field(reader, at, QH_F_BH_CB, &callback));
    if (qh_has_field(reader, QH_F_BH_NAME)) {
        QH_TRY(qh_read_link(reader, at, QH_F_BH_NAME, &name));
    }
    struct qh_bh *bh = qh_list_add(&reader->snapshot->arena, &context->pending,
                                   &context->pending_count, room, sizeof(*bh));
    if (!bh) {
        return qh_error_no_memory();
    }
    bh->address = at;
    bh->callback = qh_function_name(reader, qh_raddr(callback));
    bh->name = qh_read_string(reader, name);
    bh->idle = flags & BH_IDLE;
    return NULL;
}

static struct qh_error *read_bh_chain(struct qh_reader *reader,
                                      struct raddr first,
                                      struct qh_context *context, size_t *room)
{
    struct qh_loop_guard guard = { 0 };

    for (struct raddr at = first; at.value;) {
        QH_TRY(qh_loop_check(reader, &guard, at));
        QH_TRY(read_bh(reader, at, context, room));
        QH_TRY(qh_read_link(reader, at, QH_F_BH_NEXT, &at));
    }
    return NULL;
}

/* Bottom halves wait in bh_list, or in slices on the stacks of aio_bh_poll(),
 * which has taken the list off to run it. */
static struct qh_error *read_bhs(struct qh_reader *reader,
                                 struct qh_context *context)
{
    struct qh_loop_guard guard = { 0 };
    size_t room = 0;
    struct raddr first, slice = { 0 };

    QH_TRY(qh_read_link(reader, context->address, QH_F_CTX_BH_LIST, &first));
    QH_TRY(read_bh_chain(reader, first, context, &room));
    if (!qh_has_field(reader, QH_F_CTX_BH_SLICES) ||
        !qh_has_field(reader, QH_F_SLICE_BHS)) {
        return NULL;
    }
    QH_TRY(qh_read_link(reader, context->address, QH_F_CTX_BH_SLICES, &slice));
    while (slice.value) {
        QH_TRY(qh_loop_check(reader, &guard, slice));
        QH_TRY(qh_read_link(reader, slice, QH_F_SLICE_BHS, &first));
        QH_TRY(read_bh_chain(reader, first, context, &room));
        QH_TRY(qh_read_link(reader, slice, QH_F_SLICE_NEXT, &slice));
    }
    return NULL;
}

static struct qh_error *read_scheduled(struct qh_reader *reader,
                                       struct qh_context *context)
{
    struct qh_loop_guard guard = { 0 };
    size_t room = 0;
    struct raddr at;

    QH_TRY(qh_read_link(reader, context->address, QH_F_CTX_SCHEDULED, &at));
    while (at.value) {
        QH_TRY(qh_loop_check(reader, &guard, at));
        struct raddr *added =
            qh_list_add(&reader->snapshot->arena, &context->scheduled,
                        &context->scheduled_count, &room, sizeof(*added));
        if (!added) {
            return qh_error_no_memory();
        }
        *added = at;
        QH_TRY(qh_read_link(reader, at, QH_F_CO_SCHEDULED_NEXT, &at));
    }
    return NULL;
}

/* "IO io0 aio-context" (since 10.0) names the iothread; the main context and
 * the I/O handler's are known by their variables. */
static const char *context_name(struct qh_reader *reader,
                                const struct qh_context *context,
                                struct raddr iohandler)
{
    struct qh_arena *arena = &reader->snapshot->arena;
    static const char suffix[] = " aio-context";
    struct raddr at = { 0 };

    if (qh_raddr_equal(context->address, reader->snapshot->main_context)) {
        return "main";
    }
    if (qh_raddr_equal(context->address, iohandler)) {
        return "iohandler";
    }
    if (qh_has_field(reader, QH_F_CTX_NAME)) {
        qh_error_destroy(
            qh_read_link(reader, context->address, QH_F_CTX_NAME, &at));
    }
    const char *name = qh_read_string(reader, at);
    size_t length = name ? strlen(name) : 0;
    if (length > sizeof(suffix) + 2 && !strncmp(name, "IO ", 3) &&
        !strcmp(name + length - (sizeof(suffix) - 1), suffix)) {
        return qh_arena_printf(arena, "iothread %.*s",
                               (int)(length - 3 - (sizeof(suffix) - 1)),
                               name + 3);
    }
    return name ? name : context->tid ? "iothread" : "";
}

static struct qh_error *read_graph_count(struct qh_reader *reader,
                                         struct qh_context *context)
{
    uint64_t readers;

    if (!qh_has_field(reader, QH_F_CTX_GRAPH) ||
        !qh_has_field(reader, QH_F_GRAPH_READERS)) {
        return NULL;
    }
    QH_TRY(qh_read_link(reader, context->address, QH_F_CTX_GRAPH,
                        &context->graph_address));
    if (!context->graph_address.value) {
        return NULL;
    }
    QH_TRY(qh_read_field(reader, context->graph_address, QH_F_GRAPH_READERS,
                         &readers));
    context->graph_readers = (int32_t)readers;
    context->graph_known = true;
    return NULL;
}

static struct qh_error *read_notifier(struct qh_reader *reader,
                                      struct qh_context *context)
{
    uint64_t notify_me, notified, fd, count;

    context->notifier =
        qh_field_at(reader, context->address, QH_F_CTX_NOTIFIER);
    QH_TRY(qh_read_field(reader, context->address, QH_F_CTX_NOTIFY_ME,
                         &notify_me));
    QH_TRY(
        qh_read_field(reader, context->address, QH_F_CTX_NOTIFIED, &notified));
    QH_TRY(qh_read_field(reader, context->address, QH_F_CTX_NOTIFIER_FD, &fd));
    context->notify_me = (int32_t)notify_me;
    context->notified = notified != 0;
    context->event_fd = (int32_t)fd;
    struct qh_error *error =
        qh_target_eventfd_count(reader->target, context->event_fd, &count);
    if (!error) {
        context->event_count = (int64_t)count;
    }
    qh_error_destroy(error); /* a core has none: event_count stays -1 */
    return NULL;
}

/* What is queued in it; `work_unknown` stays where that fails. */
static struct qh_error *read_work(struct qh_reader *reader,
                                  struct qh_context *context)
{
    context->work_unknown = true;
    QH_TRY(read_bhs(reader, context));
    QH_TRY(read_scheduled(reader, context));
    context->work_unknown = false;
    return NULL;
}

static struct qh_error *read_context(struct qh_reader *reader,
                                     struct qh_context *context)
{
    /* In the order in which a thread that could not be stopped goes on. */
    QH_NOTE(reader, "work queued in an AioContext", read_work(reader, context));
    QH_NOTE(reader, "notifier of an AioContext",
            read_notifier(reader, context));
    QH_NOTE(reader, "graph readers of an AioContext",
            read_graph_count(reader, context));
    QH_NOTE(reader, "worker threads of an AioContext",
            qh_read_pool(reader, context));
    return qh_read_timer_group(
        reader, qh_field_at(reader, context->address, QH_F_CTX_TIMER_LISTS),
        context->address);
}

/* A context is one only if its GSource has the functions of one. */
static struct qh_error *add_context(struct qh_reader *reader,
                                    struct raddr address)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    struct raddr functions;

    if (!address.value || qh_snapshot_context(snapshot, address)) {
        return NULL;
    }
    QH_TRY(qh_read_link(reader, address, QH_F_CTX_SOURCE_FUNCS, &functions));
    if (!qh_raddr_equal(functions, qh_symbol(reader, QH_S_AIO_SOURCE_FUNCS))) {
        return qh_error_at(qh_error_new(QH_ERR_INCONSISTENT,
                                        "what is linked as an AioContext is "
                                        "none"),
                           address);
    }
    if (snapshot->context_count == MAX_CONTEXTS) {
        return qh_error_new(QH_ERR_INCONSISTENT,
                            "there are more AioContexts than a QEMU has");
    }
    struct qh_context *context = qh_list_add(
        &snapshot->arena, &snapshot->contexts, &snapshot->context_count,
        &snapshot->room.contexts, sizeof(*context));
    if (!context) {
        return qh_error_no_memory();
    }
    context->address = address;
    context->event_fd = -1;
    context->event_count = -1;
    return NULL;
}

static struct qh_error *add_from_clock(struct qh_reader *reader,
                                       struct raddr clock)
{
    struct raddr notify = qh_symbol(reader, QH_S_AIO_TIMERLIST_NOTIFY);
    struct qh_loop_guard guard = { 0 };
    struct raddr list, callback, opaque;

    QH_TRY(qh_read_link(reader, clock, QH_F_CLOCK_LISTS, &list));
    while (list.value) {
        QH_TRY(qh_loop_check(reader, &guard, list));
        QH_TRY(qh_read_link(reader, list, QH_F_TL_NOTIFY_CB, &callback));
        QH_TRY(qh_read_link(reader, list, QH_F_TL_NOTIFY_OPAQUE, &opaque));
        if (notify.value && qh_raddr_equal(callback, notify)) {
            QH_TRY(add_context(reader, opaque));
        }
        QH_TRY(qh_read_link(reader, list, QH_F_TL_NEXT, &list));
    }
    return NULL;
}

static struct qh_error *find_contexts(struct qh_reader *reader,
                                      struct raddr iohandler)
{
    struct qh_snapshot *snapshot = reader->snapshot;

    QH_NOTE(reader, "main AioContext",
            add_context(reader, snapshot->main_context));
    QH_NOTE(reader, "I/O handler's AioContext", add_context(reader, iohandler));
    for (uint64_t i = 0; i < QH_CLOCK_COUNT; i++) {
        struct raddr clock = qh_raddr_add(qh_symbol(reader, QH_S_QEMU_CLOCKS),
                                          i * reader->layout->clock_bytes);
        QH_NOTE(reader, "timer lists of a clock",
                add_from_clock(reader, clock));
    }
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        QH_NOTE(reader, "AioContext of a thread",
                add_context(reader, snapshot->threads[i].home));
    }
    return NULL;
}

static pid_t home_thread(const struct qh_snapshot *snapshot,
                         struct raddr context)
{
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        if (qh_raddr_equal(snapshot->threads[i].home, context)) {
            return snapshot->threads[i].tid;
        }
    }
    return 0;
}

struct qh_error *qh_read_contexts(struct qh_reader *reader)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    struct raddr iohandler = { 0 };
    struct raddr main_tlg = qh_symbol(reader, QH_S_MAIN_LOOP_TLG);

    QH_NOTE(reader, "qemu_aio_context",
            qh_read_pointer(reader, qh_symbol(reader, QH_S_QEMU_AIO_CONTEXT),
                            &snapshot->main_context));
    if (qh_symbol(reader, QH_S_IOHANDLER_CTX).value) {
        QH_NOTE(reader, "iohandler_ctx",
                qh_read_pointer(reader, qh_symbol(reader, QH_S_IOHANDLER_CTX),
                                &iohandler));
    }
    QH_TRY(find_contexts(reader, iohandler));
    for (size_t i = 0; i < snapshot->context_count; i++) {
        struct qh_context *context = &snapshot->contexts[i];
        context->tid = home_thread(snapshot, context->address);
        context->name = context_name(reader, context, iohandler);
        if (!context->name) {
            return qh_error_no_memory();
        }
        QH_TRY(read_context(reader, context));
    }
    if (main_tlg.value) {
        QH_TRY(qh_read_timer_group(reader, main_tlg, qh_raddr(0)));
    }
    return NULL;
}
