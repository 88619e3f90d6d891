/* The qcow2 cache cleaner as a user of the coroutine sleep.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source of facts: block/qcow2.c of 10.2: cache_clean_timer() is the entry of
 * the sleeper, its argument the BDRVQcow2State. To stop it, the interval is
 * set to 0, the sleeper woken, and a coroutine waits in
 * cache_clean_timer_exit; its argument lies on the stack of the thread that
 * waits for it (cache_clean_timer_del_and_wait()). 7.2 and 10.0 have a plain
 * timer instead, and none of these members. */
#include "qemu/reader.h"

#include <string.h>

static bool is_cleaner(const struct qh_reader *reader,
                       const struct qh_coroutine *coroutine)
{
    return coroutine->entry && !strcmp(coroutine->entry, "cache_clean_timer") &&
           qh_has_field(reader, QH_F_QCOW2_INTERVAL) &&
           qh_has_field(reader, QH_F_QCOW2_TIMER_CO) &&
           qh_has_field(reader, QH_F_QCOW2_WAKE) &&
           qh_has_field(reader, QH_F_QCOW2_EXIT);
}

struct qh_error *qh_read_queue(struct qh_reader *reader, struct raddr queue,
                               struct raddr **ret, size_t *ret_count)
{
    struct qh_loop_guard guard = { 0 };
    struct raddr *items = NULL;
    size_t count = 0, room = 0;
    struct raddr at;

    QH_TRY(qh_read_link(reader, queue, QH_F_QUEUE_FIRST, &at));
    while (at.value) {
        QH_TRY(qh_loop_check(reader, &guard, at));
        struct raddr *item = qh_list_add(&reader->snapshot->arena, &items,
                                         &count, &room, sizeof(*item));
        if (!item) {
            return qh_error_no_memory();
        }
        *item = at;
        QH_TRY(qh_read_link(reader, at, QH_F_CO_QUEUE_NEXT, &at));
    }
    *ret = items;
    *ret_count = count;
    return NULL;
}

/* The node whose driver state this is; the state itself does not say. */
static struct qh_error *find_node(struct qh_reader *reader, struct raddr state,
                                  const char **ret)
{
    struct qh_loop_guard guard = { 0 };
    struct raddr at, opaque;

    if (!qh_symbol(reader, QH_S_ALL_NODES).value ||
        !qh_has_field(reader, QH_F_BDS_NEXT) ||
        !qh_has_field(reader, QH_F_BDS_OPAQUE) ||
        !qh_has_field(reader, QH_F_BDS_NODE_NAME)) {
        return NULL;
    }
    QH_TRY(qh_read_pointer(reader, qh_symbol(reader, QH_S_ALL_NODES), &at));
    while (at.value) {
        QH_TRY(qh_loop_check(reader, &guard, at));
        QH_TRY(qh_read_link(reader, at, QH_F_BDS_OPAQUE, &opaque));
        if (qh_raddr_equal(opaque, state)) {
            *ret = qh_read_string(reader,
                                  qh_field_at(reader, at, QH_F_BDS_NODE_NAME));
            return NULL;
        }
        QH_TRY(qh_read_link(reader, at, QH_F_BDS_NEXT, &at));
    }
    return NULL;
}

static struct qh_error *read_state(struct qh_reader *reader,
                                   struct qh_cache_cleaner *cleaner)
{
    struct raddr state = cleaner->state;

    cleaner->interval_address = qh_field_at(reader, state, QH_F_QCOW2_INTERVAL);
    cleaner->exit_queue = qh_field_at(reader, state, QH_F_QCOW2_EXIT);
    QH_TRY(qh_read_field(reader, state, QH_F_QCOW2_INTERVAL,
                         &cleaner->interval_s));
    QH_TRY(
        qh_read_link(reader, state, QH_F_QCOW2_TIMER_CO, &cleaner->timer_co));
    return qh_read_queue(reader, cleaner->exit_queue, &cleaner->waiters,
                         &cleaner->waiter_count);
}

struct qh_error *qh_read_cleaner(struct qh_reader *reader,
                                 const struct qh_coroutine *coroutine,
                                 struct qh_sleeper *sleeper)
{
    if (!is_cleaner(reader, coroutine)) {
        return NULL;
    }
    struct raddr state = coroutine->entry_arg;
    struct raddr wake = qh_field_at(reader, state, QH_F_QCOW2_WAKE);
    if (sleeper->wake.value && !qh_raddr_equal(sleeper->wake, wake)) {
        return qh_error_at(
            qh_error_new(QH_ERR_INCONSISTENT,
                         "the cache cleaner sleeps on another QemuCoSleep than "
                         "its image's"),
            sleeper->wake);
    }
    sleeper->cleaner.state = state;
    QH_TRY(read_state(reader, &sleeper->cleaner));
    sleeper->wake = wake;
    sleeper->user = QH_USER_QCOW2_CACHE_CLEANER;
    sleeper->has_cleaner = true;
    QH_NOTE(reader, "node of a qcow2 image",
            find_node(reader, state, &sleeper->cleaner.node));
    return NULL;
}

/* Whether the address lies on the part of a stack that is in use. */
static bool on_stack(struct qh_reader *reader, uint64_t sp,
                     struct raddr address)
{
    const struct qh_mapping *mapping =
        qh_target_mapping_at(reader->target, qh_raddr(sp));

    return mapping && address.value >= sp && address.value < mapping->end;
}

static bool waits_for(struct qh_reader *reader, size_t thread,
                      struct raddr argument)
{
    const struct qh_walk *walk = &reader->threads[thread].walk;

    for (size_t i = 0; i < walk->part_count; i++) {
        if (walk->parts[i].count &&
            on_stack(reader, walk->parts[i].frames[0].regs.dwarf[QH_REG_RSP],
                     argument)) {
            return true;
        }
    }
    return false;
}

void qh_find_cleaner_waiter(struct qh_reader *reader,
                            struct qh_sleeper *sleeper)
{
    const struct qh_snapshot *snapshot = reader->snapshot;
    struct qh_cache_cleaner *cleaner = &sleeper->cleaner;

    for (size_t i = 0; i < cleaner->waiter_count; i++) {
        const struct qh_coroutine *waiter =
            qh_snapshot_coroutine(snapshot, cleaner->waiters[i]);
        for (size_t t = 0; waiter && t < snapshot->thread_count; t++) {
            if (waits_for(reader, t, waiter->entry_arg)) {
                cleaner->waiter_tid = snapshot->threads[t].tid;
                return;
            }
        }
    }
}
