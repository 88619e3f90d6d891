/* The table of scenarios.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "scenario.h"

#include <stddef.h>
#include <string.h>

/* Long enough for no timer to fire while anybody looks; QEMU's default. */
#define LONG_SLEEP 600

/* Coroutines: the dispatcher is always there; a cleaner; the coroutine that
 * waits for the cleaner. */
static const struct scenario scenarios[] = {
    {
        .name = "idle",
        .about = "nothing to do, nobody asleep",
        .coroutines = 1,
        .run = run_idle,
    },
    {
        .name = "timer-waiting",
        .about = "a cleaner sleeps, and nobody has asked it to stop",
        .coroutines = 2,
        .interval = LONG_SLEEP,
        .run = run_timer_waiting,
    },
    {
        .name = "wake-lost",
        .about = "the cleaner was woken before it had armed",
        .coroutines = 3,
        .end = END_STUCK,
        .interval = LONG_SLEEP,
        .run = run_wake_lost,
    },
    {
        .name = "wake-lost-twin",
        .about = "the same interleaving, fixed primitive",
        .coroutines = 1,
        .fixed = true,
        .interval = LONG_SLEEP,
        .run = run_wake_lost_twin,
    },
    {
        .name = "erased",
        .about = "the cleaner armed between a wake's load and store",
        .coroutines = 3,
        .end = END_STUCK,
        .interval = LONG_SLEEP,
        .run = run_erased,
    },
    {
        .name = "erased-fired",
        .about = "the same, and its timer has fired in vain",
        .coroutines = 3,
        .end = END_STUCK,
        .interval = 1,
        .run = run_erased_fired,
    },
    {
        .name = "erased-twin",
        .about = "the same interleaving, fixed primitive",
        .coroutines = 1,
        .fixed = true,
        .interval = LONG_SLEEP,
        .run = run_erased_twin,
    },
    {
        .name = "graph-unkicked",
        .about = "the last reader left without kicking the writer",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_graph_unkicked,
    },
    {
        .name = "graph-unkicked-twin",
        .about = "the same interleaving, fixed lock",
        .coroutines = 1,
        .fixed = true,
        .run = run_graph_unkicked_twin,
    },
};

#define SCENARIOS ((int)(sizeof(scenarios) / sizeof(scenarios[0])))

const struct scenario *scenario_at(int i)
{
    return i >= 0 && i < SCENARIOS ? &scenarios[i] : NULL;
}

const struct scenario *scenario_find(const char *name)
{
    for (int i = 0; i < SCENARIOS; i++) {
        if (!strcmp(scenarios[i].name, name)) {
            return &scenarios[i];
        }
    }
    return NULL;
}
