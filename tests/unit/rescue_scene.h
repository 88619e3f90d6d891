/* A sleeper that a kick could wake, for the tests of rescue/'s plans.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All is as it has to be; a test changes one thing, and looks what the plan
 * makes of that.
 */
#ifndef TEST_RESCUE_SCENE_H
#define TEST_RESCUE_SCENE_H

#include "diagnose_world.h"
#include "rescue/rescue.h"

#define S_NS INT64_C(1000000000)

enum {
    STACK = 0x7f8e34200000,
    STACK_BYTES = 0x101000,
    LIST = 0x3000,
    FIRST_AT = LIST + 56,
    FIRST = 0x4000,
    SECOND = 0x4100,
    EXPIRE = 0, /* offsets of a QEMUTimer's members */
    NEXT = 32
};

/* The world, its one finding, and the words around it. */
struct scene {
    struct world *world;
    struct qh_findings *findings;
    struct qh_finding finding;
    struct qh_rescue_sleep sleep;
    struct qh_rescue_notifier notifier;
    struct qh_rescue_timer timers[3];
};

/* Set-up of a test: a wake that was lost, and a sleeper that was erased. */
int scene_lost(void **state);
int scene_erased(void **state);
int scene_tear_down(void **state);

/* A timer of the sleeper's list; `next` is the address of the one behind. */
struct qh_rescue_timer scene_timer(uint64_t address, int64_t expire_ns,
                                   uint64_t next);
/* Puts two earlier timers before the sleeper's. */
void scene_put_behind(struct scene *scene);
/* As co_sleep_cb() leaves it that found nobody to wake; `others`: 0 or 1 timers
 * that are still on the list. */
void scene_let_fire(struct scene *scene, size_t others);

/* The plan; it fails the test if there is none. */
struct qh_rescue_plan scene_plan_of(struct scene *scene);
/* There is none, and it says `words`. */
void scene_assert_refused(struct scene *scene, const char *words);

#endif
