/* Timer lists: QEMUTimerListGroup, QEMUTimerList, QEMUTimer.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source of facts: util/qemu-timer.c, include/qemu/timer.h. */
#include "qemu/reader.h"

static struct qh_error *read_timer(struct qh_reader *reader,
                                   struct raddr address, struct qh_timer *timer)
{
    uint64_t expire, callback;

    QH_TRY(qh_read_field(reader, address, QH_F_TIMER_EXPIRE, &expire));
    QH_TRY(qh_read_field(reader, address, QH_F_TIMER_CB, &callback));
    QH_TRY(qh_read_link(reader, address, QH_F_TIMER_OPAQUE, &timer->opaque));
    timer->address = address;
    timer->expire_ns = (int64_t)expire;
    timer->callback = qh_function_name(reader, qh_raddr(callback));
    return NULL;
}

/* `common` holds what the timers of one list share. */
static struct qh_error *read_chain(struct qh_reader *reader,
                                   const struct qh_timer *common,
                                   struct raddr first)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    struct qh_loop_guard guard = { 0 };
    struct raddr at = first;

    for (size_t position = 0; at.value; position++) {
        struct qh_timer timer = *common;
        QH_TRY(qh_loop_check(reader, &guard, at));
        timer.position = position;
        QH_TRY(read_timer(reader, at, &timer));
        struct qh_timer *added = qh_list_add(
            &snapshot->arena, &snapshot->timers, &snapshot->timer_count,
            &snapshot->room.timers, sizeof(*added));
        if (!added) {
            return qh_error_no_memory();
        }
        *added = timer;
        QH_TRY(qh_read_link(reader, at, QH_F_TIMER_NEXT, &at));
    }
    return NULL;
}

static struct qh_error *read_list(struct qh_reader *reader, struct raddr list,
                                  struct raddr context)
{
    struct qh_timer common = { .context = context, .list = list };
    struct raddr clock, first;
    uint64_t type, enabled;

    QH_TRY(qh_read_link(reader, list, QH_F_TL_CLOCK, &clock));
    QH_TRY(qh_read_field(reader, clock, QH_F_CLOCK_TYPE, &type));
    QH_TRY(qh_read_field(reader, clock, QH_F_CLOCK_ENABLED, &enabled));
    if (type >= QH_CLOCK_COUNT) {
        return qh_error_at(qh_error_new(QH_ERR_INCONSISTENT,
                                        "clock type %llu is unknown",
                                        (unsigned long long)type),
                           clock);
    }
    common.clock = (enum qh_clock)type;
    common.clock_enabled = enabled != 0;
    QH_TRY(qh_read_link(reader, list, QH_F_TL_ACTIVE, &first));
    return read_chain(reader, &common, first);
}

struct qh_error *qh_read_timer_group(struct qh_reader *reader,
                                     struct raddr lists, struct raddr context)
{
    const struct qh_field *field =
        &reader->layout->fields[QH_F_CTX_TIMER_LISTS].at;
    uint64_t count =
        field->item_bytes ? field->bytes / field->item_bytes : QH_CLOCK_COUNT;

    for (uint64_t i = 0; i < count && i < QH_CLOCK_COUNT; i++) {
        struct raddr list;
        QH_NOTE(reader, "timer list",
                qh_read_pointer(reader, qh_raddr_add(lists, 8 * i), &list));
        if (list.value) {
            QH_NOTE(reader, "timers", read_list(reader, list, context));
        }
    }
    return NULL;
}
