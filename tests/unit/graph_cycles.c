/* The cycles of the wait-for graph: Tarjan's against a plain closure.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose/graph_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SMALL = 9 };

static void fill_random(struct qh_wait_graph *graph, unsigned seed,
                        bool reach[SMALL][SMALL])
{
    static struct qh_wait_node nodes[SMALL];
    static struct qh_wait_edge edges[SMALL * SMALL];
    unsigned short state[3] = { (unsigned short)seed, 4, 7 };

    memset(nodes, 0, sizeof(nodes));
    memset(reach, 0, SMALL * sizeof(*reach));
    *graph = (struct qh_wait_graph){ .nodes = nodes,
                                     .node_count = SMALL,
                                     .edges = edges };
    for (size_t from = 0; from < SMALL; from++) {
        nodes[from].first_edge = graph->edge_count;
        for (size_t to = 0; to < SMALL; to++) {
            long dice = nrand48(state) % 20;
            if (dice > 3) {
                continue;
            }
            edges[graph->edge_count++] =
                (struct qh_wait_edge){ from, to, "",
                                       dice == 3 ? QH_SUSPECT : QH_PROOF };
            reach[from][to] = dice != 3;
            nodes[from].edge_count++;
        }
    }
    for (size_t k = 0; k < SMALL; k++) {
        for (size_t i = 0; i < SMALL; i++) {
            for (size_t j = 0; j < SMALL; j++) {
                reach[i][j] |= reach[i][k] && reach[k][j];
            }
        }
    }
}

/* Each node once, each waiting for the next for sure. */
static void check_cycle(const struct qh_wait_graph *graph,
                        const struct qh_wait_cycle *cycle)
{
    bool seen[SMALL] = { false };

    for (size_t i = 0; i < cycle->count; i++) {
        size_t at = cycle->nodes[i];
        const struct qh_wait_edge *edge =
            qh_wait_graph_edge(graph, at, cycle->nodes[(i + 1) % cycle->count]);
        assert_false(seen[at]);
        seen[at] = true;
        assert_non_null(edge);
        assert_true(edge->certainty > QH_SUSPECT);
    }
}

static void cycles_of_random_graphs(void **state)
{
    size_t with_cycle = 0;

    for (unsigned seed = 0; seed < 2000; seed++) {
        bool reach[SMALL][SMALL];
        struct qh_wait_graph graph;
        fill_random(&graph, seed, reach);
        assert_null(qh_graph_find_cycles(&graph));
        for (size_t i = 0; i < graph.cycle_count; i++) {
            check_cycle(&graph, &graph.cycles[i]);
        }
        with_cycle += graph.cycle_count > 0;
        for (size_t node = 0; node < SMALL; node++) {
            size_t near = 0; /* cycles of its component */
            for (size_t i = 0; i < graph.cycle_count; i++) {
                size_t other = graph.cycles[i].nodes[0];
                near += reach[node][other] && reach[other][node];
            }
            assert_int_equal(near, reach[node][node] ? 1 : 0);
        }
        qh_arena_deinit(&graph.arena);
    }
    assert_in_range(with_cycle, 200, 1990); /* both kinds were tried */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cycles_of_random_graphs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
