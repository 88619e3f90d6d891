/* The wait-for graph: edges, cycles, roots, the chain, what is drawn.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose/graph_build.h"
#include "diagnose_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { MUTEX_A = 0xa000, MUTEX_B = 0xb000, CO_ONE = 0x10000, CO_TWO = 0x20000 };

/* The names around the only cycle, which may begin anywhere. */
static void assert_cycle(const struct qh_wait_graph *graph,
                         enum qh_certainty certainty, ...)
{
    const struct qh_wait_cycle *cycle;
    const char *name;
    size_t start = 0, count = 0;
    va_list names;

    assert_int_equal(graph->cycle_count, 1);
    cycle = &graph->cycles[0];
    assert_int_equal(cycle->certainty, certainty);
    va_start(names, certainty);
    while ((name = va_arg(names, const char *))) {
        while (!count && start < cycle->count &&
               strcmp(graph->nodes[cycle->nodes[start]].name, name) != 0) {
            start++;
        }
        assert_in_range(count, 0, cycle->count - 1);
        size_t at = cycle->nodes[(start + count++) % cycle->count];
        assert_string_equal(graph->nodes[at].name, name);
        assert_int_equal(graph->nodes[at].cycle, 1);
    }
    va_end(names);
    assert_int_equal(cycle->count, count);
}

static void quiet_world_waits_for_nobody(void **state)
{
    struct world *world = world_quiet();
    struct qh_wait_graph *graph = world_wait_graph(world);

    assert_int_equal(graph->node_count, world->snapshot->thread_count);
    assert_int_equal(graph->edge_count, 0);
    assert_int_equal(graph->cycle_count, 0);
    assert_int_equal(graph->root_count, 0);
    assert_int_equal(graph->chain_count, 0);
    assert_int_equal(qh_wait_graph_size(graph), 0);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

static void chain_leads_to_the_sleeper(void **state)
{
    struct world *world = world_wake_lost();
    struct qh_wait_graph *graph = world_wait_graph(world);

    world_assert_chain(graph, "main thread 100",
                       "coroutine 0x557969767040 "
                       "cache_clean_timer_del_and_wait_co_entry",
                       "CoQueue cache_clean_timer_exit",
                       "coroutine 0x7f8e280039c0 cache_clean_timer",
                       "timer, fires in 579 s", NULL);
    assert_int_equal(graph->nodes[graph->chain[3]].finding, 1);
    assert_int_equal(graph->nodes[graph->chain[0]].finding, 0);
    assert_int_equal(graph->root_count, 1);
    assert_int_equal(graph->roots[0], graph->chain[4]);
    assert_int_equal(graph->cycle_count, 0);
    for (size_t i = 0; i + 1 < graph->chain_count; i++) {
        assert_non_null(
            qh_wait_graph_edge(graph, graph->chain[i], graph->chain[i + 1]));
        assert_null(
            qh_wait_graph_edge(graph, graph->chain[i + 1], graph->chain[i]));
    }
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

static struct world *abba(void)
{
    struct world *world = world_quiet();

    world_wait_mutex(world, WORLD_IO0_TID, MUTEX_A, WORLD_OTHER_TID);
    world_wait_mutex(world, WORLD_OTHER_TID, MUTEX_B, WORLD_IO0_TID);
    return world;
}

static void crossed_mutexes_are_a_cycle(void **state)
{
    struct world *world = abba();
    struct qh_wait_graph *graph = world_wait_graph(world);

    assert_cycle(graph, QH_PROOF, "iothread io0 (101)", "mutex 0xa000",
                 "worker thread 102 (qemu-storage-da)", "mutex 0xb000", NULL);
    assert_int_equal(graph->root_count, 0);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

static void chain_ends_at_the_cycle(void **state)
{
    struct world *world = abba();

    world_wait_mutex(world, WORLD_MAIN_TID, 0xc000, WORLD_OTHER_TID);
    struct qh_wait_graph *graph = world_wait_graph(world);
    world_assert_chain(graph, "main thread 100", "mutex 0xc000",
                       "worker thread 102 (qemu-storage-da)", NULL);
    assert_int_equal(graph->nodes[graph->chain[0]].cycle, 0);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

/* Somebody else may signal: a circle of these proves nothing. */
static void circle_of_conditions_is_no_cycle(void **state)
{
    struct world *world = world_quiet();
    struct qh_wait *wait = world_wait(world, QH_WAIT_COND, WORLD_IO0_TID, 0);

    wait->object = qh_raddr(MUTEX_A);
    wait->owner_tid = WORLD_MAIN_TID;
    wait = world_wait(world, QH_WAIT_COND, WORLD_MAIN_TID, 0);
    wait->object = qh_raddr(MUTEX_B);
    wait->owner_tid = WORLD_IO0_TID;
    struct qh_wait_graph *graph = world_wait_graph(world);
    assert_int_equal(graph->edge_count, 4);
    assert_int_equal(graph->cycle_count, 0);
    world_assert_chain(graph, "main thread 100", "condition 0xb000",
                       "iothread io0 (101)", "condition 0xa000", NULL);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

static struct qh_wait *wait_co_mutex(struct world *world, uint64_t coroutine,
                                     uint64_t mutex, uint64_t holder)
{
    struct qh_wait *wait = world_wait(world, QH_WAIT_CO_MUTEX, 0, coroutine);

    wait->object = qh_raddr(mutex);
    wait->owner_coroutine = qh_raddr(holder);
    return wait;
}

static void co_mutexes_are_a_cycle(void **state)
{
    struct world *world = world_quiet();

    world_coroutine(world, CO_ONE, "one");
    world_coroutine(world, CO_TWO, "two");
    wait_co_mutex(world, CO_ONE, MUTEX_A, CO_TWO);
    wait_co_mutex(world, CO_TWO, MUTEX_B, CO_ONE);
    struct qh_wait_graph *graph = world_wait_graph(world);
    assert_cycle(graph, QH_PROOF, "coroutine 0x10000 one", "CoMutex 0xa000",
                 "coroutine 0x20000 two", "CoMutex 0xb000", NULL);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

/* One of them was woken and has its turn to come. */
static void scheduled_coroutine_waits_no_more(void **state)
{
    static struct raddr scheduled = { CO_TWO };
    struct world *world = world_quiet();

    world_coroutine(world, CO_ONE, "one");
    world_coroutine(world, CO_TWO, "two");
    wait_co_mutex(world, CO_ONE, MUTEX_A, CO_TWO);
    wait_co_mutex(world, CO_TWO, MUTEX_B, CO_ONE);
    world->io0_context->scheduled = &scheduled;
    world->io0_context->scheduled_count = 1;
    struct qh_wait_graph *graph = world_wait_graph(world);
    assert_int_equal(graph->cycle_count, 0);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

/* The main thread holds the BQL and polls for a coroutine that runs in io0,
 * which wants the BQL. */
static void bql_and_poll_are_a_cycle(void **state)
{
    struct world *world = world_quiet();
    struct qh_coroutine *coroutine = world_coroutine(world, CO_ONE, "one");
    struct qh_wait *wait;

    coroutine->state = QH_CO_RUNNING;
    coroutine->tid = WORLD_IO0_TID;
    wait = world_wait(world, QH_WAIT_POLL, WORLD_MAIN_TID, 0);
    wait->function = "bdrv_flush";
    wait->owner_coroutine = qh_raddr(CO_ONE);
    wait = world_wait(world, QH_WAIT_BQL, WORLD_IO0_TID, 0);
    wait->object = qh_raddr(0xd000);
    wait->owner_tid = WORLD_MAIN_TID;
    struct qh_wait_graph *graph = world_wait_graph(world);
    assert_cycle(graph, QH_PROOF, "main thread 100", "bdrv_flush",
                 "coroutine 0x10000 one", "iothread io0 (101)", "BQL", NULL);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

/* The same with the coroutine parked, whose home thread can't come for it. */
static void parked_coroutine_needs_its_thread(void **state)
{
    struct world *world = world_quiet();
    struct qh_wait *wait;

    world_coroutine(world, CO_ONE, "one");
    wait = world_wait(world, QH_WAIT_POLL, WORLD_MAIN_TID, 0);
    wait->owner_coroutine = qh_raddr(CO_ONE);
    wait = world_wait(world, QH_WAIT_BQL, WORLD_IO0_TID, 0);
    wait->owner_tid = WORLD_MAIN_TID;
    /* It wants the BQL in a callback of its poll. */
    struct qh_wait_graph *graph = world_wait_graph(world);
    assert_cycle(graph, QH_STRONG, "main thread 100", "poll",
                 "coroutine 0x10000 one", "AioContext of iothread io0",
                 "iothread io0 (101)", "BQL", NULL);
    qh_wait_graph_destroy(graph);

    /* Once a thread polls for it, it needs nobody. */
    world->io0_context->poller = WORLD_OTHER_TID;
    graph = world_wait_graph(world);
    assert_int_equal(graph->cycle_count, 0);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

/* A coroutine wants a bottom half to run in the main context, and the main
 * thread polls for that coroutine: it runs it, if it polls that context. */
static void bottom_half_is_run_by_who_polls(void **state)
{
    struct world *world = world_quiet();
    struct qh_wait *wait;

    world_coroutine(world, CO_ONE, "one");
    wait = world_wait(world, QH_WAIT_DRAIN, 0, CO_ONE);
    wait->object = qh_raddr(0xe000);
    wait->owner_tid = WORLD_MAIN_TID;
    wait = world_wait(world, QH_WAIT_POLL, WORLD_MAIN_TID, 0);
    wait->owner_coroutine = qh_raddr(CO_ONE);
    struct qh_wait_graph *graph = world_wait_graph(world);
    assert_int_equal(graph->cycle_count, 0);
    assert_int_equal(graph->root_count, 0);
    qh_wait_graph_destroy(graph);

    world->main->polls = world->io0->home;
    world->main_context->poller = 0;
    graph = world_wait_graph(world);
    assert_cycle(graph, QH_STRONG, "main thread 100", "poll",
                 "coroutine 0x10000 one", "drain of 0xe000",
                 "AioContext of main", NULL);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

static void own_mutex_is_a_cycle(void **state)
{
    struct world *world = world_quiet();

    world_wait_mutex(world, WORLD_IO0_TID, MUTEX_A, WORLD_IO0_TID);
    struct qh_wait_graph *graph = world_wait_graph(world);
    assert_cycle(graph, QH_PROOF, "iothread io0 (101)", "mutex 0xa000", NULL);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

static void owner_that_is_gone_is_a_root(void **state)
{
    struct world *world = world_quiet();

    world_wait_mutex(world, WORLD_MAIN_TID, MUTEX_A, 4711);
    struct qh_wait_graph *graph = world_wait_graph(world);
    world_assert_chain(graph, "main thread 100", "mutex 0xa000",
                       "thread 4711, which is gone", NULL);
    assert_int_equal(graph->root_count, 1);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

/* An idle thread ends many waits, and is nobody's culprit. */
static void idle_thread_is_no_root(void **state)
{
    struct world *world = world_quiet();

    world_wait(world, QH_WAIT_EVENTS, WORLD_IO0_TID, 0);
    struct qh_wait *wait = world_wait(world, QH_WAIT_COND, WORLD_MAIN_TID, 0);
    wait->owner_tid = WORLD_IO0_TID;
    struct qh_wait_graph *graph = world_wait_graph(world);
    assert_int_equal(graph->edge_count, 2);
    assert_int_equal(graph->root_count, 0);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

static void graph_readers_wait_for_the_writer(void **state)
{
    static struct raddr reader = { CO_ONE };
    struct world *world = world_quiet();

    world_coroutine(world, CO_ONE, "one");
    world->snapshot->graph.has_writer = 1;
    world->snapshot->graph.queue = &reader;
    world->snapshot->graph.queue_count = 1;
    world_wait_mutex(world, WORLD_IO0_TID, MUTEX_A, WORLD_MAIN_TID);
    struct qh_wait_graph *graph = world_wait_graph(world);
    assert_int_equal(graph->root_count, 1);
    assert_int_equal(graph->nodes[graph->roots[0]].tid, WORLD_MAIN_TID);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

static void writer_waits_for_readers(void **state)
{
    struct world *world = world_graph();

    world->snapshot->graph.readers = 1;
    world->io0_context->graph_readers = 1;
    struct qh_wait_graph *graph = world_wait_graph(world);
    world_assert_chain(graph, "main thread 100", "graph lock",
                       "AioContext of iothread io0", NULL);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

/* As many as there are, each waiting for the next, the last for the first. */
static void long_circle(void **state)
{
    enum { MANY = 10000 };
    struct world *world = world_quiet();
    bool *chosen;
    size_t count;

    for (uint64_t i = 0; i < MANY; i++) {
        world_coroutine(world, CO_ONE + 64 * i, "one");
        wait_co_mutex(world, CO_ONE + 64 * i, 0x10000000 + 64 * i,
                      CO_ONE + 64 * ((i + 1) % MANY));
    }
    assert_null(qh_snapshot_order(world->snapshot));
    struct qh_wait_graph *graph = world_wait_graph(world);
    assert_int_equal(graph->cycle_count, 1);
    assert_int_equal(graph->cycles[0].count, 2 * MANY);
    assert_int_equal(graph->edge_count, 2 * MANY);
    chosen = calloc(graph->node_count, sizeof(*chosen));
    assert_non_null(chosen);
    assert_int_equal(qh_wait_graph_size(graph), 2 * MANY);
    assert_null(qh_wait_graph_choose(graph, 60, chosen, &count));
    assert_int_equal(count, 60);
    free(chosen);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

static void chain_is_chosen_first(void **state)
{
    struct world *world = world_wake_lost();
    struct qh_wait_graph *graph;
    bool *chosen;
    size_t count;

    for (uint64_t i = 0; i < 100; i++) {
        world_coroutine(world, CO_ONE + 64 * i, "one");
        wait_co_mutex(world, CO_ONE + 64 * i, MUTEX_A, CO_ONE);
    }
    graph = world_wait_graph(world);
    chosen = calloc(graph->node_count, sizeof(*chosen));
    assert_non_null(chosen);
    assert_null(qh_wait_graph_choose(graph, 7, chosen, &count));
    assert_int_equal(count, 7);
    for (size_t i = 0; i < graph->chain_count; i++) {
        assert_true(chosen[graph->chain[i]]);
    }
    free(chosen);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

/* A sleeper with its timer tells nothing; of many that want one lock, some. */
static void the_telling_is_chosen(void **state)
{
    struct world *world = world_quiet();
    bool chosen[400];
    size_t count;

    for (uint64_t i = 0; i < 100; i++) {
        struct qh_wait *wait;
        world_coroutine(world, CO_ONE + 64 * i, "one");
        wait = world_wait(world, QH_WAIT_TIMER, 0, CO_ONE + 64 * i);
        wait->object = qh_raddr(0x40000 + 64 * i);
    }
    struct qh_wait_graph *graph = world_wait_graph(world);
    assert_in_range(graph->node_count, 200, QH_COUNT(chosen));
    assert_null(qh_wait_graph_choose(graph, 60, chosen, &count));
    assert_int_equal(count, 0);
    qh_wait_graph_destroy(graph);

    for (uint64_t i = 0; i < 100; i++) {
        world->snapshot->waits[i].kind = QH_WAIT_CO_MUTEX;
        world->snapshot->waits[i].object = qh_raddr(MUTEX_A);
    }
    graph = world_wait_graph(world);
    assert_null(qh_wait_graph_choose(graph, 60, chosen, &count));
    assert_int_equal(count, 1 + 3); /* the lock, and some of a hundred */
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quiet_world_waits_for_nobody),
        cmocka_unit_test(chain_leads_to_the_sleeper),
        cmocka_unit_test(crossed_mutexes_are_a_cycle),
        cmocka_unit_test(chain_ends_at_the_cycle),
        cmocka_unit_test(circle_of_conditions_is_no_cycle),
        cmocka_unit_test(co_mutexes_are_a_cycle),
        cmocka_unit_test(scheduled_coroutine_waits_no_more),
        cmocka_unit_test(bql_and_poll_are_a_cycle),
        cmocka_unit_test(parked_coroutine_needs_its_thread),
        cmocka_unit_test(bottom_half_is_run_by_who_polls),
        cmocka_unit_test(own_mutex_is_a_cycle),
        cmocka_unit_test(owner_that_is_gone_is_a_root),
        cmocka_unit_test(idle_thread_is_no_root),
        cmocka_unit_test(graph_readers_wait_for_the_writer),
        cmocka_unit_test(writer_waits_for_readers),
        cmocka_unit_test(long_circle),
        cmocka_unit_test(chain_is_chosen_first),
        cmocka_unit_test(the_telling_is_chosen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
