/* Notifies loops, whatever they hang on.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "rescue/check.h"

void qh_rescue_loops_deinit(struct qh_rescue_loops *loops)
{
    qh_snapshot_destroy(loops->snapshot);
}

static bool is_agreed(const struct qh_rescue_loops *agreed,
                      const struct qh_rescue_notifier *notifier)
{
    for (size_t i = 0; i < agreed->count; i++) {
        if (qh_raddr_equal(agreed->items[i].context, notifier->context) &&
            agreed->items[i].write_fd == notifier->write_fd) {
            return true;
        }
    }
    return false;
}

/* What is asked for. */
struct request {
    struct qh_target *target;
    struct qh_qemu *qemu;
    enum qh_rescue_mode mode;
    const struct qh_rescue_loops *agreed;
};

static struct qh_error *notify_one(const struct request *request,
                                   struct raddr context,
                                   struct qh_rescue_loops *loops)
{
    struct qh_rescue_notifier notifier, *item;
    struct qh_rescue_plan plan;

    QH_TRY(qh_rescue_doubt(qh_qemu_read_notifier(request->qemu, loops->snapshot,
                                                 context, &notifier)));
    if (request->agreed && !is_agreed(request->agreed, &notifier)) {
        return qh_refuse(context, "the loop is another than was shown");
    }
    QH_TRY(qh_rescue_plan_notify(loops->snapshot, &notifier, &plan));
    item = qh_list_add(&loops->snapshot->arena, &loops->items, &loops->count,
                       &loops->room, sizeof(*item));
    if (!item) {
        return qh_error_no_memory();
    }
    *item = notifier;
    struct qh_error *error =
        qh_rescue_carry_out(request->target, &plan, request->mode);
    loops->count -= error != NULL;
    return error;
}

static struct qh_error *notify_stopped(const struct request *request,
                                       struct qh_rescue_loops *loops)
{
    QH_CLEANUP(qh_error_guard) struct qh_error *failed = NULL;

    QH_TRY(qh_qemu_sample_stopped(request->qemu, &loops->snapshot));
    for (size_t i = 0; i < loops->snapshot->context_count; i++) {
        struct qh_error *error =
            notify_one(request, loops->snapshot->contexts[i].address, loops);
        if (error) {
            qh_error_destroy(failed);
            failed = error;
        }
    }
    if (loops->count) {
        return NULL;
    }
    struct qh_error *error = failed;
    failed = NULL;
    return error ? error : qh_refuse(qh_raddr(0), "there is no AioContext");
}

struct qh_error *qh_rescue_notify(struct qh_target *target,
                                  struct qh_qemu *qemu,
                                  enum qh_rescue_mode mode,
                                  const struct qh_rescue_loops *agreed,
                                  struct qh_rescue_loops *ret)
{
    const struct request request = {
        .target = target, .qemu = qemu, .mode = mode, .agreed = agreed
    };
    struct qh_rescue_loops loops = { .snapshot = NULL };

    QH_TRY(qh_target_stop(target));
    struct qh_error *error = notify_stopped(&request, &loops);
    qh_target_resume(target);
    if (error) {
        qh_rescue_loops_deinit(&loops);
        return error;
    }
    *ret = loops;
    return NULL;
}
