/* Who stands in the lists of CoMutexes, CoQueues and CoRwlocks.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source of facts: util/qemu-coroutine-lock.c. A CoMutex has two lists of
 * CoWaitRecords, which lie on the waiters' stacks: from_push, the newest first,
 * and to_pop, what an unlocker has turned round. A CoQueue links the coroutines
 * themselves, a CoRwlock its CoRwTickets, again on their stacks. A waiter that
 * is not in the list any more has been chosen to go on.
 */
#include "qemu/co_wait.h"

#include <string.h>

static bool first_time(struct qh_co_waits *waits, struct raddr object)
{
    size_t mask = waits->walked_places - 1;
    size_t place = (object.value * UINT64_C(0x9e3779b97f4a7c15) >> 32) & mask;

    while (waits->walked[place].value) {
        if (qh_raddr_equal(waits->walked[place], object)) {
            return false;
        }
        place = (place + 1) & mask;
    }
    if (waits->walked_count + 1 >= waits->walked_places) {
        return false; /* more than there are waiters: it cannot be */
    }
    waits->walked[place] = object;
    waits->walked_count++;
    return true;
}

static void note_member(struct qh_co_waits *waits, struct raddr coroutine,
                        struct raddr object)
{
    size_t index = qh_coroutine_index(waits->reader, coroutine);

    if (index != SIZE_MAX) {
        waits->stands_in[index] = object;
    }
}

/* Records or tickets: objects of their own that name their coroutine. */
static struct qh_error *walk_records(struct qh_co_waits *waits,
                                     struct raddr object,
                                     enum qh_field_id first,
                                     enum qh_field_id co, enum qh_field_id next)
{
    struct qh_reader *reader = waits->reader;
    struct qh_loop_guard guard = { 0 };
    struct raddr at, coroutine;

    QH_TRY(qh_read_link(reader, object, first, &at));
    while (at.value) {
        QH_TRY(qh_loop_check(reader, &guard, at));
        QH_TRY(qh_read_link(reader, at, co, &coroutine));
        note_member(waits, coroutine, object);
        QH_TRY(qh_read_link(reader, at, next, &at));
    }
    return NULL;
}

static struct qh_error *walk_queue(struct qh_co_waits *waits,
                                   struct raddr queue)
{
    struct qh_loop_guard guard = { 0 };
    struct raddr at;

    QH_TRY(qh_read_link(waits->reader, queue, QH_F_QUEUE_FIRST, &at));
    while (at.value) {
        QH_TRY(qh_loop_check(waits->reader, &guard, at));
        note_member(waits, at, queue);
        QH_TRY(qh_read_link(waits->reader, at, QH_F_CO_QUEUE_NEXT, &at));
    }
    return NULL;
}

static struct qh_error *walk_mutex(struct qh_co_waits *waits,
                                   struct raddr mutex)
{
    QH_TRY(walk_records(waits, mutex, QH_F_CO_MUTEX_PUSHED, QH_F_RECORD_CO,
                        QH_F_RECORD_NEXT));
    return walk_records(waits, mutex, QH_F_CO_MUTEX_POPPED, QH_F_RECORD_CO,
                        QH_F_RECORD_NEXT);
}

struct qh_error *qh_co_list_walk(struct qh_co_waits *waits,
                                 enum qh_co_list kind, struct raddr object)
{
    struct qh_reader *reader = waits->reader;

    if (!object.value || !first_time(waits, object)) {
        return NULL;
    }
    switch (kind) {
    case QH_LIST_MUTEX:
        QH_NOTE(reader, "waiters of a CoMutex", walk_mutex(waits, object));
        break;
    case QH_LIST_QUEUE:
        QH_NOTE(reader, "waiters of a CoQueue", walk_queue(waits, object));
        break;
    case QH_LIST_RWLOCK:
        QH_NOTE(reader, "waiters of a CoRwlock",
                walk_records(waits, object, QH_F_RWLOCK_TICKETS, QH_F_TICKET_CO,
                             QH_F_TICKET_NEXT));
        break;
    }
    return NULL;
}

static struct qh_operand *add_operand(struct qh_reader *reader,
                                      struct qh_wait *wait)
{
    if (!wait->operands) {
        wait->operands =
            qh_arena_alloc(&reader->snapshot->arena,
                           QH_MAX_OPERANDS * sizeof(*wait->operands));
    }
    return wait->operands && wait->operand_count < QH_MAX_OPERANDS
               ? &wait->operands[wait->operand_count++]
               : NULL;
}

struct qh_error *qh_co_operand(struct qh_reader *reader, struct qh_wait *wait,
                               const char *what, int64_t value)
{
    struct qh_operand *operand = add_operand(reader, wait);

    if (!operand) {
        return qh_error_no_memory();
    }
    *operand = (struct qh_operand){ what, { 0 }, value, true };
    return NULL;
}

struct qh_error *qh_co_operand_field(struct qh_reader *reader,
                                     struct qh_wait *wait, const char *what,
                                     struct raddr object, enum qh_field_id id)
{
    uint64_t value = 0;

    if (!object.value || !qh_has_field(reader, id)) {
        return NULL;
    }
    struct qh_error *error = qh_read_field(reader, object, id, &value);
    struct qh_operand *operand = add_operand(reader, wait);
    bool known = !error;
    if (error && error->code == QH_ERR_EXITED) {
        return error;
    }
    qh_error_destroy(error);
    if (!operand) {
        return qh_error_no_memory();
    }
    wait->late |=
        qh_target_is_late(reader->target, qh_field_at(reader, object, id));
    *operand = (struct qh_operand){ what, qh_field_at(reader, object, id),
                                    (int64_t)value, known };
    return NULL;
}
