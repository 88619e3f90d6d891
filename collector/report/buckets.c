/* Coroutines in buckets.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/buckets.h"

#include <fnmatch.h>
#include <string.h>

#define QH_NAME(constant, name) [constant] = name,
const char *qh_grouping_name(enum qh_grouping grouping)
{
    static const char *const names[] = { QH_GROUPINGS(QH_NAME) };

    return names[grouping];
}
#undef QH_NAME

bool qh_co_context_is(const struct qh_context *context, const char *text)
{
    static const char prefix[] = "iothread ";
    const char *name = context->name ? context->name : "";
    char *end;

    if (!strcmp(name, text) || (!strncmp(name, prefix, sizeof(prefix) - 1) &&
                                !strcmp(name + sizeof(prefix) - 1, text))) {
        return true;
    }
    return !strncmp(text, "0x", 2) &&
           strtoull(text, &end, 16) == context->address.value && !*end;
}

static bool on_stack(const struct qh_backtrace *stack, const char *pattern)
{
    for (size_t i = 0; i < stack->count; i++) {
        const char *name = stack->frames[i].function;
        if (name && !fnmatch(pattern, name, 0)) {
            return true;
        }
    }
    return false;
}

static bool is_chosen(const struct qh_snapshot *snapshot,
                      const struct qh_co_filter *filter,
                      const struct qh_coroutine *coroutine,
                      const struct qh_wait *wait)
{
    if ((filter->by_state && coroutine->state != filter->state) ||
        (filter->by_kind && (!wait || wait->kind != filter->kind)) ||
        (filter->function && !on_stack(&coroutine->stack, filter->function))) {
        return false;
    }
    if (!filter->context) {
        return true;
    }
    const struct qh_context *context =
        qh_snapshot_context(snapshot, coroutine->context);
    return context && qh_co_context_is(context, filter->context);
}

static bool same_frames(const struct qh_backtrace *a,
                        const struct qh_backtrace *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (!qh_raddr_equal(a->frames[i].pc, b->frames[i].pc)) {
            return false;
        }
    }
    return true;
}

static bool same_kind(const struct qh_wait *a, const struct qh_wait *b)
{
    return !a == !b && (!a || a->kind == b->kind);
}

static bool same_object(const struct qh_wait *a, const struct qh_wait *b)
{
    return same_kind(a, b) && (!a || qh_raddr_equal(a->object, b->object));
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15) ^ hash >> 29;
}

/* What is being made: an open hash of buckets. */
struct making {
    const struct qh_snapshot *snapshot;
    struct qh_co_buckets *buckets;
    enum qh_grouping grouping;
    size_t *table; /* bucket + 1; 0: empty */
    size_t places; /* a power of two, more than there are coroutines */
    size_t room;
};

static uint64_t hash_of(const struct making *making, size_t index)
{
    const struct qh_coroutine *coroutine = &making->snapshot->coroutines[index];
    const struct qh_wait *wait = making->buckets->waits[index];
    uint64_t hash = mix(coroutine->state, wait ? wait->kind + 1 : 0);

    switch (making->grouping) {
    case QH_GROUP_STACK:
        for (size_t i = 0; i < coroutine->stack.count; i++) {
            hash = mix(hash, coroutine->stack.frames[i].pc.value);
        }
        return hash;
    case QH_GROUP_WAIT:
        return mix(hash, wait ? wait->object.value : 0);
    case QH_GROUP_NONE:
        break;
    }
    return mix(hash, index);
}

static bool belongs(const struct making *making,
                    const struct qh_co_bucket *bucket, size_t index)
{
    const struct qh_coroutine *a =
        &making->snapshot->coroutines[bucket->members[0]];
    const struct qh_coroutine *b = &making->snapshot->coroutines[index];
    const struct qh_wait *wait = making->buckets->waits[index];

    if (a->state != b->state || !same_kind(bucket->wait, wait)) {
        return false;
    }
    switch (making->grouping) {
    case QH_GROUP_STACK:
        return same_frames(&a->stack, &b->stack);
    case QH_GROUP_WAIT:
        return same_object(bucket->wait, wait);
    case QH_GROUP_NONE:
        break;
    }
    return false;
}

/* The bucket that it belongs to, a new one if need be; NULL: no memory. */
static struct qh_co_bucket *bucket_for(struct making *making, size_t index)
{
    struct qh_co_buckets *buckets = making->buckets;
    size_t place = hash_of(making, index) >> 20 & (making->places - 1);

    while (making->table[place] &&
           !belongs(making, &buckets->items[making->table[place] - 1], index)) {
        place = (place + 1) & (making->places - 1);
    }
    if (making->table[place]) {
        return &buckets->items[making->table[place] - 1];
    }
    struct qh_co_bucket *bucket =
        qh_list_add(&buckets->arena, &buckets->items, &buckets->count,
                    &making->room, sizeof(*bucket));
    if (bucket) {
        making->table[place] = buckets->count;
        bucket->wait = buckets->waits[index];
        bucket->same_stack = true;
        bucket->same_object = true;
        bucket->same_context = true;
    }
    return bucket;
}

/* Members are counted first; `members` then points to one element, the first.
 */
static struct qh_error *add(struct making *making, size_t index)
{
    const struct qh_coroutine *coroutines = making->snapshot->coroutines;
    struct qh_co_buckets *buckets = making->buckets;
    struct qh_co_bucket *bucket = bucket_for(making, index);

    if (!bucket) {
        return qh_error_no_memory();
    }
    if (!bucket->count) {
        bucket->members =
            qh_arena_alloc(&buckets->arena, sizeof(*bucket->members));
        if (!bucket->members) {
            return qh_error_no_memory();
        }
        bucket->members[0] = index;
    }
    const struct qh_coroutine *first = &coroutines[bucket->members[0]];
    const struct qh_coroutine *one = &coroutines[index];
    bucket->same_stack =
        bucket->same_stack && same_frames(&first->stack, &one->stack);
    bucket->same_object =
        bucket->same_object && same_object(bucket->wait, buckets->waits[index]);
    bucket->same_context =
        bucket->same_context && qh_raddr_equal(first->context, one->context);
    bucket->count++;
    buckets->shown++;
    buckets->bucket_of[index] = (size_t)(bucket - buckets->items);
    return NULL;
}

static const struct qh_coroutine *first_of(const struct qh_snapshot *snapshot,
                                           const struct qh_co_bucket *bucket)
{
    return &snapshot->coroutines[bucket->members[0]];
}

static int by_weight(const void *left, const void *right, void *opaque)
{
    const struct qh_snapshot *snapshot = opaque;
    const struct qh_co_bucket *a = left, *b = right;
    bool a_pooled = first_of(snapshot, a)->state == QH_CO_POOLED;
    bool b_pooled = first_of(snapshot, b)->state == QH_CO_POOLED;

    if (a_pooled != b_pooled) {
        return a_pooled ? 1 : -1;
    }
    if (a->count != b->count) {
        return a->count < b->count ? 1 : -1;
    }
    return a->members[0] < b->members[0] ? -1 : 1;
}

/* Puts the buckets in order, and the members into their buckets. */
static struct qh_error *fill(struct making *making)
{
    struct qh_co_buckets *buckets = making->buckets;
    size_t *members = qh_arena_alloc(&buckets->arena,
                                     (buckets->shown + 1) * sizeof(*members));
    size_t *filled =
        qh_arena_alloc(&buckets->arena, (buckets->count + 1) * sizeof(*filled));
    size_t *new_place = qh_arena_alloc(&buckets->arena, (buckets->count + 1) *
                                                            sizeof(*new_place));

    if (!members || !filled || !new_place) {
        return qh_error_no_memory();
    }
    if (buckets->count) {
        qsort_r(buckets->items, buckets->count, sizeof(*buckets->items),
                by_weight, (void *)making->snapshot);
    }
    for (size_t i = 0; i < buckets->count; i++) {
        struct qh_co_bucket *bucket = &buckets->items[i];
        new_place[buckets->bucket_of[bucket->members[0]]] = i;
        bucket->members = members;
        members += bucket->count;
    }
    for (size_t i = 0; i < making->snapshot->coroutine_count; i++) {
        if (buckets->bucket_of[i] != SIZE_MAX) {
            size_t bucket = new_place[buckets->bucket_of[i]];
            buckets->bucket_of[i] = bucket;
            buckets->items[bucket].members[filled[bucket]++] = i;
        }
    }
    return NULL;
}

static struct qh_error *find_waits(const struct qh_snapshot *snapshot,
                                   struct qh_co_buckets *buckets)
{
    size_t count = snapshot->coroutine_count;

    buckets->waits =
        qh_arena_alloc(&buckets->arena, (count + 1) * sizeof(*buckets->waits));
    buckets->bucket_of = qh_arena_alloc(
        &buckets->arena, (count + 1) * sizeof(*buckets->bucket_of));
    if (!buckets->waits || !buckets->bucket_of) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_coroutine *waiter =
            qh_snapshot_coroutine(snapshot, snapshot->waits[i].coroutine);
        if (waiter) {
            buckets->waits[waiter - snapshot->coroutines] = &snapshot->waits[i];
        }
    }
    return NULL;
}

static struct qh_error *make(struct making *making,
                             const struct qh_co_filter *filter)
{
    const struct qh_snapshot *snapshot = making->snapshot;
    struct qh_co_buckets *buckets = making->buckets;

    QH_TRY(find_waits(snapshot, buckets));
    making->places = 16;
    while (making->places < 2 * snapshot->coroutine_count) {
        making->places *= 2;
    }
    making->table = qh_arena_alloc(&buckets->arena,
                                   making->places * sizeof(*making->table));
    if (!making->table) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        buckets->bucket_of[i] = SIZE_MAX;
        if (is_chosen(snapshot, filter, &snapshot->coroutines[i],
                      buckets->waits[i])) {
            QH_TRY(add(making, i));
        }
    }
    return fill(making);
}

struct qh_error *qh_co_buckets_make(const struct qh_snapshot *snapshot,
                                    const struct qh_co_filter *filter,
                                    enum qh_grouping grouping,
                                    struct qh_co_buckets *ret)
{
    QH_CLEANUP(qh_co_buckets_deinit) struct qh_co_buckets buckets = { 0 };
    struct making making = { .snapshot = snapshot,
                             .buckets = &buckets,
                             .grouping = grouping };

    QH_TRY(make(&making, filter));
    *ret = buckets;
    buckets = (struct qh_co_buckets){ 0 };
    return NULL;
}

void qh_co_buckets_deinit(struct qh_co_buckets *buckets)
{
    qh_arena_deinit(&buckets->arena);
}
