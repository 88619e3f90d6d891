/* Addresses of a coroutine that stand where nobody will wake it from.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each is told by what stands around it, so that no list of all such places has
 * to be whole. What is not told counts as one who may wake it. */
#include "qemu/references.h"

static bool link_is(struct qh_reader *reader, struct raddr object,
                    enum qh_field_id id, uint64_t value)
{
    struct raddr link;
    struct qh_error *error = qh_has_field(reader, id)
                                 ? qh_read_link(reader, object, id, &link)
                                 : qh_error_new(QH_ERR_ABSENT, "no member");

    if (error) {
        qh_error_destroy(error);
        return false;
    }
    return link.value == value;
}

/* The list of requests names the one on the coroutine's stack: from before it,
 * where its own le_prev leads back, or from behind it. Source of facts:
 * block/io.c, tracked_request_begin(). */
static bool is_request_link(struct qh_reader *reader, uint64_t at,
                            uint64_t value, struct raddr coroutine)
{
    struct raddr request = { value };

    if (!qh_has_field(reader, QH_F_REQUEST_PREV) ||
        !qh_has_field(reader, QH_F_REQUEST_NEXT)) {
        return false;
    }
    if (link_is(reader, request, QH_F_REQUEST_CO, coroutine.value) &&
        link_is(reader, request, QH_F_REQUEST_PREV, at)) {
        return true;
    }
    uint64_t behind = at - reader->layout->fields[QH_F_REQUEST_PREV].at.offset;
    request.value = value - reader->layout->fields[QH_F_REQUEST_NEXT].at.offset;
    return link_is(reader, request, QH_F_REQUEST_CO, coroutine.value) &&
           link_is(reader, request, QH_F_REQUEST_NEXT, behind);
}

/* Source of facts: util/qemu-coroutine-lock.c. */
static bool is_held_mutex(struct qh_reader *reader, uint64_t at, uint64_t value,
                          const struct qh_coroutine *coroutine)
{
    uint64_t locked = 0;

    if (value != coroutine->address.value || !coroutine->locks_held ||
        !qh_has_field(reader, QH_F_CO_MUTEX_HOLDER) ||
        !qh_has_field(reader, QH_F_CO_MUTEX_LOCKED)) {
        return false;
    }
    struct raddr mutex = {
        at - reader->layout->fields[QH_F_CO_MUTEX_HOLDER].at.offset
    };
    struct qh_error *error =
        qh_read_field(reader, mutex, QH_F_CO_MUTEX_LOCKED, &locked);
    if (error) {
        qh_error_destroy(error);
        return false;
    }
    return locked && locked <= reader->snapshot->coroutine_count &&
           link_is(reader, mutex, QH_F_CO_MUTEX_CTX, coroutine->context.value);
}

/* On the stack of a thread that waits for the coroutine, which got its address
 * as its argument. Source of facts: include/block/block-gen.h. */
static bool is_poll(struct qh_reader *reader, uint64_t at, uint64_t value,
                    const struct qh_coroutine *coroutine)
{
    const struct qh_snapshot *snapshot = reader->snapshot;
    const struct qh_mapping *mapping =
        qh_target_mapping_at(reader->target, qh_raddr(at));

    if (value != coroutine->address.value || !mapping ||
        !qh_has_field(reader, QH_F_POLL_CO) ||
        at != qh_field_at(reader, coroutine->entry_arg, QH_F_POLL_CO).value) {
        return false;
    }
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        const struct qh_thread_work *work = &reader->threads[i];
        uint64_t sp = work->task->regs.dwarf[QH_REG_RSP];
        if (work->task->stop == QH_TASK_STOPPED && at > sp &&
            sp >= mapping->start && sp < mapping->end) {
            return true;
        }
    }
    return false;
}

bool qh_reference_wakes(struct qh_reader *reader,
                        const struct qh_coroutine *coroutine, uint64_t at,
                        uint64_t value, uint64_t *mutexes)
{
    if (is_request_link(reader, at, value, coroutine->address) ||
        is_poll(reader, at, value, coroutine)) {
        return false;
    }
    if (*mutexes < coroutine->locks_held &&
        is_held_mutex(reader, at, value, coroutine)) {
        ++*mutexes;
        return false;
    }
    return true;
}
