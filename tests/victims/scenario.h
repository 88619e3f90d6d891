/* Scenarios: states that a victim brings itself into.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VICTIMS_SCENARIO_H
#define VICTIMS_SCENARIO_H

/*
 * A scenario is a script that runs in a thread of its own, beside the main
 * thread with its loop and two iothreads with theirs.  It sends commands to
 * the miniature monitor, holds threads at windows and lets them go, until the
 * state that it is named after is there, and then returns.  Only then is
 * "ready" printed.  One file for each group of scenarios, with a table of them
 * at its end.
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

/* Long enough for no timer to fire while anybody looks; QEMU's default. */
#define LONG_SLEEP 600

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
    /* Coroutines in use when ready, without --coroutines; -1 if it varies. The
     * dispatcher is always there; a cleaner and who waits for it are more. */
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

/* The scenarios of one file, up to one without a name. */
extern const struct scenario sc_sleep_table[];
extern const struct scenario sc_graph_table[];
extern const struct scenario sc_busy_table[];
extern const struct scenario sc_waits_table[];
extern const struct scenario sc_held_table[];
extern const struct scenario sc_starved_table[];
extern const struct scenario sc_cycle_table[];
extern const struct scenario sc_poll_table[];
extern const struct scenario sc_queue_table[];
extern const struct scenario sc_handoff_table[];
extern const struct scenario sc_stop_table[];
extern const struct scenario sc_pool_table[];
extern const struct scenario sc_throttle_table[];
extern const struct scenario sc_lock_table[];
extern const struct scenario sc_rcu_table[];
extern const struct scenario sc_orphan_table[];
extern const struct scenario sc_users_table[];
extern const struct scenario sc_monitor_table[];

/* By name; NULL if there is none. */
const struct scenario *scenario_find(const char *name);

/* The i-th of all; NULL behind the last. */
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

/* Opens the node, whose cleaner is held when it is about to arm, and closes it:
 * the main thread wakes the cleaner and waits for its end; only then does that
 * one arm. */
void step_wake_before_arm(struct world *world);

/* Opens the node, whose last reader is then held just before it unlocks, and
 * closes it, for which the main thread polls.  The caller releases
 * CFIX_RDUNLOCK_ENTERED. */
void step_reader_stays(struct world *world);

/* Waits for blockdev-del's return and for the main thread and io0 to rest. */
void step_went_on(struct world *world);

/* Has the main loop, or the wait within it, turn a hundred times a second, until
 * told otherwise. */
void step_main_turns(void);
void step_main_turns_no_more(void);

/* Ends the program with status 1 unless `holds`: the state was not reached. */
void step_check(bool holds, const char *what);

#endif
