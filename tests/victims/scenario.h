/* Scenarios: states that a victim brings itself into.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VICTIMS_SCENARIO_H
#define VICTIMS_SCENARIO_H

/*
 * A scenario is a script that runs in a thread of its own, beside the main
 * thread with its loop and two iothreads with theirs.  It sends commands to
 * the miniature monitor, holds threads at windows and lets them go, until the
 * state that it is named after is there, and then returns.  Only then is
 * "ready" printed.  One file for each group of scenarios; all of them are in
 * the table in scenario.c.
 */
#include <stdbool.h>

#include "block.h"
#include "qmp.h"
#include "runtime/iothread.h"

/* All that a script acts upon.  Filled in before it starts. */
struct world {
    /* Runs the node; runs what --coroutines parks. */
    struct IOThread *io0;
    struct IOThread *io1;
    int main_tid;
    /* Seconds; the scenario's own default unless given. */
    unsigned long interval;
    /* The arguments of the commands that the script sends. */
    struct qmp_node add;
    struct qmp_node del;
};

enum scenario_end {
    /* The main loop is free, now or once release() was called: the program
     * can end in order. */
    END_IN_ORDER,
    /* The main thread is stuck, and stays so: the program just exits. */
    END_STUCK
};

struct scenario {
    const char *name;
    /* One line, for --help. */
    const char *about;
    /* Coroutines in use when ready, without --coroutines; -1 if it varies. */
    int coroutines;
    /* Linked with the fixed primitives instead of the faulty ones. */
    bool fixed;
    enum scenario_end end;
    unsigned long interval;
    /* In the main thread, before there are others; may be NULL. */
    void (*prepare)(void);
    void (*run)(struct world *world);
    /* Lets go what is held, and waits for the main loop; may be NULL. */
    void (*release)(struct world *world);
};

/* By name; NULL if there is none. */
const struct scenario *scenario_find(const char *name);

/* The i-th of the table; NULL behind the last. */
const struct scenario *scenario_at(int i);

/* --- what scripts have in common (steps.c) --- */

/* Opens the node "q0" in io0 and waits until that is done. */
void step_open_node(struct world *world, unsigned long interval);

/* Sends blockdev-del for it and does not wait. */
void step_close_node(struct world *world);

/* Returns when the main thread sleeps in a wait loop's poll, nothing queued. */
void step_main_waits(struct world *world);

/* Returns when that iothread sleeps in its poll, nothing queued. */
void step_iothread_rests(struct IOThread *iothread);

/* Returns when the main thread is in its main loop's poll, nothing queued. */
void step_main_rests(struct world *world);

/* The qcow2 state of the node; valid while the main thread rests or is stuck
 * in closing it. */
struct BDRVQcow2State *step_qcow2(struct world *world);

/*
 * After the last look at, or change to, what belongs to threads at rest: orders
 * it before all that they will do when they next wake.  They pass notify_me on
 * their way out of a poll; without this a formal data race, which
 * ThreadSanitizer reports, is left.
 */
void step_looked(struct world *world);

/* Opens the node, whose last reader is then held just before it unlocks, and
 * closes it, for which the main thread polls.  The caller releases
 * CFIX_RDUNLOCK_ENTERED. */
void step_reader_stays(struct world *world);

/* Waits for blockdev-del's return and for the main thread and io0 to rest. */
void step_went_on(struct world *world);

/* Ends the program with status 1 unless `holds`: the state was not reached. */
void step_check(bool holds, const char *what);

/* --- the scripts --- */
void run_idle(struct world *world);
void run_timer_waiting(struct world *world);
void run_wake_lost(struct world *world);
void run_erased(struct world *world);
void run_erased_fired(struct world *world);
void run_wake_lost_twin(struct world *world);
void run_erased_twin(struct world *world);
void run_graph_unkicked(struct world *world);
void run_graph_unkicked_twin(struct world *world);
void run_mid_wake(struct world *world);
void run_mid_wake_spin(struct world *world);
void run_mid_wake_entered(struct world *world);
void run_mid_kick(struct world *world);
void run_mid_notify(struct world *world);
void run_mid_notify_wake(struct world *world);
void run_runnable(struct world *world);
void run_runnable_late(struct world *world);
void release_held(struct world *world);
void prepare_starved(void);
void run_starved(struct world *world);
void release_starved(struct world *world);
void run_waits(struct world *world);
void release_waits(struct world *world);
void run_condition_met(struct world *world);
void run_condition_met_twin(struct world *world);
void run_drain_unkicked(struct world *world);
void run_drain_unread(struct world *world);
void run_drain_waiting(struct world *world);
void run_request_lost(struct world *world);
void release_drain(struct world *world);
void run_stop_cures(struct world *world);
void run_stop_cures_twin(struct world *world);
void run_bh_unnotified(struct world *world);
void run_bh_idle(struct world *world);
void run_timer_unserved(struct world *world);
void run_timer_served(struct world *world);
void run_handoff_lost(struct world *world);
void release_handoff(struct world *world);
void run_handoff_unwoken(struct world *world);
void run_handoff_twin(struct world *world);
void run_mid_handoff(struct world *world);
void release_mid_handoff(struct world *world);
void run_handoff_behind(struct world *world);
void release_busy_one(struct world *world);
void run_handoff_queued(struct world *world);
void run_rwlock_stalled(struct world *world);
void release_rwlock(struct world *world);
void run_rwlock_twin(struct world *world);
void run_mid_rwlock(struct world *world);
void release_mid_rwlock(struct world *world);
void run_stop_unkicked(struct world *world);
void run_stop_busy(struct world *world);
void release_stop_busy(struct world *world);
void run_mid_stop(struct world *world);
void release_mid_stop(struct world *world);
void run_pool_idle(struct world *world);
void release_pool(struct world *world);
void run_pool_busy(struct world *world);
void run_mid_pool(struct world *world);
void run_throttle_unarmed(struct world *world);
void release_throttle(struct world *world);
void run_throttle_armed(struct world *world);
void run_mid_throttle(struct world *world);
void release_mid_throttle(struct world *world);
void run_owner_gone(struct world *world);
void run_owner_self(struct world *world);
void run_owner_asleep(struct world *world);
void run_bql_asleep(struct world *world);
void release_lock(struct world *world);
void run_kernel_stuck(struct world *world);
void run_kernel_alone(struct world *world);
void release_kernel(struct world *world);
void run_rcu_stalled(struct world *world);
void run_rcu_running(struct world *world);
void release_rcu(struct world *world);
void run_copy_lost(struct world *world);
void run_copy_twin(struct world *world);
void release_copy(struct world *world);
void run_timeout_lost(struct world *world);
void run_timeout_twin(struct world *world);
void release_timeout(struct world *world);
void run_orphan(struct world *world);
void run_orphan_kept(struct world *world);
void run_orphan_taken(struct world *world);
void run_orphan_kernel(struct world *world);
void release_orphan(struct world *world);
void run_busy(struct world *world);
void release_busy(struct world *world);
void run_mutex_cycle(struct world *world);
void run_mutex_order(struct world *world);
void release_mutex_order(struct world *world);
void run_co_mutex_cycle(struct world *world);
void run_co_mutex_order(struct world *world);
void release_co_mutex_order(struct world *world);
void run_bql_cycle(struct world *world);
void run_bql_order(struct world *world);
void release_bql_order(struct world *world);

#endif
