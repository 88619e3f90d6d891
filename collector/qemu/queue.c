/* Links between coroutines: queues that bite their own tail.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * No reader knows where every CoQueue is, so the links of the coroutines
 * themselves are followed (include/qemu/coroutine_int.h, co_queue_next). QEMU
 * clears a link when its coroutine leaves the queue, so those of suspended
 * coroutines never make a circle, unless memory is corrupt.
 */
#include "qemu/reader.h"

/* Follows the links from coroutine `from`, marking all on the way with
 * `mark`; gives one that was come to twice, or SIZE_MAX. */
static size_t find_circle(const struct qh_reader *reader, size_t from,
                          size_t *marks, size_t mark)
{
    const struct qh_coroutine *coroutines = reader->snapshot->coroutines;
    size_t at = from;

    while (at != SIZE_MAX && !marks[at] &&
           coroutines[at].state == QH_CO_SUSPENDED) {
        marks[at] = mark;
        at = coroutines[at].queue_next.value
                 ? qh_coroutine_index(reader, coroutines[at].queue_next)
                 : SIZE_MAX;
    }
    return at != SIZE_MAX && marks[at] == mark ? at : SIZE_MAX;
}

struct qh_error *qh_check_queues(struct qh_reader *reader)
{
    const struct qh_snapshot *snapshot = reader->snapshot;
    size_t count = snapshot->coroutine_count;
    QH_CLEANUP(qh_free_guard) size_t *marks = calloc(count + 1, sizeof(*marks));

    if (!marks) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < count; i++) {
        size_t circle = find_circle(reader, i, marks, i + 1);
        if (circle != SIZE_MAX) {
            QH_TRY(qh_snapshot_gap(reader->snapshot, "queue of coroutines",
                                   snapshot->coroutines[circle].address,
                                   "the queue runs in a circle",
                                   "take a core and diagnose that"));
        }
    }
    return NULL;
}
