/* Snapshots written by hand, for the tests of rules and reports.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A world is a small QEMU with a main thread and iothread io0, each asleep in
 * its poll, brought into one of the three faults. A test changes one thing in
 * it and looks what the rules make of that.
 */
#ifndef TEST_DIAGNOSE_WORLD_H
#define TEST_DIAGNOSE_WORLD_H

#include "report/report.h"

enum { WORLD_MAIN_TID = 100, WORLD_IO0_TID = 101, WORLD_OTHER_TID = 102 };

struct world {
    struct qh_snapshot *snapshot;
    /* Into the snapshot's arrays. */
    struct qh_thread *main, *io0, *other;
    struct qh_context *main_context, *io0_context;
    struct qh_coroutine *cleaner, *waiter;
    struct qh_sleeper *sleeper;
};

/* A QEMU in which everybody sleeps and nobody waits; never fails. */
struct world *world_quiet(void);
/* The cleaner of a qcow2 node was told to stop while armed, 579 s ahead. */
struct world *world_wake_lost(void);
/* The same, but to_wake is NULL. */
struct world *world_erased(void);
/* The main thread polls for the graph lock, and no reader is left. */
struct world *world_graph(void);
void world_destroy(struct world *world);

/* Adds a wait of that thread, or else of that coroutine; the caller fills in
 * the rest. Earlier ones may move. */
struct qh_wait *world_wait(struct world *world, enum qh_wait_kind kind,
                           pid_t tid, uint64_t coroutine);
/* Adds a thread's wait for a mutex that `owner` holds. */
struct qh_wait *world_wait_mutex(struct world *world, pid_t tid, uint64_t mutex,
                                 pid_t owner);
/* Adds the first timer of a list, realtime, so far from now; context 0: the
 * main loop's own. Earlier ones may move. */
struct qh_timer *world_timer(struct world *world, struct raddr context,
                             int64_t left_ns);
/* Adds a suspended coroutine of io0's context. Earlier ones may move. */
struct qh_coroutine *world_coroutine(struct world *world, uint64_t address,
                                     const char *entry);

/* A stack with these functions, innermost first, up to NULL. */
void world_stack(struct world *world, struct qh_backtrace *stack, ...)
    __attribute__((sentinel));

/* The findings of the world; the caller destroys them. */
struct qh_findings *world_diagnose(const struct world *world);

/* The wait-for graph of the world with its findings; the caller destroys it. */
struct qh_wait_graph *world_wait_graph(const struct world *world);
/* Asserts that the chain has these names, from its start, up to NULL. */
void world_assert_chain(const struct qh_wait_graph *graph, ...)
    __attribute__((sentinel));

/* A report on the world, after two samples; ended by the other. */
struct qh_report world_report(const struct world *world);
void world_report_deinit(struct qh_report *report);

/* Asserts that there is exactly one finding, of that rule and certainty. */
void world_assert_finding(const struct world *world, const char *rule,
                          enum qh_certainty certainty);
/* The waiter of the only finding; asserts that there is one. */
pid_t world_waiter(const struct world *world);
/* Asserts that there is none, and whether another look is asked for. */
void world_assert_none(const struct world *world, bool unsettled);

#endif
