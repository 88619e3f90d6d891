/* What each suspended coroutine waits for: goes through all of them.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/co_wait.h"

static struct qh_error *waits_begin(struct qh_co_waits *waits,
                                    struct qh_reader *reader)
{
    struct qh_arena *arena = &reader->snapshot->arena;
    size_t count = reader->snapshot->coroutine_count;

    waits->reader = reader;
    waits->walked_places = 16;
    while (waits->walked_places < 2 * count) {
        waits->walked_places *= 2;
    }
    waits->walked =
        qh_arena_alloc(arena, waits->walked_places * sizeof(*waits->walked));
    waits->stands_in =
        qh_arena_alloc(arena, (count + 1) * sizeof(*waits->stands_in));
    waits->scheduled_in =
        qh_arena_alloc(arena, (count + 1) * sizeof(*waits->scheduled_in));
    waits->timers = qh_arena_alloc(arena, (count + 1) * sizeof(void *));
    waits->sleepers = qh_arena_alloc(arena, (count + 1) * sizeof(void *));
    waits->linked = qh_arena_alloc(arena, (count + 1) * sizeof(bool));
    return waits->walked && waits->stands_in && waits->scheduled_in &&
                   waits->timers && waits->sleepers && waits->linked
               ? NULL
               : qh_error_no_memory();
}

/* QEMU clears the link of whoever leaves a queue. */
static void note_links(struct qh_co_waits *waits)
{
    const struct qh_snapshot *snapshot = waits->reader->snapshot;

    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        size_t next = qh_coroutine_index(waits->reader,
                                         snapshot->coroutines[i].queue_next);
        if (next != SIZE_MAX) {
            waits->linked[i] = true;
            waits->linked[next] = true;
        }
    }
}

/* What points at coroutines: contexts, sleepers and timers. */
static void note_references(struct qh_co_waits *waits)
{
    const struct qh_snapshot *snapshot = waits->reader->snapshot;
    size_t index;

    for (size_t i = 0; i < snapshot->context_count; i++) {
        const struct qh_context *context = &snapshot->contexts[i];
        for (size_t j = 0; j < context->scheduled_count; j++) {
            index = qh_coroutine_index(waits->reader, context->scheduled[j]);
            if (index != SIZE_MAX) {
                waits->scheduled_in[index] = context->address;
            }
        }
    }
    for (size_t i = 0; i < snapshot->sleeper_count; i++) {
        index =
            qh_coroutine_index(waits->reader, snapshot->sleepers[i].coroutine);
        if (index != SIZE_MAX) {
            waits->sleepers[index] = &snapshot->sleepers[i];
        }
    }
    for (size_t i = 0; i < snapshot->timer_count; i++) {
        index =
            qh_coroutine_by_stack(waits->reader, snapshot->timers[i].opaque);
        if (index != SIZE_MAX) {
            waits->timers[index] = &snapshot->timers[i];
        }
    }
}

/* Those that have not been entered wait for it when they are scheduled. */
static bool is_waiter(const struct qh_co_waits *waits, size_t index)
{
    const struct qh_coroutine *coroutine =
        &waits->reader->snapshot->coroutines[index];

    return coroutine->state == QH_CO_SUSPENDED ||
           (coroutine->state == QH_CO_CREATED &&
            waits->scheduled_in[index].value);
}

struct qh_error *qh_find_co_waits(struct qh_reader *reader)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    struct qh_co_waits waits = { .reader = reader };

    QH_TRY(waits_begin(&waits, reader));
    note_references(&waits);
    note_links(&waits);
    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        if (!is_waiter(&waits, i)) {
            continue;
        }
        struct qh_wait *wait = qh_list_add(
            &snapshot->arena, &snapshot->waits, &snapshot->wait_count,
            &snapshot->room.waits, sizeof(*wait));
        if (!wait) {
            return qh_error_no_memory();
        }
        QH_TRY(qh_co_tell(&waits, i, wait));
    }
    return NULL;
}
