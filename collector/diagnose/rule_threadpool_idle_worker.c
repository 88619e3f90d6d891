/* threadpool.idle-worker: work is queued, and every worker waits for some.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Whoever queues a request signals the workers' condition next, and a worker
 * looks at the queue, with the lock held, before it waits. So when all of them
 * wait, the lock is free and nobody is at the signal, that was lost: on its
 * way from QEMU, or in the C library. A worker's wait has a timeout of 10 s,
 * after which it looks again, so each such request is late by up to that.
 * Source: util/thread-pool.c (worker_thread, thread_pool_submit_aio).
 */
#include "diagnose/poll.h"
#include "diagnose/wait.h"

#include <inttypes.h>

/* (b): nobody is between the queue and the signal, or just out of a wait. */
static enum qh_quiet quiet_around(const struct qh_snapshot *snapshot)
{
    static const char *const queueing[] = {
        "thread_pool_submit_aio",   "qemu_cond_signal",
        "qemu_cond_signal_impl",    "qemu_cond_broadcast",
        "qemu_cond_broadcast_impl", "do_spawn_thread",
        "spawn_thread_bh_fn",
    };
    enum qh_quiet quiet =
        qh_quiet_threads(snapshot, queueing, QH_COUNT(queueing));

    for (size_t i = 0; i < snapshot->thread_count; i++) {
        if (snapshot->threads[i].role == QH_ROLE_WORKER) {
            quiet = qh_quiet_worse(
                quiet, qh_quiet_asleep(snapshot, snapshot->threads[i].tid));
        }
    }
    return quiet;
}

static struct qh_error *add_evidence(const struct qh_pool *pool,
                                     struct qh_findings *findings,
                                     struct qh_finding *finding)
{
    QH_TRY(qh_evidence_add(
        findings, finding, "request_list: work is queued",
        pool->request_address,
        qh_arena_printf(&findings->arena, "0x%" PRIx64, pool->request.value)));
    QH_TRY(qh_number_evidence(findings, finding,
                              qh_arena_printf(&findings->arena,
                                              "cur_threads = %" PRId32
                                              ": all wait for work",
                                              pool->threads),
                              pool->threads_address, pool->threads));
    return qh_evidence_add(findings, finding,
                           "request_cond: nobody signals it, the lock is free",
                           pool->condition, "waited for");
}

static struct qh_error *judge(const struct qh_snapshot *snapshot,
                              const struct qh_context *context, pid_t worker,
                              struct qh_findings *findings)
{
    const struct qh_pool *pool = &context->pool;
    enum qh_quiet quiet = quiet_around(snapshot);
    uint64_t print = QH_FINGERPRINT;

    if (quiet == QH_DISTURBED) {
        findings->unsettled = true;
        return NULL;
    }
    print = qh_fingerprint_mix(print, pool->address.value);
    print = qh_fingerprint_mix(print, pool->request.value);
    print = qh_fingerprint_mix(print, (uint64_t)pool->threads);
    struct qh_finding finding = {
        .rule = "threadpool.idle-worker",
        .certainty = quiet == QH_QUIET ? QH_PROOF : QH_STRONG,
        .tid = worker,
        .waiter = context->tid,
        .heals = QH_HEALS_TIMER,
        .heals_in_ns = QH_TIME_UNKNOWN,
        .summary = "work is queued, and all workers wait",
        .fingerprint = print,
    };
    QH_TRY(add_evidence(pool, findings, &finding));
    return qh_findings_add(findings, &finding);
}

struct qh_error *
qh_rule_threadpool_idle_worker(const struct qh_snapshot *snapshot,
                               struct qh_findings *findings)
{
    for (size_t i = 0; i < snapshot->context_count; i++) {
        const struct qh_context *context = &snapshot->contexts[i];
        const struct qh_pool *pool = &context->pool;
        int32_t waiting = 0;
        pid_t worker = 0;

        if (!pool->request.value || pool->threads <= 0 || pool->starting ||
            pool->locked) {
            continue;
        }
        for (size_t j = 0; j < snapshot->wait_count; j++) {
            if (qh_wait_is_for_work(&snapshot->waits[j], pool)) {
                waiting++;
                worker = worker ? worker : snapshot->waits[j].tid;
            }
        }
        if (waiting == pool->threads) {
            QH_TRY(judge(snapshot, context, worker, findings));
        }
    }
    return NULL;
}
