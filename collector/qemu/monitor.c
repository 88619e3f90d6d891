/* The QMP monitors, and whether the dispatcher of their requests is at work.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source of facts: monitor/monitor-internal.h, monitor/monitor.c (mon_list),
 * monitor/qmp.c. One coroutine serves the requests of all QMP monitors; from
 * when somebody wakes it until it looks for more of them it is marked busy. It
 * is a coroutine since 5.2; where there is none, nothing is read. */
#include "qemu/reader.h"

static bool has_monitors(const struct qh_reader *reader)
{
    static const enum qh_field_id fields[] = {
        QH_F_MON_SUSPENDED, QH_F_MON_IS_QMP,   QH_F_MON_NEXT,
        QH_F_QMP_MON,       QH_F_QMP_REQUESTS, QH_F_GQUEUE_LENGTH,
    };
    static const enum qh_symbol_id symbols[] = { QH_S_MON_LIST, QH_S_DISPATCHER,
                                                 QH_S_DISPATCHER_BUSY };

    for (size_t i = 0; i < QH_COUNT(fields); i++) {
        if (!qh_has_field(reader, fields[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < QH_COUNT(symbols); i++) {
        if (!qh_symbol(reader, symbols[i]).value) {
            return false;
        }
    }
    return true;
}

/* The label of its character device, or NULL. */
static const char *label_of(struct qh_reader *reader, struct raddr monitor)
{
    struct raddr chardev, label;

    if (!qh_has_field(reader, QH_F_MON_CHARDEV) ||
        !qh_has_field(reader, QH_F_CHARDEV_LABEL)) {
        return NULL;
    }
    struct qh_error *error =
        qh_read_link(reader, monitor, QH_F_MON_CHARDEV, &chardev);
    if (!error && chardev.value) {
        error = qh_read_link(reader, chardev, QH_F_CHARDEV_LABEL, &label);
    } else {
        label = qh_raddr(0);
    }
    if (error) {
        qh_error_destroy(error);
        return NULL;
    }
    return label.value ? qh_read_string(reader, label) : NULL;
}

static struct qh_error *add_monitor(struct qh_reader *reader,
                                    struct raddr monitor)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    struct raddr qmp = { monitor.value -
                         reader->layout->fields[QH_F_QMP_MON].at.offset };
    uint64_t suspended, requests;
    struct raddr queue;

    QH_TRY(qh_read_field(reader, monitor, QH_F_MON_SUSPENDED, &suspended));
    QH_TRY(qh_read_link(reader, qmp, QH_F_QMP_REQUESTS, &queue));
    QH_TRY(qh_read_field(reader, queue, QH_F_GQUEUE_LENGTH, &requests));
    struct qh_monitor *added = qh_list_add(
        &snapshot->arena, &snapshot->monitors, &snapshot->monitor_count,
        &snapshot->room.monitors, sizeof(*added));
    if (!added) {
        return qh_error_no_memory();
    }
    *added = (struct qh_monitor){
        .address = monitor,
        .chardev = label_of(reader, monitor),
        .suspended = (int32_t)suspended,
        .suspended_address = qh_field_at(reader, monitor, QH_F_MON_SUSPENDED),
        .requests = (uint32_t)requests,
        .requests_address = qh_field_at(reader, queue, QH_F_GQUEUE_LENGTH),
    };
    return NULL;
}

static struct qh_error *read_list(struct qh_reader *reader)
{
    struct qh_loop_guard guard = { 0 };
    struct raddr at;
    uint64_t is_qmp;

    QH_TRY(qh_read_pointer(reader, qh_symbol(reader, QH_S_MON_LIST), &at));
    while (at.value) {
        QH_TRY(qh_loop_check(reader, &guard, at));
        QH_TRY(qh_read_field(reader, at, QH_F_MON_IS_QMP, &is_qmp));
        if (is_qmp) {
            QH_TRY(add_monitor(reader, at));
        }
        QH_TRY(qh_read_link(reader, at, QH_F_MON_NEXT, &at));
    }
    return NULL;
}

static struct qh_error *read_dispatcher(struct qh_reader *reader)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    struct raddr address = qh_symbol(reader, QH_S_DISPATCHER_BUSY);
    struct raddr dispatcher;
    unsigned char busy;

    QH_TRY(qh_read_pointer(reader, qh_symbol(reader, QH_S_DISPATCHER),
                           &dispatcher));
    QH_TRY(qh_target_read(reader->target, address, &busy, sizeof(busy)));
    snapshot->qmp_dispatcher = dispatcher;
    snapshot->qmp_busy_address = address;
    snapshot->qmp_busy = busy != 0;
    return NULL;
}

struct qh_error *qh_read_monitors(struct qh_reader *reader)
{
    if (!has_monitors(reader)) {
        return NULL;
    }
    QH_NOTE(reader, "dispatcher of QMP requests", read_dispatcher(reader));
    QH_NOTE(reader, "list of monitors", read_list(reader));
    return NULL;
}
