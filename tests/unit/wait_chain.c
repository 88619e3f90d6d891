/* The wait-for graph behind a request: its throttle's timer, its descriptor.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define S_NS INT64_C(1000000000)

enum {
    EXPORT = 0xe000,
    MEMBER = 0x9000,
    OTHER_MEMBER = 0x9800,
    CHANNEL = 0xc000,
    TRIP = 0x10000,
    OTHER_TRIP = 0x20000
};

static const char trip_name[] = "coroutine 0x10000 nbd_trip";
static const char throttle_name[] = "throttle_group_co_io_limits_intercept";

static struct qh_operand still_there = { "exports", { 0x7000 }, 1, true };

/* The main thread closes export e0, which the coroutine's request keeps. */
static struct world *world_closing(uint64_t request)
{
    struct world *world = world_quiet();

    world_coroutine(world, TRIP, "nbd_trip");
    world_stack(world, &world->main->stack, "ppoll", "qemu_poll_ns",
                "fdmon_poll_wait", "aio_poll", "blk_exp_close_all_type",
                "blk_exp_close_all", "main", NULL);
    struct qh_wait *wait = world_wait(world, QH_WAIT_POLL, WORLD_MAIN_TID, 0);
    wait->function = "blk_exp_close_all_type";
    wait->object = qh_raddr(EXPORT);
    wait->object_name = "e0";
    wait->owner_coroutine = qh_raddr(request);
    wait->operands = &still_there;
    wait->operand_count = 1;
    return world;
}

static void wait_throttled(struct world *world, uint64_t coroutine,
                           uint64_t member, struct raddr timer)
{
    struct qh_wait *wait = world_wait(world, QH_WAIT_THROTTLE, 0, coroutine);

    wait->function = throttle_name;
    wait->object = qh_raddr(member);
    wait->timer = timer;
}

static void wait_fd(struct world *world, uint64_t coroutine, const char *name)
{
    struct qh_wait *wait = world_wait(world, QH_WAIT_FD, 0, coroutine);

    wait->function = "qio_channel_yield";
    wait->object = qh_raddr(CHANNEL);
    wait->object_name = name;
}

/* The node of that name; fails when there is none, or more than one. */
static size_t node_named(const struct qh_wait_graph *graph, const char *name)
{
    size_t found = SIZE_MAX;

    for (size_t i = 0; i < graph->node_count; i++) {
        if (!strcmp(graph->nodes[i].name, name)) {
            assert_int_equal(found, SIZE_MAX);
            found = i;
        }
    }
    assert_int_not_equal(found, SIZE_MAX);
    return found;
}

static void assert_edge(const struct qh_wait_graph *graph, const char *from,
                        const char *to, const char *why,
                        enum qh_certainty certainty)
{
    const struct qh_wait_edge *edge = qh_wait_graph_edge(
        graph, node_named(graph, from), node_named(graph, to));

    assert_non_null(edge);
    assert_string_equal(edge->why, why);
    assert_string_equal(qh_certainty_name(edge->certainty),
                        qh_certainty_name(certainty));
}

/* ---- an export and its requests ---- */

static void export_waits_for_its_request(void **state)
{
    struct world *world = world_closing(TRIP);
    struct qh_wait_graph *graph = world_wait_graph(world);

    world_assert_chain(graph, "main thread 100", "blk_exp_close_all_type (e0)",
                       trip_name, NULL);
    assert_edge(graph, "blk_exp_close_all_type (e0)", trip_name,
                "until the end of", QH_PROOF);
    assert_int_equal(graph->root_count, 1);
    assert_int_equal(graph->roots[0], node_named(graph, trip_name));
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

/* Where no request is known, the export is as far as it goes. */
static void export_without_a_request(void **state)
{
    struct world *world = world_closing(0);
    struct qh_wait_graph *graph = world_wait_graph(world);

    world_assert_chain(graph, "main thread 100", "blk_exp_close_all_type (e0)",
                       NULL);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

/* ---- a throttled request and its throttle's timer ---- */

static void throttled_request_leads_to_the_timer(void **state)
{
    struct world *world = world_closing(TRIP);
    struct raddr timer =
        world_timer(world, world->io0_context->address, 12 * S_NS)->address;

    wait_throttled(world, TRIP, MEMBER, timer);
    struct qh_wait_graph *graph = world_wait_graph(world);
    world_assert_chain(graph, "main thread 100", "blk_exp_close_all_type (e0)",
                       trip_name, throttle_name, "timer, fires in 12 s", NULL);
    assert_edge(graph, trip_name, throttle_name, "throttled in", QH_PROOF);
    /* A drain, or a change of the limits, lets it go as well. */
    assert_edge(graph, throttle_name, "timer, fires in 12 s", "let go by",
                QH_SUSPECT);
    qh_wait_graph_destroy(graph);

    world->snapshot->timers[0].expire_ns = world->snapshot->monotonic_ns - 1;
    graph = world_wait_graph(world);
    node_named(graph, "timer, overdue");
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

/* Two members of one group, whose token is with the first of them. */
static void one_timer_lets_many_go(void **state)
{
    struct world *world = world_closing(TRIP);
    struct raddr timer =
        world_timer(world, world->io0_context->address, 12 * S_NS)->address;

    world_coroutine(world, OTHER_TRIP, "nbd_trip");
    wait_throttled(world, TRIP, MEMBER, timer);
    wait_throttled(world, OTHER_TRIP, OTHER_MEMBER, timer);
    world->snapshot->waits[1].object_name = "one";
    world->snapshot->waits[2].object_name = "two";
    struct qh_wait_graph *graph = world_wait_graph(world);
    size_t node = node_named(graph, "timer, fires in 12 s");
    assert_int_equal(graph->nodes[node].waiter_count, 2);
    assert_edge(graph, "throttle_group_co_io_limits_intercept (two)",
                "timer, fires in 12 s", "let go by", QH_SUSPECT);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

static void timer_on_no_list_is_gone(void **state)
{
    struct world *world = world_closing(TRIP);

    wait_throttled(world, TRIP, MEMBER, qh_raddr(0x8888));
    world_timer(world, world->io0_context->address, 12 * S_NS);
    struct qh_wait_graph *graph = world_wait_graph(world);
    world_assert_chain(graph, "main thread 100", "blk_exp_close_all_type (e0)",
                       trip_name, throttle_name, "a timer that is gone", NULL);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

/* Whose token it is was not told: there is no timer to lead to. */
static void throttle_without_a_timer_is_the_end(void **state)
{
    struct world *world = world_closing(TRIP);

    world_timer(world, world->io0_context->address, 12 * S_NS);
    wait_throttled(world, TRIP, MEMBER, qh_raddr(0));
    struct qh_wait_graph *graph = world_wait_graph(world);
    world_assert_chain(graph, "main thread 100", "blk_exp_close_all_type (e0)",
                       trip_name, throttle_name, NULL);
    assert_int_equal(graph->nodes[node_named(graph, throttle_name)].edge_count,
                     0);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

/* ---- a coroutine and the descriptor that it polls ---- */

static void coroutine_leads_to_its_descriptor(void **state)
{
    struct world *world = world_closing(TRIP);

    wait_fd(world, TRIP, "nbd-client, fd 23");
    struct qh_wait_graph *graph = world_wait_graph(world);
    world_assert_chain(graph, "main thread 100", "blk_exp_close_all_type (e0)",
                       trip_name, "qio_channel_yield (nbd-client, fd 23)",
                       NULL);
    assert_edge(graph, trip_name, "qio_channel_yield (nbd-client, fd 23)",
                "waits for data", QH_PROOF);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

/* The channel's reader and its writer wait for one and the same. */
static void one_channel_is_one_node(void **state)
{
    struct world *world = world_closing(TRIP);

    world_coroutine(world, OTHER_TRIP, "nbd_trip");
    wait_fd(world, TRIP, "fd 23");
    wait_fd(world, OTHER_TRIP, "fd 23");
    struct qh_wait_graph *graph = world_wait_graph(world);
    size_t node = node_named(graph, "qio_channel_yield (fd 23)");
    assert_int_equal(graph->nodes[node].waiter_count, 2);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

/* The data came: it was woken and waits for its turn only. */
static void woken_coroutine_polls_no_more(void **state)
{
    static struct raddr woken = { TRIP };
    struct world *world = world_closing(TRIP);

    wait_fd(world, TRIP, "fd 23");
    world->io0_context->scheduled = &woken;
    world->io0_context->scheduled_count = 1;
    struct qh_wait_graph *graph = world_wait_graph(world);
    world_assert_chain(graph, "main thread 100", "blk_exp_close_all_type (e0)",
                       trip_name, NULL);
    qh_wait_graph_destroy(graph);
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(export_waits_for_its_request),
        cmocka_unit_test(export_without_a_request),
        cmocka_unit_test(throttled_request_leads_to_the_timer),
        cmocka_unit_test(one_timer_lets_many_go),
        cmocka_unit_test(timer_on_no_list_is_gone),
        cmocka_unit_test(throttle_without_a_timer_is_the_end),
        cmocka_unit_test(coroutine_leads_to_its_descriptor),
        cmocka_unit_test(one_channel_is_one_node),
        cmocka_unit_test(woken_coroutine_polls_no_more),
    };

    return cmocka_run_group_tests_name("wait_chain", tests, NULL, NULL);
}
