/* Which words to write, in which order, and which loop to notify.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "rescue/check.h"

#include <string.h>

/* What is so already is not written. */
static void add_write(struct qh_rescue_plan *plan, struct raddr address,
                      uint64_t before, uint64_t after, const char *name,
                      const char *why)
{
    if (before == after) {
        return;
    }
    plan->writes[plan->write_count++] = (struct qh_rescue_write){
        .word = { address, before, after }, .name = name, .why = why
    };
}

static void plan_expire(const struct qh_rescue_view *view,
                        struct qh_rescue_plan *plan)
{
    const struct qh_rescue_timer *timer = &view->sleep->timer;

    add_write(plan, timer->expire_at, (uint64_t)timer->expire_ns,
              QH_RESCUE_LONG_AGO_NS, "QEMUTimer.expire_time",
              "in the past: it fires at once");
}

/* The head of its list, as the list then has it. */
static void plan_head(const struct qh_rescue_view *view,
                      struct qh_rescue_plan *plan)
{
    const struct qh_rescue_list *list = &view->sleep->list;
    const struct qh_rescue_timer *timer = &view->sleep->timer;
    struct raddr head =
        list->timer_count ? list->timers[0].address : qh_raddr(0);

    add_write(plan, timer->next_at, timer->next.value, head.value,
              "QEMUTimer.next", "before the first of its list");
    add_write(plan, list->first_at, head.value, timer->address.value,
              "QEMUTimerList.active_timers", "the first is looked at alone");
}

/* Out of its place, to the head: the one state in between that would be worse
 * is within one system call. */
static void plan_move(const struct qh_rescue_view *view,
                      struct qh_rescue_plan *plan)
{
    const struct qh_rescue_timer *before =
        &view->sleep->list.timers[view->position - 1];
    const struct qh_rescue_timer *timer = &view->sleep->timer;

    plan_expire(view, plan);
    add_write(plan, before->next_at, timer->address.value, timer->next.value,
              "QEMUTimer.next", "of the one before: past it");
    plan_head(view, plan);
}

/* It has fired, and woke nobody: it is linked again. Until the last word, the
 * list's own, nobody sees that. */
static void plan_relink(const struct qh_rescue_view *view,
                        struct qh_rescue_plan *plan)
{
    plan_expire(view, plan);
    plan_head(view, plan);
}

static struct qh_error *plan_sleep(const struct qh_rescue_view *view,
                                   struct qh_rescue_plan *ret)
{
    struct qh_rescue_plan plan = { .notifier = *view->notifier };
    const struct qh_rescue_sleep *sleep = view->sleep;

    if (!sleep->to_wake.value) {
        add_write(&plan, sleep->to_wake_at, 0, view->coroutine->address.value,
                  "QemuCoSleep.to_wake", "the sleeper, as it had armed");
    }
    if (!view->linked) {
        plan.what = "link the sleeper's timer again, and let it fire";
        plan_relink(view, &plan);
    } else if (view->position) {
        plan.what = "let the sleeper's timer fire, first of its list";
        plan_move(view, &plan);
    } else {
        plan.what = "let the sleeper's timer fire now";
        plan_expire(view, &plan);
    }
    *ret = plan;
    return NULL;
}

struct qh_error *
qh_rescue_plan_notify(const struct qh_snapshot *snapshot,
                      const struct qh_rescue_notifier *notifier,
                      struct qh_rescue_plan *ret)
{
    QH_TRY(qh_rescue_check_notifier(snapshot, notifier));
    *ret = (struct qh_rescue_plan){ .what = "notify the loop that sleeps",
                                    .notifier = *notifier };
    return NULL;
}

struct qh_error *qh_rescue_plan(const struct qh_snapshot *snapshot,
                                const struct qh_finding *finding,
                                const struct qh_rescue_sleep *sleep,
                                const struct qh_rescue_notifier *notifier,
                                struct qh_rescue_plan *ret)
{
    struct qh_rescue_view view;

    if (qh_finding_kick(finding) != QH_KICK_TIMER) {
        return qh_rescue_plan_notify(snapshot, notifier, ret);
    }
    QH_TRY(qh_rescue_look(snapshot, finding, sleep, notifier, &view));
    QH_TRY(qh_rescue_check_notifier(snapshot, notifier));
    QH_TRY(qh_rescue_check_sleep(&view));
    return plan_sleep(&view, ret);
}
