/* What both sleep rules ask of a sleeper, and say about it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose/sleep.h"

#include <inttypes.h>
#include <string.h>

/* A timer that is overdue by less may just have been slept past: loops that
 * count in milliseconds, a busy machine. */
#define SERVED_LATE_NS INT64_C(100000000)

/* A thread of which nothing is known but that it may run. */
static bool is_unseen(const struct qh_thread *thread)
{
    return thread && thread->state == QH_THREAD_RUNNABLE &&
           !thread->stack.count;
}

bool qh_sleep_view(const struct qh_snapshot *snapshot,
                   const struct qh_sleeper *sleeper, struct qh_sleep_view *ret,
                   bool *ret_running)
{
    const struct qh_coroutine *coroutine =
        qh_snapshot_coroutine(snapshot, sleeper->coroutine);
    const struct qh_context *context =
        coroutine ? qh_snapshot_context(snapshot, coroutine->context) : NULL;
    const struct qh_thread *home =
        context ? qh_snapshot_thread(snapshot, context->tid) : NULL;

    *ret_running =
        coroutine && (coroutine->state == QH_CO_RUNNING ||
                      coroutine->state == QH_CO_ENTERED || is_unseen(home));
    if (!coroutine || *ret_running || coroutine->state != QH_CO_SUSPENDED ||
        !coroutine->scheduled ||
        strcmp(coroutine->scheduled, "qemu_co_sleep_ns")) {
        return false;
    }
    *ret = (struct qh_sleep_view){
        .snapshot = snapshot,
        .sleeper = sleeper,
        .coroutine = coroutine,
        .context = context,
        .home = home,
        .cleaner =
            sleeper->user == QH_USER_QCOW2_CACHE_CLEANER && sleeper->has_cleaner
                ? &sleeper->cleaner
                : NULL,
    };
    return true;
}

enum qh_quiet qh_sleep_wake_quiet(const struct qh_snapshot *snapshot)
{
    /* The whole of the wake that matters here: once to_wake is cleared and
     * `scheduled` too, the coroutine no longer counts as parked. */
    static const char *const wake[] = { "qemu_co_sleep_wake", "co_sleep_cb" };

    return qh_quiet_functions(snapshot, wake, QH_COUNT(wake));
}

/* How still a coroutine is that waits in cache_clean_timer_exit. */
static enum qh_quiet waiter_quiet(const struct qh_snapshot *snapshot,
                                  struct raddr address)
{
    const struct qh_coroutine *waiter =
        qh_snapshot_coroutine(snapshot, address);

    if (!waiter) {
        return QH_QUIET_UNKNOWN;
    }
    return waiter->state == QH_CO_SUSPENDED && !waiter->scheduled
               ? QH_QUIET
               : QH_DISTURBED;
}

enum qh_quiet qh_sleep_waiters_quiet(const struct qh_sleep_view *view)
{
    /* A second one who comes to stop the cleaner, on the way to its wake. Only
     * threads: the waiters themselves are parked in there. */
    static const char *const stop[] = {
        "cache_clean_timer_co_locked_del_and_wait"
    };
    enum qh_quiet quiet = QH_QUIET;

    if (!view->cleaner) {
        return quiet;
    }
    for (size_t i = 0; i < view->cleaner->waiter_count; i++) {
        quiet = qh_quiet_worse(
            quiet, waiter_quiet(view->snapshot, view->cleaner->waiters[i]));
    }
    if (view->cleaner->waiter_tid) {
        quiet = qh_quiet_worse(
            quiet, qh_quiet_asleep(view->snapshot, view->cleaner->waiter_tid));
    }
    return qh_quiet_worse(
        quiet, qh_quiet_threads(view->snapshot, stop, QH_COUNT(stop)));
}

enum qh_quiet qh_sleep_timer_quiet(const struct qh_sleep_view *view)
{
    static const char *const serve[] = { "timerlist_run_timers" };
    const struct qh_sleeper *sleeper = view->sleeper;
    bool overdue = sleeper->left_ns != QH_TIME_UNKNOWN && sleeper->left_ns <= 0;

    if (!sleeper->timer.value || (sleeper->timer_linked && !overdue)) {
        return QH_QUIET;
    }
    enum qh_quiet quiet =
        qh_quiet_threads(view->snapshot, serve, QH_COUNT(serve));
    if (!overdue || !sleeper->timer_linked) {
        return quiet;
    }
    if (view->home) {
        quiet = qh_quiet_worse(
            quiet, qh_quiet_asleep(view->snapshot, view->home->tid));
    }
    /* In a core the time is a guess, and nothing will be served any more. */
    if (view->snapshot->kind != QH_TARGET_CORE &&
        sleeper->left_ns > -SERVED_LATE_NS) {
        quiet = QH_DISTURBED;
    }
    return quiet;
}

bool qh_sleep_timer_lost(const struct qh_sleeper *sleeper)
{
    return sleeper->timer.value && !sleeper->timer_linked &&
           sleeper->expire_ns != QH_TIME_UNKNOWN;
}

bool qh_sleep_cleaner_awaited(const struct qh_sleep_view *view)
{
    const struct qh_cache_cleaner *cleaner = view->cleaner;

    return cleaner && cleaner->interval_s == 0 && cleaner->waiter_count &&
           qh_raddr_equal(cleaner->timer_co, view->sleeper->coroutine);
}

static uint64_t fingerprint_of(const struct qh_sleep_view *view)
{
    const struct qh_sleeper *sleeper = view->sleeper;
    uint64_t print = QH_FINGERPRINT;

    print = qh_fingerprint_mix(print, sleeper->coroutine.value);
    print = qh_fingerprint_mix(print, sleeper->wake.value);
    print = qh_fingerprint_mix(print, sleeper->to_wake.value);
    print = qh_fingerprint_mix(print, sleeper->timer.value);
    print = qh_fingerprint_mix(print, (uint64_t)sleeper->expire_ns);
    print = qh_fingerprint_stack(print, &view->coroutine->stack);
    if (view->cleaner) {
        print = qh_fingerprint_mix(print, view->cleaner->state.value);
        print = qh_fingerprint_mix(print, view->cleaner->interval_s);
        print = qh_fingerprint_mix(print, (uint64_t)view->cleaner->waiter_tid);
    }
    return print;
}

void qh_sleep_describe(const struct qh_sleep_view *view,
                       struct qh_finding *finding)
{
    finding->coroutine = view->sleeper->coroutine;
    finding->tid = view->home ? view->home->tid : 0;
    finding->heals_in_ns = QH_TIME_UNKNOWN;
    finding->fixed_in = qh_fixed_in;
    finding->fixed_in_count = qh_fixed_in_count;
    finding->fingerprint = fingerprint_of(view);
    finding->user = qh_sleep_user_name(view->sleeper->user);
    if (qh_sleep_cleaner_awaited(view)) {
        finding->waiter = view->cleaner->waiter_tid;
    }
}

struct qh_error *qh_sleep_cleaner_evidence(const struct qh_sleep_view *view,
                                           struct qh_findings *findings,
                                           struct qh_finding *finding)
{
    const struct qh_cache_cleaner *cleaner = view->cleaner;

    if (!qh_sleep_cleaner_awaited(view)) {
        return NULL;
    }
    QH_TRY(qh_evidence_add(findings, finding,
                           "cache_clean_interval = 0: told to stop",
                           cleaner->interval_address, "0"));
    return qh_evidence_add(
        findings, finding,
        qh_arena_printf(
            &findings->arena, "cache_clean_timer_exit: %zu wait%s for it",
            cleaner->waiter_count, cleaner->waiter_count == 1 ? "s" : ""),
        cleaner->exit_queue, qh_hex(findings, cleaner->waiters[0].value));
}

const char *qh_hex(struct qh_findings *findings, uint64_t value)
{
    return qh_arena_printf(&findings->arena, "0x%" PRIx64, value);
}

const char *qh_sleep_home_name(const struct qh_sleep_view *view)
{
    if (view->home && view->home->iothread) {
        return view->home->iothread;
    }
    return view->context && view->context->name ? view->context->name
                                                : "its context";
}

struct qh_error *qh_sleep_each(
    const struct qh_snapshot *snapshot, struct qh_findings *findings,
    struct qh_error *(*judge)(const struct qh_snapshot *snapshot,
                              const struct qh_sleeper *sleeper,
                              enum qh_quiet wake, struct qh_findings *findings))
{
    enum qh_quiet wake = qh_sleep_wake_quiet(snapshot);

    for (size_t i = 0; i < snapshot->sleeper_count; i++) {
        QH_TRY(judge(snapshot, &snapshot->sleepers[i], wake, findings));
    }
    return NULL;
}
