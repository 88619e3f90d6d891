/* The table of rules, worst first.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose/rules.h"

const struct qh_rule qh_rules[] = {
    { "sleep.erased", qh_rule_sleep_erased },
    { "graph.writer-unkicked", qh_rule_graph_writer_unkicked },
    { "lock.cycle", qh_rule_lock_cycle },
    { "lock.owner-gone", qh_rule_lock_owner_gone },
    { "comutex.handoff-lost", qh_rule_comutex_handoff_lost },
    { "corwlock.stalled", qh_rule_corwlock_stalled },
    { "iothread.stop-unkicked", qh_rule_iothread_stop_unkicked },
    { "threadpool.idle-worker", qh_rule_threadpool_idle_worker },
    { "throttle.timer-unarmed", qh_rule_throttle_timer_unarmed },
    { "wait.condition-met", qh_rule_wait_condition_met },
    { "aio.queued-unnotified", qh_rule_aio_queued_unnotified },
    { "timer.expired-unserved", qh_rule_timer_expired_unserved },
    { "coroutine.orphan", qh_rule_coroutine_orphan },
    { "io.lost-completion", qh_rule_io_lost_completion },
    { "sleep.wake-lost", qh_rule_sleep_wake_lost },
    { "monitor.suspended", qh_rule_monitor_suspended },
    { "kernel.stuck", qh_rule_kernel_stuck },
    { "rcu.stalled", qh_rule_rcu_stalled },
};
const size_t qh_rule_count = QH_COUNT(qh_rules);

const char *const qh_fixed_in[] = { "10.0.13", "11.1" };
const size_t qh_fixed_in_count = QH_COUNT(qh_fixed_in);
