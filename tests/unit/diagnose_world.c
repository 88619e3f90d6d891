/* Snapshots written by hand, for the tests of rules and reports.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define S_NS INT64_C(1000000000)

enum {
    MAIN_CONTEXT = 0x1000,
    IO0_CONTEXT = 0x2000,
    CLEANER = 0x7f8e280039c0,
    WAITER = 0x557969767040,
    WAKE = 0x557969766e30,
    TIMER = 0x7f8e342a8f40
};

/* qh_list_add() for a test: there is memory. */
static void *add(struct world *world, void *items, size_t *count,
                 size_t *capacity, size_t bytes)
{
    void *item =
        qh_list_add(&world->snapshot->arena, items, count, capacity, bytes);

    assert_non_null(item);
    return item;
}

void world_stack(struct world *world, struct qh_backtrace *stack, ...)
{
    struct qh_arena *arena = &world->snapshot->arena;
    struct qh_frame *frames = qh_arena_alloc(arena, 64 * sizeof(*frames));
    const char *name;
    va_list names;
    size_t count = 0;

    assert_non_null(frames);
    va_start(names, stack);
    while ((name = va_arg(names, const char *))) {
        assert_in_range(count, 0, 63);
        frames[count].function = name;
        frames[count].pc = qh_raddr(0x400000 + 16 * count);
        frames[count].unwound = count;
        count++;
    }
    va_end(names);
    *stack = (struct qh_backtrace){ .frames = frames, .count = count };
}

static void fill_thread(struct qh_thread *thread, pid_t tid, enum qh_role role,
                        uint64_t home)
{
    *thread = (struct qh_thread){
        .tid = tid,
        .name = "qemu-storage-da",
        .role = role,
        .state = QH_THREAD_BLOCKED,
        .blocked_in = "ppoll",
        .timeout_ns = -1,
        .last_ran_ns = QH_TIME_UNKNOWN,
        .home = qh_raddr(home),
        .polls = qh_raddr(home),
    };
}

static void add_threads(struct world *world)
{
    struct qh_snapshot *s = world->snapshot;

    for (int i = 0; i < 3; i++) {
        add(world, &s->threads, &s->thread_count, &s->room.threads,
            sizeof(*s->threads));
    }
    world->main = &s->threads[0];
    world->io0 = &s->threads[1];
    world->other = &s->threads[2];
    fill_thread(world->main, WORLD_MAIN_TID, QH_ROLE_MAIN, MAIN_CONTEXT);
    fill_thread(world->io0, WORLD_IO0_TID, QH_ROLE_IOTHREAD, IO0_CONTEXT);
    fill_thread(world->other, WORLD_OTHER_TID, QH_ROLE_WORKER, 0);
    world->io0->iothread = "io0";
    world_stack(world, &world->main->stack, "ppoll", "os_host_main_loop_wait",
                "main_loop_wait", "main", NULL);
    world_stack(world, &world->io0->stack, "syscall", "fdmon_io_uring_wait",
                "aio_poll", "iothread_run", "qemu_thread_start", "start_thread",
                "clone", NULL);
    world_stack(world, &world->other->stack, "futex_wait", "worker_thread",
                NULL);
}

static struct qh_context *fill_context(struct qh_context *context,
                                       uint64_t address, const char *name,
                                       pid_t tid)
{
    *context = (struct qh_context){
        .address = qh_raddr(address),
        .name = name,
        .tid = tid,
        .poller = tid,
        .notify_me = 2,
        .event_fd = 7,
        .notifier = qh_raddr(address + 0xcc),
        .graph_known = true,
    };
    return context;
}

static void add_contexts(struct world *world)
{
    struct qh_snapshot *s = world->snapshot;

    for (int i = 0; i < 2; i++) {
        add(world, &s->contexts, &s->context_count, &s->room.contexts,
            sizeof(*s->contexts));
    }
    world->main_context =
        fill_context(&s->contexts[0], MAIN_CONTEXT, "main", WORLD_MAIN_TID);
    world->io0_context = fill_context(&s->contexts[1], IO0_CONTEXT,
                                      "iothread io0", WORLD_IO0_TID);
    s->main_context = qh_raddr(MAIN_CONTEXT);
}

struct world *world_quiet(void)
{
    struct world *world = calloc(1, sizeof(*world));

    assert_non_null(world);
    assert_null(qh_snapshot_create(&world->snapshot));
    struct qh_snapshot *s = world->snapshot;
    s->pid = WORLD_MAIN_TID;
    s->name = "qemu-storage-da";
    s->exe = "/usr/bin/qemu-storage-daemon";
    s->build_id = "3f9c1e0a77c0ffee";
    s->version = "10.2.2";
    s->pause_ns = 600000;
    s->monotonic_ns = 2000 * S_NS;
    s->graph = (struct qh_graph_lock){
        .present = true,
        .readable = true,
        .has_writer_address = qh_raddr(0x5000),
        .orphaned_address = qh_raddr(0x5004),
        .num_waiters_address = qh_raddr(0x5008),
    };
    add_threads(world);
    add_contexts(world);
    return world;
}

static void add_coroutines(struct world *world)
{
    struct qh_snapshot *s = world->snapshot;

    for (int i = 0; i < 2; i++) {
        add(world, &s->coroutines, &s->coroutine_count, &s->room.coroutines,
            sizeof(*s->coroutines));
    }
    world->cleaner = &s->coroutines[0];
    world->waiter = &s->coroutines[1];
    *world->cleaner = (struct qh_coroutine){
        .address = qh_raddr(CLEANER),
        .entry = "cache_clean_timer",
        .state = QH_CO_SUSPENDED,
        .context = qh_raddr(IO0_CONTEXT),
        .scheduled = "qemu_co_sleep_ns",
    };
    *world->waiter = (struct qh_coroutine){
        .address = qh_raddr(WAITER),
        .entry = "cache_clean_timer_del_and_wait_co_entry",
        .state = QH_CO_SUSPENDED,
        .context = qh_raddr(MAIN_CONTEXT),
    };
    world_stack(world, &world->cleaner->stack, "qemu_coroutine_switch",
                "qemu_co_sleep", "qemu_co_sleep_ns_wakeable",
                "cache_clean_timer", "coroutine_trampoline", NULL);
    world_stack(world, &world->waiter->stack, "qemu_coroutine_switch",
                "qemu_co_queue_wait_impl",
                "cache_clean_timer_co_locked_del_and_wait",
                "cache_clean_timer_del_and_wait_co_entry",
                "coroutine_trampoline", NULL);
}

static void add_sleeper(struct world *world)
{
    struct qh_snapshot *s = world->snapshot;
    struct raddr *waiters = qh_arena_alloc(&s->arena, sizeof(*waiters));

    world->sleeper = add(world, &s->sleepers, &s->sleeper_count,
                         &s->room.sleepers, sizeof(*s->sleepers));
    assert_non_null(waiters);
    waiters[0] = qh_raddr(WAITER);
    *world->sleeper = (struct qh_sleeper){
        .coroutine = qh_raddr(CLEANER),
        .wake = qh_raddr(WAKE),
        .to_wake = qh_raddr(CLEANER),
        .armed = QH_ARMED_YES,
        .timer = qh_raddr(TIMER),
        .timer_list = qh_raddr(0x3000),
        .timer_linked = true,
        .clock = QH_CLOCK_REALTIME,
        .expire_ns = 2579 * S_NS,
        .left_ns = 579 * S_NS,
        .asked_ns = 600 * S_NS,
        .user = QH_USER_QCOW2_CACHE_CLEANER,
        .has_cleaner = true,
        .cleaner = { .state = qh_raddr(0x557969766d00),
                     .interval_s = 0,
                     .interval_address = qh_raddr(0x557969766df8),
                     .timer_co = qh_raddr(CLEANER),
                     .exit_queue = qh_raddr(0x557969766e38),
                     .waiters = waiters,
                     .waiter_count = 1,
                     .waiter_tid = WORLD_MAIN_TID },
    };
}

struct world *world_wake_lost(void)
{
    struct world *world = world_quiet();

    add_coroutines(world);
    add_sleeper(world);
    world_stack(world, &world->main->stack, "ppoll", "qemu_poll_ns",
                "fdmon_poll_wait", "aio_poll", "cache_clean_timer_del_and_wait",
                "bdrv_detach_aio_context", "bdrv_set_aio_context_commit",
                "bdrv_root_unref_child", "bdrv_close", "main_loop_wait", "main",
                NULL);
    world->snapshot->graph.num_waiters = 1;
    world->snapshot->qmp_command = "blockdev-add";
    return world;
}

struct world *world_erased(void)
{
    struct world *world = world_wake_lost();

    world->sleeper->to_wake = qh_raddr(0);
    world->sleeper->armed = QH_ARMED_NO;
    return world;
}

struct world *world_graph(void)
{
    struct world *world = world_quiet();

    world_stack(world, &world->main->stack, "syscall", "fdmon_io_uring_wait",
                "aio_poll", "bdrv_graph_wrlock", "blk_remove_bs", "blk_unref",
                "main_loop_wait", "main", NULL);
    world->snapshot->graph.num_waiters = 1;
    world->snapshot->graph.writer_tid = WORLD_MAIN_TID;
    return world;
}

struct qh_wait *world_wait(struct world *world, enum qh_wait_kind kind,
                           pid_t tid, uint64_t coroutine)
{
    struct qh_snapshot *s = world->snapshot;
    struct qh_wait *wait =
        add(world, &s->waits, &s->wait_count, &s->room.waits, sizeof(*wait));

    wait->kind = kind;
    wait->tid = tid;
    wait->coroutine = qh_raddr(coroutine);
    return wait;
}

struct qh_wait *world_wait_mutex(struct world *world, pid_t tid, uint64_t mutex,
                                 pid_t owner)
{
    struct qh_wait *wait = world_wait(world, QH_WAIT_MUTEX, tid, 0);

    wait->object = qh_raddr(mutex);
    wait->owner_tid = owner;
    return wait;
}

struct qh_timer *world_timer(struct world *world, struct raddr context,
                             int64_t left_ns)
{
    struct qh_snapshot *s = world->snapshot;
    struct qh_timer *timer = add(world, &s->timers, &s->timer_count,
                                 &s->room.timers, sizeof(*timer));

    *timer = (struct qh_timer){
        .address = qh_raddr(0x8000),
        .context = context,
        .clock = QH_CLOCK_REALTIME,
        .clock_enabled = true,
        .expire_ns = s->monotonic_ns + left_ns,
    };
    return timer;
}

struct qh_coroutine *world_coroutine(struct world *world, uint64_t address,
                                     const char *entry)
{
    struct qh_snapshot *s = world->snapshot;
    struct qh_coroutine *coroutine =
        add(world, &s->coroutines, &s->coroutine_count, &s->room.coroutines,
            sizeof(*coroutine));

    coroutine->address = qh_raddr(address);
    coroutine->entry = entry;
    coroutine->state = QH_CO_SUSPENDED;
    coroutine->context = qh_raddr(IO0_CONTEXT);
    world_stack(world, &coroutine->stack, "qemu_coroutine_switch",
                "qemu_co_mutex_lock", entry, "coroutine_trampoline", NULL);
    return coroutine;
}

void world_destroy(struct world *world)
{
    qh_snapshot_destroy(world->snapshot);
    free(world);
}

struct qh_findings *world_diagnose(const struct world *world)
{
    struct qh_findings *findings = NULL;

    assert_null(qh_diagnose(world->snapshot, &findings));
    assert_non_null(findings);
    return findings;
}

struct qh_wait_graph *world_wait_graph(const struct world *world)
{
    struct qh_findings *findings = world_diagnose(world);
    struct qh_wait_graph *graph = NULL;

    assert_null(qh_wait_graph_build(world->snapshot, findings, &graph));
    qh_findings_destroy(findings);
    return graph;
}

void world_assert_chain(const struct qh_wait_graph *graph, ...)
{
    const char *name;
    va_list names;
    size_t count = 0;

    va_start(names, graph);
    while ((name = va_arg(names, const char *))) {
        assert_true(count < graph->chain_count);
        assert_string_equal(graph->nodes[graph->chain[count]].name, name);
        count++;
    }
    va_end(names);
    assert_int_equal(graph->chain_count, count);
}

struct qh_report world_report(const struct world *world)
{
    struct qh_findings *findings = world_diagnose(world);
    struct qh_wait_graph *graph = NULL;

    assert_null(qh_wait_graph_build(world->snapshot, findings, &graph));
    return (struct qh_report){ .snapshot = world->snapshot,
                               .findings = findings,
                               .graph = graph,
                               .samples = 2,
                               .pause_ns = world->snapshot->pause_ns,
                               .tool_version = "0.1.0" };
}

void world_report_deinit(struct qh_report *report)
{
    qh_wait_graph_destroy((struct qh_wait_graph *)report->graph);
    qh_findings_destroy((struct qh_findings *)report->findings);
}

void world_assert_finding(const struct world *world, const char *rule,
                          enum qh_certainty certainty)
{
    struct qh_findings *findings = world_diagnose(world);

    assert_int_equal(findings->count, 1);
    assert_string_equal(findings->items[0].rule, rule);
    assert_string_equal(qh_certainty_name(findings->items[0].certainty),
                        qh_certainty_name(certainty));
    qh_findings_destroy(findings);
}

pid_t world_waiter(const struct world *world)
{
    struct qh_findings *findings = world_diagnose(world);

    assert_int_equal(findings->count, 1);
    pid_t waiter = findings->items[0].waiter;
    qh_findings_destroy(findings);
    return waiter;
}

void world_assert_none(const struct world *world, bool unsettled)
{
    struct qh_findings *findings = world_diagnose(world);

    assert_int_equal(findings->count, 0);
    assert_int_equal(findings->unsettled, unsettled);
    qh_findings_destroy(findings);
}
