/* What must hold before a word is written.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "rescue/check.h"

#include "diagnose/quiet.h"

#include <stdio.h>
#include <string.h>

static struct qh_error *refusal(struct raddr address, const char *format,
                                va_list args)
{
    char text[256];

    vsnprintf(text, sizeof(text), format, args);
    struct qh_error *error = qh_error_new(QH_ERR_REFUSED, "%s", text);
    return address.value ? qh_error_at(error, address) : error;
}

struct qh_error *qh_refuse(struct raddr address, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    struct qh_error *error = refusal(address, format, args);
    va_end(args);
    return error;
}

struct qh_error *qh_refuse_for_now(struct raddr address, const char *format,
                                   ...)
{
    va_list args;

    va_start(args, format);
    struct qh_error *error = refusal(address, format, args);
    va_end(args);
    return qh_error_passing(error);
}

static void find_in_list(struct qh_rescue_view *view)
{
    const struct qh_rescue_list *list = &view->sleep->list;

    view->position = list->timer_count;
    for (size_t i = 0; i < list->timer_count; i++) {
        if (qh_raddr_equal(list->timers[i].address,
                           view->sleep->timer.address)) {
            view->linked++;
            if (view->position == list->timer_count) {
                view->position = i;
            }
        }
    }
}

struct qh_error *qh_rescue_look(const struct qh_snapshot *snapshot,
                                const struct qh_finding *finding,
                                const struct qh_rescue_sleep *sleep,
                                const struct qh_rescue_notifier *notifier,
                                struct qh_rescue_view *ret)
{
    struct qh_rescue_view view = {
        .snapshot = snapshot,
        .finding = finding,
        .sleeper = qh_snapshot_sleeper(snapshot, finding->coroutine),
        .coroutine = qh_snapshot_coroutine(snapshot, finding->coroutine),
        .sleep = sleep,
        .notifier = notifier,
    };

    if (!view.sleeper || !view.coroutine || !sleep) {
        return qh_refuse(finding->coroutine, "the sleeper is gone");
    }
    find_in_list(&view);
    *ret = view;
    return NULL;
}

static struct qh_error *check_proof(const struct qh_rescue_view *view)
{
    return view->finding->certainty == QH_PROOF
               ? NULL
               : qh_refuse(view->finding->coroutine,
                           "the finding is not proved, only %s",
                           qh_certainty_name(view->finding->certainty));
}

/* Parked in the very sleep, entered by nobody. */
static struct qh_error *check_parked(const struct qh_rescue_view *view)
{
    const struct qh_coroutine *coroutine = view->coroutine;
    uint64_t sp = coroutine->regs.dwarf[QH_REG_RSP];

    if (coroutine->state != QH_CO_SUSPENDED || coroutine->caller.value ||
        !coroutine->scheduled ||
        strcmp(coroutine->scheduled, "qemu_co_sleep_ns")) {
        return qh_refuse(coroutine->address,
                         "the coroutine is not parked in a sleep");
    }
    if (!(coroutine->regs.known & (1u << QH_REG_RSP)) ||
        sp < coroutine->stack_start.value ||
        sp - coroutine->stack_start.value >= coroutine->stack_bytes) {
        return qh_refuse(coroutine->address,
                         "the coroutine's stack pointer is not in its stack");
    }
    if (!qh_backtrace_has(&coroutine->stack, "qemu_co_sleep") &&
        !qh_backtrace_has(&coroutine->stack, "qemu_co_sleep_ns_wakeable")) {
        return qh_refuse(coroutine->address,
                         "the coroutine's frames show no sleep");
    }
    return NULL;
}

/* to_wake is as the finding has it: the sleeper's own name, or erased. */
static struct qh_error *check_to_wake(const struct qh_rescue_view *view)
{
    const struct qh_rescue_sleep *sleep = view->sleep;
    bool erased = !strcmp(view->finding->rule, "sleep.erased");
    struct raddr wanted = erased ? qh_raddr(0) : view->coroutine->address;

    return qh_raddr_equal(sleep->to_wake, wanted)
               ? NULL
               : qh_refuse(sleep->to_wake_at,
                           "to_wake is not what the finding rests on");
}

/* The word lies in what is in use of the sleeper's stack. */
static bool is_in_frames(const struct qh_coroutine *coroutine,
                         struct raddr address)
{
    uint64_t sp = coroutine->regs.dwarf[QH_REG_RSP];
    uint64_t end = coroutine->stack_start.value + coroutine->stack_bytes;

    return address.value >= sp && address.value < end &&
           end - address.value >= sizeof(uint64_t);
}

/* The timer lies in the sleeper's frames and is a sleep's. */
static struct qh_error *check_timer(const struct qh_rescue_view *view)
{
    const struct qh_rescue_timer *timer = &view->sleep->timer;

    if (!is_in_frames(view->coroutine, timer->address) ||
        !is_in_frames(view->coroutine, timer->expire_at) ||
        !is_in_frames(view->coroutine, timer->next_at)) {
        return qh_refuse(timer->address,
                         "the timer does not lie in the sleeper's frames");
    }
    if (!timer->callback || strcmp(timer->callback, "co_sleep_cb") ||
        !qh_raddr_equal(timer->opaque, view->sleeper->wake)) {
        return qh_refuse(timer->address, "the timer is not this sleeper's");
    }
    return NULL;
}

/* Where the QemuCoSleep is may be known from the timer alone. That it is this
 * sleeper's, its frames say; or else its to_wake. */
static struct qh_error *check_wake(const struct qh_rescue_view *view)
{
    const struct qh_sleeper *sleeper = view->sleeper;

    if (sleeper->frame_wake.value) {
        return qh_raddr_equal(sleeper->frame_wake, sleeper->wake)
                   ? NULL
                   : qh_refuse(sleeper->wake, "the sleeper's frames name "
                                              "another QemuCoSleep than its "
                                              "timer");
    }
    return qh_raddr_equal(view->sleep->to_wake, sleeper->coroutine)
               ? NULL
               : qh_refuse(sleeper->wake, "nothing but the timer tells whose "
                                          "QemuCoSleep this is");
}

static struct qh_error *check_list(const struct qh_rescue_view *view)
{
    const struct qh_rescue_list *list = &view->sleep->list;

    if (!qh_raddr_equal(list->notifies, view->coroutine->context) ||
        !qh_raddr_equal(list->notifies, view->notifier->context)) {
        return qh_refuse(list->address, "the timer list does not belong to "
                                        "the sleeper's context");
    }
    if (list->clock != QH_CLOCK_REALTIME || !list->clock_enabled) {
        return qh_refuse(list->address,
                         "the sleep is not by the realtime clock");
    }
    if (list->lock != 0) {
        return qh_refuse_for_now(list->address, "the timer list is locked");
    }
    return list->done == 0
               ? NULL
               : qh_refuse_for_now(list->address, "the list's timers are being "
                                                  "run");
}

/* An earlier kick was cut short between its words. */
static bool is_half_done(const struct qh_rescue_view *view)
{
    return view->sleep->timer.expire_ns == QH_RESCUE_LONG_AGO_NS;
}

/* Sorted, but for the timer itself where a kick has begun; each of them armed
 * and of this list. */
static struct qh_error *check_chain(const struct qh_rescue_view *view)
{
    const struct qh_rescue_list *list = &view->sleep->list;
    int64_t before_ns = 0;

    for (size_t i = 0; i < list->timer_count; i++) {
        const struct qh_rescue_timer *timer = &list->timers[i];
        if (!qh_raddr_equal(timer->list, list->address)) {
            return qh_refuse(timer->address,
                             "a timer is linked into a list that is not its "
                             "own");
        }
        if (is_half_done(view) &&
            qh_raddr_equal(timer->address, view->sleep->timer.address)) {
            continue;
        }
        if (timer->expire_ns < before_ns) {
            return qh_refuse(timer->address, "the timer list is not sorted");
        }
        before_ns = timer->expire_ns;
    }
    return NULL;
}

/* Armed and linked once, or neither; or on its way there. */
static struct qh_error *check_link(const struct qh_rescue_view *view)
{
    const struct qh_rescue_timer *timer = &view->sleep->timer;
    bool armed = timer->expire_ns >= 0;

    if (view->linked > 1) {
        return qh_refuse(timer->address, "the timer is linked twice");
    }
    if (armed != (view->linked == 1) && !(is_half_done(view) && armed)) {
        return qh_refuse(timer->address, armed ? "the timer is armed, and on "
                                                 "no list"
                                               : "the timer is on its list, "
                                                 "and not armed");
    }
    return NULL;
}

/* Its loop sleeps in its poll, where a notification reaches it. */
static struct qh_error *check_loop(const struct qh_rescue_view *view)
{
    const struct qh_context *context =
        qh_snapshot_context(view->snapshot, view->notifier->context);

    if (!context || !context->tid) {
        return qh_refuse(view->notifier->context,
                         "no thread runs the sleeper's context");
    }
    if (qh_quiet_asleep(view->snapshot, context->tid) != QH_QUIET) {
        return qh_error_tid(
            qh_refuse_for_now(context->address,
                              "thread %d, which runs the context, is not "
                              "asleep",
                              (int)context->tid),
            context->tid);
    }
    return context->notify_me != 0
               ? NULL
               : qh_error_tid(qh_refuse_for_now(context->address,
                                                "thread %d sleeps, but not in "
                                                "the context's poll",
                                                (int)context->tid),
                              context->tid);
}

/* Nobody stands in what touches the words: timers, sleeps, wakes. */
static struct qh_error *check_nobody_there(const struct qh_rescue_view *view)
{
    static const char *const there[] = {
        "timer_init_full",
        "timer_del",
        "timer_del_locked",
        "timer_mod_ns",
        "timer_mod_ns_locked",
        "timer_mod",
        "timer_mod_anticipate_ns",
        "timer_mod_anticipate",
        "timerlist_rearm",
        "timerlist_notify",
        "timerlist_expired",
        "timerlist_deadline_ns",
        "timerlist_run_timers",
        "timerlistgroup_run_timers",
        "timerlistgroup_deadline_ns",
        "qemu_clock_run_timers",
        "qemu_co_sleep_wake",
        "co_sleep_cb",
    };
    enum qh_quiet quiet =
        qh_quiet_threads(view->snapshot, there, QH_COUNT(there));

    switch (quiet) {
    case QH_DISTURBED:
        return qh_refuse_for_now(view->sleep->list.address,
                                 "a thread is inside timer or sleep code");
    case QH_QUIET_UNKNOWN:
        return qh_refuse(view->sleep->list.address,
                         "the stack of a thread cannot be seen whole: it may "
                         "be inside timer code");
    case QH_QUIET:
        break;
    }
    return NULL;
}

struct qh_error *qh_rescue_check_sleep(const struct qh_rescue_view *view)
{
    static struct qh_error *(*const checks[])(const struct qh_rescue_view *) = {
        check_proof, check_parked,      check_to_wake, check_timer,
        check_wake,  check_list,        check_chain,   check_link,
        check_loop,  check_nobody_there
    };

    for (size_t i = 0; i < QH_COUNT(checks); i++) {
        QH_TRY(checks[i](view));
    }
    return NULL;
}

struct qh_error *
qh_rescue_check_notifier(const struct qh_snapshot *snapshot,
                         const struct qh_rescue_notifier *notifier)
{
    const struct qh_context *context =
        qh_snapshot_context(snapshot, notifier->context);

    if (!context) {
        return qh_refuse(notifier->context, "the AioContext is gone");
    }
    if (!notifier->ready || notifier->write_fd < 0 ||
        notifier->read_fd != notifier->write_fd ||
        context->event_fd != notifier->read_fd) {
        return qh_refuse(notifier->address,
                         "the context's notifier is no eventfd in use");
    }
    if (context->event_count < 0 || context->event_count >= QH_EVENTFD_MUCH) {
        return qh_refuse(notifier->address,
                         "the count of the context's eventfd cannot be told, "
                         "or is too high");
    }
    for (size_t i = 0; i < snapshot->context_count; i++) {
        const struct qh_context *other = &snapshot->contexts[i];
        if (other != context && other->event_fd == context->event_fd) {
            return qh_refuse(notifier->address,
                             "two contexts claim the same eventfd");
        }
    }
    return NULL;
}
