/* Sleepers: coroutines parked in qemu_co_sleep(), their timers and wakers.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source of facts: util/qemu-coroutine-sleep.c. A sleeper's `scheduled` says
 * "qemu_co_sleep_ns"; its QEMUTimer is a local of qemu_co_sleep_ns_wakeable(),
 * so the stack that holds an armed co_sleep_cb timer is the sleeper's, even
 * where its QemuCoSleep no longer names it. Once the timer has fired, only the
 * frames still tell where both are. */
#include "qemu/reader.h"

#include <string.h>

/* Coroutine.scheduled of a sleeper; the content counts, not the address. */
static const char parked[] = "qemu_co_sleep_ns";

/* Small numbers in to_wake are the sentinel of the fixed versions
 * (QEMU_CO_SLEEP_PENDING, 1), never a coroutine. */
enum { FIRST_POINTER = 4096 };

static void judge_armed(struct qh_sleeper *sleeper)
{
    if (qh_raddr_equal(sleeper->to_wake, sleeper->coroutine)) {
        sleeper->armed = QH_ARMED_YES;
    } else if (!sleeper->to_wake.value) {
        sleeper->armed = QH_ARMED_NO;
    } else if (sleeper->to_wake.value < FIRST_POINTER) {
        sleeper->armed = QH_ARMED_PENDING;
    } else {
        sleeper->armed = QH_ARMED_OTHER;
    }
}

static struct qh_error *read_wake(struct qh_reader *reader,
                                  struct qh_sleeper *sleeper)
{
    sleeper->armed = QH_ARMED_UNKNOWN;
    QH_TRY(qh_read_link(reader, sleeper->wake, QH_F_SLEEP_TO_WAKE,
                        &sleeper->to_wake));
    judge_armed(sleeper);
    return NULL;
}

static void take_timer(struct qh_sleeper *sleeper, const struct qh_timer *timer)
{
    sleeper->timer = timer->address;
    sleeper->timer_list = timer->list;
    sleeper->timer_linked = true;
    sleeper->timer_position = timer->position;
    sleeper->clock = timer->clock;
    sleeper->expire_ns = timer->expire_ns;
    sleeper->wake = timer->opaque;
}

/* The linked co_sleep_cb timer on each coroutine's stack, or NULL. */
static struct qh_error *find_timers(struct qh_reader *reader,
                                    const struct qh_timer ***ret)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    const struct qh_timer **timers = qh_arena_alloc(
        &snapshot->arena, (snapshot->coroutine_count + 1) * sizeof(*timers));

    if (!timers) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < snapshot->timer_count; i++) {
        const struct qh_timer *timer = &snapshot->timers[i];
        if (timer->callback && !strcmp(timer->callback, "co_sleep_cb")) {
            size_t index = qh_coroutine_by_stack(reader, timer->address);
            if (index != SIZE_MAX) {
                timers[index] = timer;
            }
        }
    }
    *ret = timers;
    return NULL;
}

static struct qh_error *add_sleeper(struct qh_reader *reader, size_t index,
                                    const struct qh_timer *timer)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    const struct qh_coroutine *coroutine = &snapshot->coroutines[index];
    struct qh_sleeper *sleeper = qh_list_add(
        &snapshot->arena, &snapshot->sleepers, &snapshot->sleeper_count,
        &snapshot->room.sleepers, sizeof(*sleeper));

    if (!sleeper) {
        return qh_error_no_memory();
    }
    sleeper->coroutine = coroutine->address;
    sleeper->armed = QH_ARMED_UNKNOWN;
    sleeper->expire_ns = QH_TIME_UNKNOWN;
    sleeper->left_ns = QH_TIME_UNKNOWN;
    sleeper->asked_ns = QH_TIME_UNKNOWN;
    if (timer) {
        take_timer(sleeper, timer);
    }
    QH_NOTE(reader, "user of a sleep",
            qh_read_cleaner(reader, coroutine, sleeper));
    if (sleeper->wake.value) {
        QH_NOTE(reader, "QemuCoSleep of a sleeper", read_wake(reader, sleeper));
    }
    return NULL;
}

struct qh_error *qh_read_sleepers(struct qh_reader *reader)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    const struct qh_timer **timers = NULL;

    QH_TRY(find_timers(reader, &timers));
    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        const struct qh_coroutine *coroutine = &snapshot->coroutines[i];
        if (coroutine->state == QH_CO_SUSPENDED && coroutine->scheduled &&
            !strcmp(coroutine->scheduled, parked)) {
            QH_TRY(add_sleeper(reader, i, timers[i]));
        }
    }
    return NULL;
}

/* Functions that hold the QemuCoSleep as `w`; one may be optimised away. */
static struct qh_error *wake_from_frames(struct qh_reader *reader,
                                         const struct qh_walk *walk,
                                         struct qh_sleeper *sleeper)
{
    uint64_t wake;

    if (qh_walk_knows(reader, walk, "qemu_co_sleep", "w", &wake) ||
        qh_walk_knows(reader, walk, "qemu_co_sleep_ns_wakeable", "w", &wake)) {
        sleeper->frame_wake = qh_raddr(wake);
    }
    if (sleeper->wake.value) {
        return NULL;
    }
    if (!sleeper->frame_wake.value) {
        return qh_error_at(qh_error_new(QH_ERR_ABSENT,
                                        "the frames do not tell where the "
                                        "QemuCoSleep of the sleeper is"),
                           sleeper->coroutine);
    }
    sleeper->wake = sleeper->frame_wake;
    return read_wake(reader, sleeper);
}

/* The timer of a sleeper whose timer is on no list any more. */
static struct qh_error *timer_from_frames(struct qh_reader *reader,
                                          const struct qh_walk *walk,
                                          struct qh_sleeper *sleeper)
{
    struct raddr timer;
    uint64_t expire;

    if (sleeper->timer.value) {
        return NULL;
    }
    struct qh_error *error = qh_walk_address(
        reader, walk, "qemu_co_sleep_ns_wakeable", "ts", &timer);
    if (error && error->code == QH_ERR_ABSENT) {
        qh_error_destroy(error); /* a sleep without a timer */
        return NULL;
    }
    QH_TRY(error);
    QH_TRY(qh_read_field(reader, timer, QH_F_TIMER_EXPIRE, &expire));
    QH_TRY(qh_read_link(reader, timer, QH_F_TIMER_LIST, &sleeper->timer_list));
    sleeper->timer = timer;
    sleeper->expire_ns =
        (int64_t)expire < 0 ? QH_TIME_UNKNOWN : (int64_t)expire;
    return NULL;
}

static struct qh_error *finish_sleeper(struct qh_reader *reader,
                                       struct qh_sleeper *sleeper)
{
    size_t index = qh_coroutine_index(reader, sleeper->coroutine);
    uint64_t asked;

    if (index == SIZE_MAX) {
        return NULL;
    }
    const struct qh_walk *walk = &reader->coroutines[index].walk;
    QH_NOTE(reader, "QemuCoSleep of a sleeper",
            wake_from_frames(reader, walk, sleeper));
    QH_NOTE(reader, "timer of a sleeper",
            timer_from_frames(reader, walk, sleeper));
    if (qh_walk_knows(reader, walk, "qemu_co_sleep_ns_wakeable", "ns",
                      &asked)) {
        sleeper->asked_ns = (int64_t)asked;
    }
    if (sleeper->timer_linked) {
        sleeper->left_ns = qh_snapshot_left_ns(reader->snapshot, sleeper->clock,
                                               sleeper->expire_ns);
    }
    QH_NOTE(reader, "user of a sleep",
            qh_find_sleep_user(reader, &reader->snapshot->coroutines[index],
                               sleeper));
    if (sleeper->has_cleaner) {
        qh_find_cleaner_waiter(reader, sleeper);
    }
    return NULL;
}

struct qh_error *qh_finish_sleepers(struct qh_reader *reader)
{
    for (size_t i = 0; i < reader->snapshot->sleeper_count; i++) {
        QH_TRY(finish_sleeper(reader, &reader->snapshot->sleepers[i]));
    }
    return NULL;
}
