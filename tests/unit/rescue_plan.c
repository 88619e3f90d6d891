/* What a rescue would write, and each precondition that keeps it from that.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "rescue/rescue.h"

#define S_NS INT64_C(1000000000)

enum {
    STACK = 0x7f8e34200000,
    STACK_BYTES = 0x101000,
    LIST = 0x3000,
    FIRST_AT = LIST + 56,
    FIRST = 0x4000,
    SECOND = 0x4100,
    EXPIRE = 0, /* offsets of a QEMUTimer's members */
    NEXT = 32
};

/* The world, its one finding, and the words around it. */
struct scene {
    struct world *world;
    struct qh_findings *findings;
    struct qh_finding finding;
    struct qh_rescue_sleep sleep;
    struct qh_rescue_notifier notifier;
    struct qh_rescue_timer timers[3];
};

static struct qh_rescue_timer timer_at(uint64_t address, int64_t expire_ns,
                                       uint64_t next)
{
    return (struct qh_rescue_timer){
        .address = qh_raddr(address),
        .expire_at = qh_raddr(address + EXPIRE),
        .next_at = qh_raddr(address + NEXT),
        .expire_ns = expire_ns,
        .next = qh_raddr(next),
        .list = qh_raddr(LIST),
        .callback = "co_sleep_cb",
    };
}

static void set_up_stack(struct scene *scene)
{
    struct qh_coroutine *cleaner = scene->world->cleaner;

    cleaner->stack_start = qh_raddr(STACK);
    cleaner->stack_bytes = STACK_BYTES;
    cleaner->regs.dwarf[QH_REG_RSP] = STACK + 0xa8000;
    cleaner->regs.known = 1u << QH_REG_RSP;
}

static struct scene *scene_of(struct world *world)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    assert_non_null(scene);
    scene->world = world;
    world->io0_context->event_fd = 9; /* not the main context's */
    set_up_stack(scene);
    scene->findings = world_diagnose(world);
    assert_int_equal(scene->findings->count, 1);
    scene->finding = scene->findings->items[0];
    scene->notifier = (struct qh_rescue_notifier){
        .context = world->io0_context->address,
        .address = world->io0_context->notifier,
        .read_fd = 9,
        .write_fd = 9,
        .ready = true,
    };
    scene->timers[0] =
        timer_at(world->sleeper->timer.value, world->sleeper->expire_ns, 0);
    scene->timers[0].opaque = world->sleeper->wake;
    scene->sleep = (struct qh_rescue_sleep){
        .to_wake_at = world->sleeper->wake,
        .to_wake = world->sleeper->to_wake,
        .timer = scene->timers[0],
        .list = { .address = qh_raddr(LIST),
                  .first_at = qh_raddr(FIRST_AT),
                  .notifies = world->io0_context->address,
                  .clock = QH_CLOCK_REALTIME,
                  .clock_enabled = true,
                  .timers = scene->timers,
                  .timer_count = 1 },
    };
    return scene;
}

static int set_up(void **state)
{
    *state = scene_of(world_wake_lost());
    return 0;
}

static int set_up_erased(void **state)
{
    *state = scene_of(world_erased());
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;

    qh_findings_destroy(scene->findings);
    world_destroy(scene->world);
    free(scene);
    return 0;
}

static struct qh_rescue_plan plan_of(struct scene *scene)
{
    struct qh_rescue_plan plan = { .what = NULL };
    struct qh_error *error =
        qh_rescue_plan(scene->world->snapshot, &scene->finding, &scene->sleep,
                       &scene->notifier, &plan);

    if (error) {
        fail_msg("refused: %s", error->message);
    }
    return plan;
}

static void assert_refused(struct scene *scene, const char *words)
{
    struct qh_rescue_plan plan = { .what = NULL };
    struct qh_error *error =
        qh_rescue_plan(scene->world->snapshot, &scene->finding, &scene->sleep,
                       &scene->notifier, &plan);

    assert_non_null(error);
    assert_int_equal(error->code, QH_ERR_REFUSED);
    if (!strstr(error->message, words)) {
        fail_msg("\"%s\" does not say \"%s\"", error->message, words);
    }
    assert_null(plan.what);
    qh_error_destroy(error);
}

static void assert_write(const struct qh_rescue_plan *plan, size_t index,
                         uint64_t address, uint64_t before, uint64_t after)
{
    assert_true(index < plan->write_count);
    const struct qh_word *word = &plan->writes[index].word;
    assert_int_equal(word->address.value, address);
    assert_int_equal(word->before, before);
    assert_int_equal(word->after, after);
}

/* Puts two earlier timers before the sleeper's. */
static void put_behind(struct scene *scene)
{
    struct qh_rescue_timer own = scene->timers[0];

    scene->timers[0] = timer_at(FIRST, 100 * S_NS, SECOND);
    scene->timers[1] = timer_at(SECOND, 200 * S_NS, own.address.value);
    scene->timers[2] = own;
    scene->sleep.list.timer_count = 3;
}

/* As co_sleep_cb() leaves it that found nobody to wake. */
static void let_fire(struct scene *scene, size_t others)
{
    scene->sleep.timer.expire_ns = -1;
    scene->sleep.list.timer_count = others;
    if (others) {
        scene->timers[0] = timer_at(FIRST, 100 * S_NS, 0);
    }
}

/* ---- what is written ---- */

static void test_first_of_its_list(void **state)
{
    struct scene *scene = *state;
    struct qh_rescue_plan plan = plan_of(scene);

    assert_int_equal(plan.write_count, 1);
    assert_write(&plan, 0, scene->sleep.timer.expire_at.value,
                 (uint64_t)scene->sleep.timer.expire_ns, 1);
    assert_int_equal(plan.notifier.write_fd, 9);
}

static void test_moved_to_the_head(void **state)
{
    struct scene *scene = *state;
    const struct qh_rescue_timer own = scene->sleep.timer;

    put_behind(scene);
    struct qh_rescue_plan plan = plan_of(scene);
    assert_int_equal(plan.write_count, 4);
    assert_write(&plan, 0, own.expire_at.value, (uint64_t)own.expire_ns, 1);
    assert_write(&plan, 1, SECOND + NEXT, own.address.value, 0);
    assert_write(&plan, 2, own.next_at.value, 0, FIRST);
    assert_write(&plan, 3, FIRST_AT, FIRST, own.address.value);
}

static void test_erased_is_armed_first(void **state)
{
    struct scene *scene = *state;
    struct qh_rescue_plan plan = plan_of(scene);

    assert_int_equal(plan.write_count, 2);
    assert_write(&plan, 0, scene->sleep.to_wake_at.value, 0,
                 scene->world->cleaner->address.value);
    assert_write(&plan, 1, scene->sleep.timer.expire_at.value,
                 (uint64_t)scene->sleep.timer.expire_ns, 1);
}

static void test_fired_is_linked_again(void **state)
{
    struct scene *scene = *state;
    const struct qh_rescue_timer own = scene->sleep.timer;

    let_fire(scene, 1);
    struct qh_rescue_plan plan = plan_of(scene);
    assert_int_equal(plan.write_count, 4);
    assert_write(&plan, 1, own.expire_at.value, UINT64_MAX, 1);
    assert_write(&plan, 2, own.next_at.value, 0, FIRST);
    /* The list's own word last: until then nobody sees the timer. */
    assert_write(&plan, 3, FIRST_AT, FIRST, own.address.value);
}

static void test_fired_of_an_empty_list(void **state)
{
    struct scene *scene = *state;

    let_fire(scene, 0);
    struct qh_rescue_plan plan = plan_of(scene);
    assert_int_equal(plan.write_count, 3); /* `next` is NULL already */
    assert_write(&plan, 2, FIRST_AT, 0, scene->sleep.timer.address.value);
}

static void test_graph_lock_is_only_notified(void **state)
{
    struct world *world = world_graph();
    struct qh_findings *findings = world_diagnose(world);
    const struct qh_rescue_notifier notifier = {
        .context = world->main_context->address,
        .read_fd = 7,
        .write_fd = 7,
        .ready = true,
    };
    struct qh_rescue_plan plan;

    world->io0_context->event_fd = 9;
    assert_int_equal(findings->items[0].context.value,
                     world->main_context->address.value);
    assert_null(qh_rescue_plan(world->snapshot, &findings->items[0], NULL,
                               &notifier, &plan));
    assert_int_equal(plan.write_count, 0);
    qh_findings_destroy(findings);
    world_destroy(world);
}

/* ---- what keeps it from that ---- */

static void test_not_proved(void **state)
{
    struct scene *scene = *state;

    scene->finding.certainty = QH_STRONG;
    assert_refused(scene, "not proved");
}

static void test_coroutine_not_parked(void **state)
{
    struct scene *scene = *state;

    scene->world->cleaner->caller = qh_raddr(0x1234);
    assert_refused(scene, "not parked");
    scene->world->cleaner->caller = qh_raddr(0);
    scene->world->cleaner->scheduled = NULL;
    assert_refused(scene, "not parked");
    scene->world->cleaner->scheduled = "aio_co_schedule";
    assert_refused(scene, "not parked");
    scene->world->cleaner->scheduled = "qemu_co_sleep_ns";
    scene->world->cleaner->state = QH_CO_RUNNING;
    assert_refused(scene, "not parked");
    scene->world->cleaner->state = QH_CO_POOLED;
    assert_refused(scene, "not parked");
}

static void test_stack_pointer_elsewhere(void **state)
{
    struct scene *scene = *state;
    struct qh_registers *regs = &scene->world->cleaner->regs;

    regs->dwarf[QH_REG_RSP] = STACK - 8;
    assert_refused(scene, "stack pointer");
    regs->dwarf[QH_REG_RSP] = STACK + STACK_BYTES;
    assert_refused(scene, "stack pointer");
    regs->dwarf[QH_REG_RSP] = STACK + 0xa8000;
    regs->known = 0;
    assert_refused(scene, "stack pointer");
}

static void test_frames_show_no_sleep(void **state)
{
    struct scene *scene = *state;

    world_stack(scene->world, &scene->world->cleaner->stack,
                "qemu_coroutine_switch", "cache_clean_timer", NULL);
    assert_refused(scene, "no sleep");
}

static void test_to_wake_is_another(void **state)
{
    struct scene *scene = *state;

    scene->sleep.to_wake = qh_raddr(1); /* the sentinel: a wake was delivered */
    assert_refused(scene, "to_wake");
    scene->sleep.to_wake = qh_raddr(0);
    assert_refused(scene, "to_wake");
}

static void test_erased_but_armed_again(void **state)
{
    struct scene *scene = *state;

    scene->sleep.to_wake = scene->world->cleaner->address;
    assert_refused(scene, "to_wake");
}

static void test_timer_is_not_its_own(void **state)
{
    struct scene *scene = *state;
    struct qh_rescue_timer *timer = &scene->sleep.timer;
    const struct qh_rescue_timer own = *timer;

    timer->callback = "job_sleep_timer_cb";
    assert_refused(scene, "not this sleeper's");
    timer->callback = NULL;
    assert_refused(scene, "not this sleeper's");
    *timer = own;
    timer->opaque = qh_raddr(0x1234);
    assert_refused(scene, "not this sleeper's");
    *timer = own;
    timer->address = qh_raddr(STACK + STACK_BYTES);
    assert_refused(scene, "stack");
    timer->address = qh_raddr(STACK - 8);
    assert_refused(scene, "stack");
}

static void test_list_of_another_context(void **state)
{
    struct scene *scene = *state;

    scene->sleep.list.notifies = scene->world->main_context->address;
    assert_refused(scene, "does not belong");
    scene->notifier.context = scene->world->main_context->address;
    scene->notifier.read_fd = scene->notifier.write_fd = 7;
    assert_refused(scene, "does not belong");
}

static void test_another_clock(void **state)
{
    struct scene *scene = *state;

    scene->sleep.list.clock = QH_CLOCK_VIRTUAL;
    assert_refused(scene, "realtime");
    scene->sleep.list.clock = QH_CLOCK_REALTIME;
    scene->sleep.list.clock_enabled = false;
    assert_refused(scene, "realtime");
}

static void test_list_in_use(void **state)
{
    struct scene *scene = *state;

    scene->sleep.list.lock = 1;
    assert_refused(scene, "locked");
    scene->sleep.list.lock = 0;
    scene->sleep.list.done = 1;
    assert_refused(scene, "being run");
}

static void test_list_not_sane(void **state)
{
    struct scene *scene = *state;

    put_behind(scene);
    scene->timers[1].expire_ns = 50 * S_NS;
    assert_refused(scene, "not sorted");
    scene->timers[1].expire_ns = -1;
    assert_refused(scene, "not sorted");
    scene->timers[1].expire_ns = 200 * S_NS;
    scene->timers[1].list = qh_raddr(0x9000);
    assert_refused(scene, "not its own");
}

static void test_timer_linked_otherwise(void **state)
{
    struct scene *scene = *state;

    scene->timers[1] = scene->timers[0];
    scene->sleep.list.timer_count = 2;
    assert_refused(scene, "twice");
    scene->sleep.list.timer_count = 0;
    assert_refused(scene, "no list");
    scene->sleep.list.timer_count = 1;
    scene->sleep.timer.expire_ns = -1;
    assert_refused(scene, "not armed");
}

static void test_loop_does_not_sleep(void **state)
{
    struct scene *scene = *state;
    struct qh_thread *io0 = scene->world->io0;

    io0->state = QH_THREAD_RUNNABLE;
    assert_refused(scene, "not asleep");
    io0->state = QH_THREAD_IN_KERNEL;
    assert_refused(scene, "not asleep");
    io0->state = QH_THREAD_BLOCKED;
    io0->perhaps_awake = true;
    assert_refused(scene, "not asleep");
    io0->perhaps_awake = false;
    scene->world->io0_context->notify_me = 0;
    assert_refused(scene, "poll");
    scene->world->io0_context->notify_me = 2;
    scene->world->io0_context->tid = 0;
    assert_refused(scene, "no thread");
}

static void test_somebody_in_timer_code(void **state)
{
    struct scene *scene = *state;

    world_stack(scene->world, &scene->world->other->stack, "timer_mod_ns",
                "worker_thread", NULL);
    assert_refused(scene, "inside timer");
    world_stack(scene->world, &scene->world->other->stack, "worker_thread",
                NULL);
    scene->world->other->stack.cut = "no CFI";
    assert_refused(scene, "seen whole");
}

static void test_notifier_is_no_eventfd_in_use(void **state)
{
    struct scene *scene = *state;
    const struct qh_rescue_notifier own = scene->notifier;

    scene->notifier.ready = false;
    assert_refused(scene, "notifier");
    scene->notifier = own;
    scene->notifier.write_fd = 10; /* a pipe: two ends */
    assert_refused(scene, "notifier");
    scene->notifier.read_fd = scene->notifier.write_fd = -1;
    assert_refused(scene, "notifier");
    scene->notifier.read_fd = scene->notifier.write_fd = 11;
    assert_refused(scene, "notifier");
    scene->notifier = own;
    scene->notifier.context = qh_raddr(0x9999);
    assert_refused(scene, "gone");
}

static void test_eventfd_is_doubtful(void **state)
{
    struct scene *scene = *state;

    scene->world->io0_context->event_count = -1;
    assert_refused(scene, "count");
    scene->world->io0_context->event_count = INT64_MAX;
    assert_refused(scene, "count");
    scene->world->io0_context->event_count = 0;
    scene->world->main_context->event_fd = 9;
    assert_refused(scene, "two contexts");
}

static void test_sleeper_is_gone(void **state)
{
    struct scene *scene = *state;

    scene->world->snapshot->sleeper_count = 0;
    assert_refused(scene, "gone");
}

#define LOST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define ERASED(name)                                                           \
    cmocka_unit_test_setup_teardown(name, set_up_erased, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOST(test_first_of_its_list),
        LOST(test_moved_to_the_head),
        ERASED(test_erased_is_armed_first),
        ERASED(test_fired_is_linked_again),
        ERASED(test_fired_of_an_empty_list),
        cmocka_unit_test(test_graph_lock_is_only_notified),
        LOST(test_not_proved),
        LOST(test_coroutine_not_parked),
        LOST(test_stack_pointer_elsewhere),
        LOST(test_frames_show_no_sleep),
        LOST(test_to_wake_is_another),
        ERASED(test_erased_but_armed_again),
        LOST(test_timer_is_not_its_own),
        LOST(test_list_of_another_context),
        LOST(test_another_clock),
        LOST(test_list_in_use),
        LOST(test_list_not_sane),
        LOST(test_timer_linked_otherwise),
        LOST(test_loop_does_not_sleep),
        LOST(test_somebody_in_timer_code),
        LOST(test_notifier_is_no_eventfd_in_use),
        LOST(test_eventfd_is_doubtful),
        LOST(test_sleeper_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
