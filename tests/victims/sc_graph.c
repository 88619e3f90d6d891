/* Scenarios of the graph lock: a writer that nobody kicks.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "graph_lock.h"
#include "hold.h"
#include "scenario.h"
#include "stir.h"

static void run_graph_unkicked(struct world *world)
{
    step_reader_stays(world);
    hold_release(CFIX_RDUNLOCK_ENTERED);
    step_iothread_rests(world->io0);
    step_main_waits(world);
    step_check(bdrv_graph_reader_count() == 0, "there is no reader");
    step_check(!qmp_returned(), "blockdev-del hangs");
}

/* Whoever wakes the writer finds the process stopped. */
static void run_graph_unkicked_halts(struct world *world)
{
    run_graph_unkicked(world);
    hold_arm(CFIX_POLL_RETURNED, world->main_tid, HOLD_HALT);
}

static void run_graph_unkicked_stirred(struct world *world)
{
    run_graph_unkicked(world);
    stir_at_stops(world);
}

static void run_graph_unkicked_twin(struct world *world)
{
    step_reader_stays(world);
    hold_release(CFIX_RDUNLOCK_ENTERED);
    step_went_on(world);
}

const struct scenario sc_graph_table[] = {
    {
        .name = "graph-unkicked",
        .about = "the last reader left without kicking the writer",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_graph_unkicked,
    },
    {
        .name = "graph-unkicked-halts",
        .about = "the same, and the writer stops the process when it wakes",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_graph_unkicked_halts,
    },
    {
        .name = "graph-unkicked-stirred",
        .about = "the same, and the first stops make a thread notify",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_graph_unkicked_stirred,
    },
    {
        .name = "graph-unkicked-twin",
        .about = "the same interleaving, fixed lock",
        .coroutines = 1,
        .fixed = true,
        .run = run_graph_unkicked_twin,
    },
    { .name = NULL },
};
