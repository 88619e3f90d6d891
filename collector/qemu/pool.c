/* The worker threads of an AioContext, and whether work is queued for them.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source of facts: util/thread-pool.c. The struct is ThreadPoolAio since 10.0,
 * ThreadPool before; its workers wait on a condition since 7.1 (commit
 * 900fa208f506), before that on a semaphore, and then no pool is read. */
#include "qemu/reader.h"

/* Of the newer struct, and of the older one. */
struct pool_fields {
    enum qh_field_id request, threads, new_threads, pending, condition, lock;
};

static const struct pool_fields layouts[] = {
    { QH_F_POOL_REQUEST, QH_F_POOL_THREADS, QH_F_POOL_NEW, QH_F_POOL_PENDING,
      QH_F_POOL_CONDITION, QH_F_POOL_LOCK },
    { QH_F_OLD_POOL_REQUEST, QH_F_OLD_POOL_THREADS, QH_F_OLD_POOL_NEW,
      QH_F_OLD_POOL_PENDING, QH_F_OLD_POOL_CONDITION, QH_F_OLD_POOL_LOCK },
};

static const struct pool_fields *find_layout(const struct qh_reader *reader)
{
    for (size_t i = 0; i < QH_COUNT(layouts); i++) {
        if (qh_has_field(reader, layouts[i].request) &&
            qh_has_field(reader, layouts[i].condition)) {
            return &layouts[i];
        }
    }
    return NULL;
}

struct qh_error *qh_read_pool(struct qh_reader *reader,
                              struct qh_context *context)
{
    const struct pool_fields *fields = find_layout(reader);
    uint64_t threads, fresh, pending, locked;
    struct qh_pool pool = { 0 };

    if (!fields || !qh_has_field(reader, QH_F_CTX_POOL)) {
        return NULL;
    }
    QH_TRY(
        qh_read_link(reader, context->address, QH_F_CTX_POOL, &pool.address));
    if (!pool.address.value) {
        return NULL;
    }
    QH_TRY(qh_read_link(reader, pool.address, fields->request, &pool.request));
    QH_TRY(qh_read_field(reader, pool.address, fields->threads, &threads));
    QH_TRY(qh_read_field(reader, pool.address, fields->new_threads, &fresh));
    QH_TRY(qh_read_field(reader, pool.address, fields->pending, &pending));
    QH_TRY(qh_read_field(reader, pool.address, fields->lock, &locked));
    pool.threads = (int32_t)threads;
    pool.starting = (int32_t)fresh || (int32_t)pending;
    pool.locked = locked != 0;
    pool.request_address = qh_field_at(reader, pool.address, fields->request);
    pool.threads_address = qh_field_at(reader, pool.address, fields->threads);
    pool.condition = qh_field_at(reader, pool.address, fields->condition);
    pool.condition_bytes = reader->layout->fields[fields->condition].at.bytes;
    context->pool = pool;
    return NULL;
}
