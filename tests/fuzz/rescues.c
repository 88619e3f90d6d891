/* What a kick reads and plans, of a memory that lies.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "frozen.h"
#include "fuzz.h"
#include "rescue/rescue.h"

static void plan_sleep(struct qh_qemu *qemu, struct qh_snapshot *snapshot,
                       const struct qh_sleeper *sleeper,
                       const struct qh_finding *finding)
{
    struct qh_rescue_sleep sleep;
    struct qh_rescue_notifier notifier;
    struct qh_rescue_plan plan;
    struct qh_error *error =
        qh_qemu_read_sleep(qemu, snapshot, sleeper, &sleep);

    if (!error) {
        error = qh_qemu_read_notifier(qemu, snapshot, sleep.list.notifies,
                                      &notifier);
    }
    if (!error && finding) {
        error = qh_rescue_plan(snapshot, finding, &sleep, &notifier, &plan);
        fuzz_require(error || (plan.what && plan.write_count &&
                               plan.write_count <= QH_WORDS_MAX));
    }
    qh_error_destroy(error);
}

void frozen_rescue(struct frozen *frozen, struct qh_snapshot *snapshot,
                   const struct qh_findings *findings)
{
    for (size_t i = 0; i < snapshot->sleeper_count; i++) {
        const struct qh_sleeper *sleeper = &snapshot->sleepers[i];
        const struct qh_finding *finding = NULL;
        for (size_t k = 0; findings && k < findings->count; k++) {
            if (qh_finding_kick(&findings->items[k]) == QH_KICK_TIMER &&
                qh_raddr_equal(findings->items[k].coroutine,
                               sleeper->coroutine)) {
                finding = &findings->items[k];
            }
        }
        plan_sleep(frozen->qemu, snapshot, sleeper, finding);
    }
    for (size_t i = 0; i < snapshot->context_count; i++) {
        struct qh_rescue_notifier notifier;
        struct qh_rescue_plan plan;
        struct qh_error *error = qh_qemu_read_notifier(
            frozen->qemu, snapshot, snapshot->contexts[i].address, &notifier);
        if (!error) {
            error = qh_rescue_plan_notify(snapshot, &notifier, &plan);
        }
        qh_error_destroy(error);
    }
}
