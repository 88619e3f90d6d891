/* Scenarios of the graph lock: a writer that nobody kicks.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "graph_lock.h"
#include "hold.h"
#include "scenario.h"

/*
 * The last reader is held as it is about to unlock.  The node is open by then,
 * blockdev-add returns; closing the node needs the lock for writing, and the
 * main thread polls.  Then the reader leaves.
 */
static void reader_leaves_last(struct world *world)
{
    hold_arm(CFIX_RDUNLOCK_ENTERED, world->io0->thread_id, HOLD_SLEEP);
    step_open_node(world, 0);
    hold_wait(CFIX_RDUNLOCK_ENTERED);
    step_close_node(world);
    step_main_waits(world);
    hold_release(CFIX_RDUNLOCK_ENTERED);
}

void run_graph_unkicked(struct world *world)
{
    reader_leaves_last(world);
    step_iothread_rests(world->io0);
    step_main_waits(world);
    step_check(bdrv_graph_reader_count() == 0, "there is no reader");
    step_check(!qmp_returned(), "blockdev-del hangs");
}

void run_graph_unkicked_twin(struct world *world)
{
    reader_leaves_last(world);
    qmp_wait_returned();
    step_main_rests(world);
    step_iothread_rests(world->io0);
}
