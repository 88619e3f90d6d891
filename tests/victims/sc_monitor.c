/* Scenarios of a QMP monitor that takes in no command.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <stddef.h>

#include "monitor.h"
#include "scenario.h"

/* Left behind by a connection that was closed with its request still queued. */
static void run_monitor_suspended(struct world *world)
{
    step_main_rests(world);
    monitor_suspend();
    step_looked(world);
}

static void release_monitor(struct world *world)
{
    monitor_resume();
}

const struct scenario sc_monitor_table[] = {
    {
        .name = "monitor-suspended",
        .about = "no request, none served, and the monitor is suspended",
        .coroutines = 1,
        .run = run_monitor_suspended,
        .release = release_monitor,
    },
    { .name = NULL },
};
