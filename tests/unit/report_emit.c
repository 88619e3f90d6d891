/* Prints reports on snapshots written by hand, for tests in Python.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * report_emit --list prints the names; report_emit NAME prints that report, as
 * HTML (without a picture) or DOT behind --html or --dot.
 */
#include "diagnose_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* One wait with all that there may be, one with nothing. */
static void add_waits(struct qh_snapshot *s)
{
    static struct qh_operand operands[] = {
        { "locked", { 0xa008 }, 2, true },
        { "holder", { 0xa010 }, 0, false },
    };

    for (int i = 0; i < 2; i++) {
        struct qh_wait *wait = qh_list_add(&s->arena, &s->waits, &s->wait_count,
                                           &s->room.waits, sizeof(*wait));
        assert_non_null(wait);
        wait->kind = QH_WAIT_UNKNOWN;
    }
    s->waits[0] = (struct qh_wait){ .kind = QH_WAIT_CO_MUTEX,
                                    .tid = WORLD_MAIN_TID,
                                    .coroutine = { 0x7000 },
                                    .function = "qemu_co_mutex_lock",
                                    .object = { 0xa000 },
                                    .object_name = "q0",
                                    .owner_tid = WORLD_MAIN_TID,
                                    .owner_coroutine = { 0x7100 },
                                    .operands = operands,
                                    .operand_count = QH_COUNT(operands) };
}

static struct world *full(void)
{
    static struct qh_bh bh = { .address = { 0x6000 },
                               .callback = "dummy_bh_cb",
                               .name = "bh" };
    static struct raddr coroutine = { 0x7000 };
    struct world *world = world_erased();
    struct qh_snapshot *s = world->snapshot;
    struct qh_timer *timer = qh_list_add(&s->arena, &s->timers, &s->timer_count,
                                         &s->room.timers, sizeof(*timer));

    assert_non_null(timer);
    *timer = (struct qh_timer){ .address = qh_raddr(0x8000),
                                .clock = QH_CLOCK_HOST,
                                .expire_ns = INT64_MAX,
                                .position = 7,
                                .callback = "cb" };
    world->io0_context->pending = &bh;
    world->io0_context->pending_count = 1;
    world->io0_context->scheduled = &coroutine;
    world->io0_context->scheduled_count = 1;
    world->main->holds_bql = true;
    world->main->stack.frames[0].file = "util/aio-posix.c";
    world->main->stack.frames[0].line = 42;
    s->graph.has_writer = 1;
    s->graph.queue = &coroutine;
    s->graph.queue_count = 1;
    s->graph.orphaned = -1;
    s->bql_owner = WORLD_MAIN_TID;
    s->bytes_read = 4097;
    s->blocked_ns = 20000000000;
    s->blocked_source = "timer";
    s->blocked_at_least = true;
    world->cleaner->stack.frames[0].sp = qh_raddr(0x9000);
    for (uint64_t i = 0; i < QH_REG_COUNT; i++) {
        world->cleaner->regs.dwarf[i] = 0x100 + i; /* by DWARF number */
    }
    world->cleaner->regs.known = UINT32_MAX;
    world->cleaner->locks_held = UINT64_MAX;
    world->cleaner->stack_start = qh_raddr(UINT64_MAX);
    world->cleaner->stack_bytes = UINT64_MAX;
    world->cleaner->stack.cut = "no CFI";
    world->other->state = QH_THREAD_IN_KERNEL;
    add_waits(s);
    return world;
}

static struct world *unknown(void)
{
    struct world *world = world_wake_lost();
    struct qh_snapshot *s = world->snapshot;

    s->name = s->exe = s->build_id = s->version = s->qmp_command = NULL;
    s->pid = 0;
    s->graph.readable = false;
    s->pause_ns = QH_TIME_UNKNOWN;
    for (size_t i = 0; i < s->thread_count; i++) {
        struct qh_thread *thread = &s->threads[i];
        thread->name = thread->blocked_in = thread->iothread = NULL;
        thread->timeout_ns = QH_TIME_UNKNOWN;
        thread->home = thread->polls = qh_raddr(0);
        for (size_t f = 0; f < thread->stack.count; f++) {
            thread->stack.frames[f].function = NULL;
        }
    }
    for (size_t i = 0; i < s->context_count; i++) {
        s->contexts[i].event_fd = -1;
        s->contexts[i].event_count = -1;
        s->contexts[i].graph_known = false;
        s->contexts[i].tid = s->contexts[i].poller = 0;
        s->contexts[i].name = NULL;
    }
    world->sleeper->left_ns = world->sleeper->expire_ns = QH_TIME_UNKNOWN;
    world->sleeper->asked_ns = QH_TIME_UNKNOWN;
    world->cleaner->entry = NULL;
    return world;
}

static struct world *hostile(void)
{
    static const char name[] = "\x1b[2J\xff\xc0\x80\"\\/\n\t\x7f"
                               "\xe2\x80\xae\xed\xa0\x80";
    struct world *world = full();
    struct qh_snapshot *s = world->snapshot;

    s->name = s->exe = s->version = s->qmp_command = name;
    s->timers[0].clock = QH_CLOCK_REALTIME;
    s->timers[0].expire_ns = INT64_MIN + 1;
    world->io0->iothread = world->main->name = world->io0->blocked_in = name;
    world->cleaner->entry = world->cleaner->scheduled = name;
    world->cleaner->stack.frames[1].function = name;
    world->cleaner->stack.frames[1].file = name;
    world->sleeper->cleaner.node = name;
    s->waits[0].object_name = s->waits[0].function = name;
    assert_null(qh_snapshot_gap(s, name, qh_raddr(1), name, name));
    return world;
}

/* What the cleaner's jmp_buf holds is not what it has while it runs. */
static struct world *running(void)
{
    struct world *world = full();
    struct qh_snapshot *s = world->snapshot;

    world->cleaner->state = QH_CO_RUNNING;
    s->timers[0].clock = QH_CLOCK_REALTIME;
    s->timers[0].expire_ns = s->monotonic_ns - 30;
    return world;
}

static struct world *gaps(void)
{
    struct world *world = world_quiet();

    assert_null(qh_snapshot_gap(world->snapshot, "timers", qh_raddr(0),
                                "unreadable", NULL));
    return world;
}

static struct world *core(void)
{
    struct world *world = world_graph();

    world->snapshot->kind = QH_TARGET_CORE;
    world->snapshot->core = "/var/crash/core.100";
    return world;
}

static struct world *held(void)
{
    struct world *world = world_wake_lost();

    world->snapshot->kind = QH_TARGET_HELD;
    world->snapshot->held_by = 4711;
    world->snapshot->holder = "gdb";
    world->snapshot->pause_ns = QH_TIME_UNKNOWN;
    return world;
}

/* Two threads in a circle, and the main thread behind them. */
static struct world *cycle(void)
{
    struct world *world = world_quiet();

    world_wait_mutex(world, WORLD_MAIN_TID, 0xc000, WORLD_IO0_TID);
    world_wait_mutex(world, WORLD_IO0_TID, 0xa000, WORLD_OTHER_TID);
    world_wait_mutex(world, WORLD_OTHER_TID, 0xb000, WORLD_IO0_TID);
    return world;
}

/* Names that mean something to HTML and to Graphviz, and many of them. */
static struct world *markup(void)
{
    static const char name[] = "</script><b onload='x'>&amp;\\N\"];\x1b\xff";
    struct world *world = cycle();
    struct qh_snapshot *s = world->snapshot;

    world->io0->iothread = world->main->name = world->io0->blocked_in = name;
    world->other->name = s->name = s->exe = s->version = s->build_id = name;
    s->qmp_command = name;
    world->main_context->name = name;
    for (uint64_t i = 0; i < 100; i++) {
        struct qh_coroutine *coroutine =
            world_coroutine(world, 0x10000 + 64 * i, name);
        coroutine->scheduled = name;
        struct qh_wait *wait =
            world_wait(world, QH_WAIT_CO_QUEUE, 0, 0x10000 + 64 * i);
        wait->object = qh_raddr(0xd000 + i / 4);
        wait->object_name = name;
    }
    assert_null(qh_snapshot_gap(s, name, qh_raddr(1), name, name));
    return world;
}

static struct world *empty(void)
{
    struct world *world = calloc(1, sizeof(*world));

    assert_non_null(world);
    assert_null(qh_snapshot_create(&world->snapshot));
    return world;
}

static const struct {
    const char *name;
    struct world *(*make)(void);
} worlds[] = {
    { "quiet", world_quiet },   { "wake-lost", world_wake_lost },
    { "erased", world_erased }, { "graph", world_graph },
    { "full", full },           { "unknown", unknown },
    { "hostile", hostile },     { "gaps", gaps },
    { "core", core },           { "held", held },
    { "running", running },     { "empty", empty },
    { "cycle", cycle },         { "markup", markup },
};

typedef struct qh_error *renderer(const struct qh_report *report, FILE *out);

static struct qh_error *as_html(const struct qh_report *report, FILE *out)
{
    return qh_report_html(report, NULL, out);
}

static int emit(struct world *world, renderer *render)
{
    struct qh_report report = world_report(world);
    struct qh_error *error = render(&report, stdout);

    world_report_deinit(&report);
    world_destroy(world);
    if (error) {
        qh_report_error(error, false, stderr);
        qh_error_destroy(error);
    }
    return error ? 1 : 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *option;
        renderer *render;
    } forms[] = { { "--html", as_html },
                  { "--dot", qh_report_dot },
                  { "--json", qh_report_json } };
    renderer *render = qh_report_json;

    for (size_t i = 0; i < QH_COUNT(forms); i++) {
        if (argc == 3 && !strcmp(argv[1], forms[i].option)) {
            render = forms[i].render;
        }
    }
    for (size_t i = 0; i < QH_COUNT(worlds); i++) {
        if (argc > 1 && !strcmp(argv[argc - 1], worlds[i].name)) {
            return emit(worlds[i].make(), render);
        }
        if (argc == 2 && !strcmp(argv[1], "--list")) {
            puts(worlds[i].name);
        }
    }
    return argc == 2 && !strcmp(argv[1], "--list") ? 0 : 64;
}
