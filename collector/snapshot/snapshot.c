/* The snapshot: made, asked, freed.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "snapshot/snapshot.h"

#include <string.h>

#define QH_NAME(constant, name) [constant] = name,
#define QH_NAMES(function, type, LIST)                                         \
    const char *function(enum type value)                                      \
    {                                                                          \
        static const char *const names[] = { LIST(QH_NAME) };                  \
        return names[value];                                                   \
    }
QH_NAMES(qh_role_name, qh_role, QH_ROLES)
QH_NAMES(qh_coroutine_state_name, qh_coroutine_state, QH_COROUTINE_STATES)
QH_NAMES(qh_armed_name, qh_armed, QH_ARMED_STATES)
QH_NAMES(qh_halt_name, qh_halt, QH_HALTS)
QH_NAMES(qh_clock_name, qh_clock, QH_CLOCKS)
QH_NAMES(qh_wait_kind_name, qh_wait_kind, QH_WAIT_KINDS)

const char *qh_sleep_user_name(enum qh_sleep_user user)
{
    static const char *const names[] = {
        [QH_USER_UNKNOWN] = NULL,
        [QH_USER_QCOW2_CACHE_CLEANER] = "qcow2.cache-clean-timer",
        [QH_USER_BLOCK_COPY] = "block-copy.kick",
        [QH_USER_CO_TIMEOUT] = "co-timeout",
    };

    return names[user];
}

struct qh_error *qh_snapshot_create(struct qh_snapshot **ret)
{
    struct qh_snapshot *snapshot = calloc(1, sizeof(*snapshot));

    if (!snapshot) {
        return qh_error_no_memory();
    }
    snapshot->pause_ns = QH_TIME_UNKNOWN;
    snapshot->monotonic_ns = QH_TIME_UNKNOWN;
    snapshot->blocked_ns = QH_TIME_UNKNOWN;
    *ret = snapshot;
    return NULL;
}

void qh_snapshot_destroy(struct qh_snapshot *snapshot)
{
    if (snapshot) {
        qh_arena_deinit(&snapshot->arena);
        free(snapshot);
    }
}

void qh_snapshot_guard(struct qh_snapshot **snapshot)
{
    qh_snapshot_destroy(*snapshot);
}

/* So many are told; a memory full of lies has no end of them. */
enum { MAX_GAPS = 1000 };

static bool same_gap(const struct qh_gap *gap, const char *what,
                     struct raddr address, const char *reason)
{
    return qh_raddr_equal(gap->address, address) && !strcmp(gap->what, what) &&
           !strcmp(gap->reason, reason);
}

struct qh_error *qh_snapshot_gap(struct qh_snapshot *snapshot, const char *what,
                                 struct raddr address, const char *reason,
                                 const char *advice)
{
    for (size_t i = 0; i < snapshot->gap_count; i++) {
        if (same_gap(&snapshot->gaps[i], what, address, reason)) {
            return NULL;
        }
    }
    if (snapshot->gap_count > MAX_GAPS) {
        return NULL;
    }
    if (snapshot->gap_count == MAX_GAPS) {
        what = "other parts";
        reason = "there are more of them than are told here";
        address = qh_raddr(0);
    }
    struct qh_gap *gap =
        qh_list_add(&snapshot->arena, &snapshot->gaps, &snapshot->gap_count,
                    &snapshot->room.gaps, sizeof(*gap));
    if (!gap) {
        return qh_error_no_memory();
    }
    gap->what = qh_arena_strdup(&snapshot->arena, what);
    gap->address = address;
    gap->reason = qh_arena_strdup(&snapshot->arena, reason);
    gap->advice = qh_arena_strdup(&snapshot->arena, advice);
    if (!gap->what || !gap->reason) {
        snapshot->gap_count--;
        return qh_error_no_memory();
    }
    return NULL;
}

struct qh_error *qh_snapshot_gap_error(struct qh_snapshot *snapshot,
                                       const char *what, struct qh_error *error)
{
    QH_CLEANUP(qh_error_guard) struct qh_error *taken = error;

    if (!taken) {
        return NULL;
    }
    if (taken->code == QH_ERR_MEMORY || taken->code == QH_ERR_EXITED) {
        taken = NULL;
        return error;
    }
    return qh_snapshot_gap(snapshot, what,
                           taken->has_address ? taken->address : qh_raddr(0),
                           taken->message, qh_error_advice(taken));
}

const struct qh_thread *qh_snapshot_thread(const struct qh_snapshot *snapshot,
                                           pid_t tid)
{
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        if (snapshot->threads[i].tid == tid) {
            return &snapshot->threads[i];
        }
    }
    return NULL;
}

const struct qh_context *qh_snapshot_context(const struct qh_snapshot *snapshot,
                                             struct raddr address)
{
    for (size_t i = 0; address.value && i < snapshot->context_count; i++) {
        if (qh_raddr_equal(snapshot->contexts[i].address, address)) {
            return &snapshot->contexts[i];
        }
    }
    return NULL;
}

/* qsort_r() orders the indices by the coroutines' addresses. */
static int by_address(const void *a, const void *b, void *opaque)
{
    const struct qh_coroutine *coroutines = opaque;
    uint64_t left = coroutines[*(const size_t *)a].address.value;
    uint64_t right = coroutines[*(const size_t *)b].address.value;

    return left < right ? -1 : left > right;
}

struct qh_error *qh_snapshot_order(struct qh_snapshot *snapshot)
{
    size_t count = snapshot->coroutine_count;
    size_t *order =
        qh_arena_alloc(&snapshot->arena, (count + 1) * sizeof(*order));

    if (!order) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < count; i++) {
        order[i] = i;
    }
    qsort_r(order, count, sizeof(*order), by_address, snapshot->coroutines);
    snapshot->coroutine_order = order;
    return NULL;
}

static const struct qh_coroutine *find_ordered(const struct qh_snapshot *in,
                                               struct raddr address)
{
    size_t low = 0, high = in->coroutine_count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct qh_coroutine *at =
            &in->coroutines[in->coroutine_order[middle]];
        if (at->address.value == address.value) {
            return at;
        }
        if (at->address.value < address.value) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

const struct qh_coroutine *
qh_snapshot_coroutine(const struct qh_snapshot *snapshot, struct raddr address)
{
    if (!address.value) {
        return NULL;
    }
    if (snapshot->coroutine_order) {
        return find_ordered(snapshot, address);
    }
    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        if (qh_raddr_equal(snapshot->coroutines[i].address, address)) {
            return &snapshot->coroutines[i];
        }
    }
    return NULL;
}

int64_t qh_time_add(int64_t a, int64_t b)
{
    int64_t sum;

    return a == QH_TIME_UNKNOWN || b == QH_TIME_UNKNOWN ||
                   __builtin_add_overflow(a, b, &sum)
               ? QH_TIME_UNKNOWN
               : sum;
}

int64_t qh_time_sub(int64_t a, int64_t b)
{
    int64_t difference;

    return a == QH_TIME_UNKNOWN || b == QH_TIME_UNKNOWN ||
                   __builtin_sub_overflow(a, b, &difference)
               ? QH_TIME_UNKNOWN
               : difference;
}

/* QEMU_CLOCK_REALTIME is CLOCK_MONOTONIC (util/qemu-timer.c,
 * qemu_clock_get_ns()). */
const struct qh_sleeper *qh_snapshot_sleeper(const struct qh_snapshot *snapshot,
                                             struct raddr coroutine)
{
    for (size_t i = 0; i < snapshot->sleeper_count; i++) {
        if (qh_raddr_equal(snapshot->sleepers[i].coroutine, coroutine)) {
            return &snapshot->sleepers[i];
        }
    }
    return NULL;
}

int64_t qh_snapshot_left_ns(const struct qh_snapshot *snapshot,
                            enum qh_clock clock, int64_t expire_ns)
{
    return clock == QH_CLOCK_REALTIME
               ? qh_time_sub(expire_ns, snapshot->monotonic_ns)
               : QH_TIME_UNKNOWN;
}

bool qh_backtrace_has(const struct qh_backtrace *stack, const char *function)
{
    for (size_t i = 0; i < stack->count; i++) {
        const char *name = stack->frames[i].function;
        if (name && !strcmp(name, function)) {
            return true;
        }
    }
    return false;
}
