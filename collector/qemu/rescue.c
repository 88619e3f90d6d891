/* The words that a rescue would write, and what is linked around them.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/reader.h"

/* A reader for a few values more, into the arena of a snapshot that is made. */
static struct qh_reader reader_of(struct qh_qemu *qemu,
                                  struct qh_snapshot *snapshot)
{
    return (struct qh_reader){ .qemu = qemu,
                               .target = qemu->target,
                               .layout = &qemu->layout,
                               .snapshot = snapshot };
}

static struct qh_error *read_timer(struct qh_reader *reader,
                                   struct raddr address,
                                   struct qh_rescue_timer *ret)
{
    struct qh_rescue_timer timer = {
        .address = address,
        .expire_at = qh_field_at(reader, address, QH_F_TIMER_EXPIRE),
        .next_at = qh_field_at(reader, address, QH_F_TIMER_NEXT),
    };
    uint64_t expire, callback;

    QH_TRY(qh_read_field(reader, address, QH_F_TIMER_EXPIRE, &expire));
    QH_TRY(qh_read_field(reader, address, QH_F_TIMER_CB, &callback));
    QH_TRY(qh_read_link(reader, address, QH_F_TIMER_NEXT, &timer.next));
    QH_TRY(qh_read_link(reader, address, QH_F_TIMER_LIST, &timer.list));
    QH_TRY(qh_read_link(reader, address, QH_F_TIMER_OPAQUE, &timer.opaque));
    timer.expire_ns = (int64_t)expire;
    timer.callback = qh_function_name(reader, qh_raddr(callback));
    *ret = timer;
    return NULL;
}

static struct qh_error *read_chain(struct qh_reader *reader,
                                   struct qh_rescue_list *list)
{
    struct qh_loop_guard guard = { 0 };
    size_t room = 0;
    struct raddr at;

    QH_TRY(qh_read_link(reader, list->address, QH_F_TL_ACTIVE, &at));
    while (at.value) {
        QH_TRY(qh_loop_check(reader, &guard, at));
        struct qh_rescue_timer *timer =
            qh_list_add(&reader->snapshot->arena, &list->timers,
                        &list->timer_count, &room, sizeof(*timer));
        if (!timer) {
            return qh_error_no_memory();
        }
        QH_TRY(read_timer(reader, at, timer));
        at = timer->next;
    }
    return NULL;
}

static struct qh_error *read_list(struct qh_reader *reader,
                                  struct raddr address,
                                  struct qh_rescue_list *ret)
{
    struct qh_rescue_list list = {
        .address = address,
        .first_at = qh_field_at(reader, address, QH_F_TL_ACTIVE),
    };
    struct raddr clock;
    uint64_t enabled, lock, done;

    QH_TRY(qh_read_link(reader, address, QH_F_TL_CLOCK, &clock));
    QH_TRY(qh_read_field(reader, clock, QH_F_CLOCK_TYPE, &list.clock));
    QH_TRY(qh_read_field(reader, clock, QH_F_CLOCK_ENABLED, &enabled));
    QH_TRY(qh_read_link(reader, address, QH_F_TL_NOTIFY_OPAQUE,
                        &list.notifies));
    QH_TRY(qh_read_field(reader, address, QH_F_TL_LOCK, &lock));
    QH_TRY(qh_read_field(reader, address, QH_F_TL_DONE, &done));
    list.clock_enabled = enabled != 0;
    list.lock = (uint32_t)lock;
    list.done = (uint32_t)done;
    QH_TRY(read_chain(reader, &list));
    *ret = list;
    return NULL;
}

struct qh_error *qh_qemu_read_sleep(struct qh_qemu *qemu,
                                    struct qh_snapshot *snapshot,
                                    const struct qh_sleeper *sleeper,
                                    struct qh_rescue_sleep *ret)
{
    struct qh_reader reader = reader_of(qemu, snapshot);
    struct qh_rescue_sleep sleep = {
        .to_wake_at = qh_field_at(&reader, sleeper->wake, QH_F_SLEEP_TO_WAKE),
    };

    if (!sleeper->wake.value || !sleeper->timer.value) {
        return qh_error_at(qh_error_new(QH_ERR_ABSENT,
                                        "it is not known where the sleeper's "
                                        "timer is"),
                           sleeper->coroutine);
    }
    QH_TRY(qh_read_link(&reader, sleeper->wake, QH_F_SLEEP_TO_WAKE,
                        &sleep.to_wake));
    QH_TRY(read_timer(&reader, sleeper->timer, &sleep.timer));
    QH_TRY(read_list(&reader, sleep.timer.list, &sleep.list));
    *ret = sleep;
    return NULL;
}

struct qh_error *qh_qemu_read_notifier(struct qh_qemu *qemu,
                                       struct qh_snapshot *snapshot,
                                       struct raddr context,
                                       struct qh_rescue_notifier *ret)
{
    struct qh_reader reader = reader_of(qemu, snapshot);
    uint64_t read_fd, write_fd, ready = 1;

    QH_TRY(
        qh_read_field(&reader, context, QH_F_CTX_NOTIFIER_FD, &read_fd));
    QH_TRY(
        qh_read_field(&reader, context, QH_F_CTX_NOTIFIER_WFD, &write_fd));
    if (qh_has_field(&reader, QH_F_CTX_NOTIFIER_READY)) {
        QH_TRY(qh_read_field(&reader, context, QH_F_CTX_NOTIFIER_READY,
                             &ready));
    }
    *ret = (struct qh_rescue_notifier){
        .context = context,
        .address = qh_field_at(&reader, context, QH_F_CTX_NOTIFIER),
        .read_fd = (int32_t)read_fd,
        .write_fd = (int32_t)write_fd,
        .ready = ready != 0,
    };
    return NULL;
}
