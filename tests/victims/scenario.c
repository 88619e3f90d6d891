/* All scenarios, found by place or name.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "scenario.h"

#include <stddef.h>
#include <string.h>

static const struct scenario *const tables[] = {
    sc_sleep_table,
    sc_graph_table,
    sc_busy_table,
    sc_waits_table,
    sc_held_table,
    sc_starved_table,
    sc_cycle_table,
    sc_poll_table,
    sc_queue_table,
    sc_handoff_table,
    sc_stop_table,
    sc_pool_table,
    sc_throttle_table,
    sc_lock_table,
    sc_rcu_table,
    sc_orphan_table,
    sc_users_table,
    sc_monitor_table,
};

#define TABLES (sizeof(tables) / sizeof(tables[0]))

const struct scenario *scenario_at(int i)
{
    for (size_t table = 0; i >= 0 && table < TABLES; table++) {
        const struct scenario *scenario = tables[table];
        for (; scenario->name; scenario++, i--) {
            if (!i) {
                return scenario;
            }
        }
    }
    return NULL;
}

const struct scenario *scenario_find(const char *name)
{
    const struct scenario *scenario;

    for (int i = 0; (scenario = scenario_at(i)); i++) {
        if (!strcmp(scenario->name, name)) {
            return scenario;
        }
    }
    return NULL;
}
