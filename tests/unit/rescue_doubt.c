/* Each precondition that keeps a rescue from writing.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "rescue_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_not_proved(void **state)
{
    struct scene *scene = *state;

    scene->finding.certainty = QH_STRONG;
    scene_assert_refused(scene, "not proved");
}

static void test_coroutine_not_parked(void **state)
{
    struct scene *scene = *state;

    scene->world->cleaner->caller = qh_raddr(0x1234);
    scene_assert_refused(scene, "not parked");
    scene->world->cleaner->caller = qh_raddr(0);
    scene->world->cleaner->scheduled = NULL;
    scene_assert_refused(scene, "not parked");
    scene->world->cleaner->scheduled = "aio_co_schedule";
    scene_assert_refused(scene, "not parked");
    scene->world->cleaner->scheduled = "qemu_co_sleep_ns";
    scene->world->cleaner->state = QH_CO_RUNNING;
    scene_assert_refused(scene, "not parked");
    scene->world->cleaner->state = QH_CO_POOLED;
    scene_assert_refused(scene, "not parked");
}

static void test_stack_pointer_elsewhere(void **state)
{
    struct scene *scene = *state;
    struct qh_registers *regs = &scene->world->cleaner->regs;

    regs->dwarf[QH_REG_RSP] = STACK - 8;
    scene_assert_refused(scene, "stack pointer");
    regs->dwarf[QH_REG_RSP] = STACK + STACK_BYTES;
    scene_assert_refused(scene, "stack pointer");
    regs->dwarf[QH_REG_RSP] = STACK + 0xa8000;
    regs->known = 0;
    scene_assert_refused(scene, "stack pointer");
}

static void test_frames_show_no_sleep(void **state)
{
    struct scene *scene = *state;

    world_stack(scene->world, &scene->world->cleaner->stack,
                "qemu_coroutine_switch", "cache_clean_timer", NULL);
    scene_assert_refused(scene, "no sleep");
}

static void test_to_wake_is_another(void **state)
{
    struct scene *scene = *state;

    scene->sleep.to_wake = qh_raddr(1); /* the sentinel: a wake was delivered */
    scene_assert_refused(scene, "to_wake");
    scene->sleep.to_wake = qh_raddr(0);
    scene_assert_refused(scene, "to_wake");
}

static void test_erased_but_armed_again(void **state)
{
    struct scene *scene = *state;

    scene->sleep.to_wake = scene->world->cleaner->address;
    scene_assert_refused(scene, "to_wake");
}

static void test_timer_is_not_its_own(void **state)
{
    struct scene *scene = *state;
    struct qh_rescue_timer *timer = &scene->sleep.timer;
    const struct qh_rescue_timer own = *timer;

    timer->callback = "job_sleep_timer_cb";
    scene_assert_refused(scene, "not this sleeper's");
    timer->callback = NULL;
    scene_assert_refused(scene, "not this sleeper's");
    *timer = own;
    timer->opaque = qh_raddr(0x1234);
    scene_assert_refused(scene, "not this sleeper's");
}

static void test_timer_is_not_in_its_frames(void **state)
{
    struct scene *scene = *state;
    struct qh_rescue_timer *timer = &scene->sleep.timer;
    const struct qh_rescue_timer own = *timer;

    timer->address = qh_raddr(STACK + STACK_BYTES);
    scene_assert_refused(scene, "frames");
    timer->address = qh_raddr(STACK - 8);
    scene_assert_refused(scene, "frames");
    *timer = own;
    timer->expire_at = qh_raddr(STACK + 8); /* below what is in use */
    scene_assert_refused(scene, "frames");
    *timer = own;
    timer->next_at = qh_raddr(STACK + STACK_BYTES - 4); /* not whole */
    scene_assert_refused(scene, "frames");
}

/* The timer names a QemuCoSleep that the sleeper does not sleep on. */
static void test_wake_is_not_its_own(void **state)
{
    struct scene *scene = *state;
    struct qh_sleeper *sleeper = scene->world->sleeper;

    sleeper->frame_wake = sleeper->wake;
    scene_plan_of(scene);
    sleeper->frame_wake = qh_raddr(sleeper->wake.value + 8);
    scene_assert_refused(scene, "another QemuCoSleep");
}

/* Of an armed one its to_wake says whose it is, of an erased one nothing. */
static void test_frames_tell_no_wake(void **state)
{
    struct scene *scene = *state;

    scene->world->sleeper->frame_wake = qh_raddr(0);
    scene_assert_refused(scene, "nothing but the timer");
}

static void test_armed_and_frames_tell_no_wake(void **state)
{
    struct scene *scene = *state;

    scene->world->sleeper->frame_wake = qh_raddr(0);
    scene_plan_of(scene);
}

static void test_list_of_another_context(void **state)
{
    struct scene *scene = *state;

    scene->sleep.list.notifies = scene->world->main_context->address;
    scene_assert_refused(scene, "does not belong");
    scene->notifier.context = scene->world->main_context->address;
    scene->notifier.read_fd = scene->notifier.write_fd = 7;
    scene_assert_refused(scene, "does not belong");
}

static void test_another_clock(void **state)
{
    struct scene *scene = *state;

    scene->sleep.list.clock = QH_CLOCK_VIRTUAL;
    scene_assert_refused(scene, "realtime");
    scene->sleep.list.clock = QH_CLOCK_REALTIME;
    scene->sleep.list.clock_enabled = false;
    scene_assert_refused(scene, "realtime");
}

static void test_list_in_use(void **state)
{
    struct scene *scene = *state;

    scene->sleep.list.lock = 1;
    scene_assert_refused(scene, "locked");
    scene->sleep.list.lock = 0;
    scene->sleep.list.done = 1;
    scene_assert_refused(scene, "being run");
}

static void test_list_not_sane(void **state)
{
    struct scene *scene = *state;

    scene_put_behind(scene);
    scene->timers[1].expire_ns = 50 * S_NS;
    scene_assert_refused(scene, "not sorted");
    scene->timers[1].expire_ns = -1;
    scene_assert_refused(scene, "not sorted");
    scene->timers[1].expire_ns = 200 * S_NS;
    scene->timers[1].list = qh_raddr(0x9000);
    scene_assert_refused(scene, "not its own");
}

static void test_timer_linked_otherwise(void **state)
{
    struct scene *scene = *state;

    scene->timers[1] = scene->timers[0];
    scene->sleep.list.timer_count = 2;
    scene_assert_refused(scene, "twice");
    scene->sleep.list.timer_count = 0;
    scene_assert_refused(scene, "no list");
    scene->sleep.list.timer_count = 1;
    scene->sleep.timer.expire_ns = -1;
    scene_assert_refused(scene, "not armed");
}

static void test_loop_does_not_sleep(void **state)
{
    struct scene *scene = *state;
    struct qh_thread *io0 = scene->world->io0;

    io0->state = QH_THREAD_RUNNABLE;
    scene_assert_refused(scene, "not asleep");
    io0->state = QH_THREAD_IN_KERNEL;
    scene_assert_refused(scene, "not asleep");
    io0->state = QH_THREAD_BLOCKED;
    io0->perhaps_awake = true;
    scene_assert_refused(scene, "not asleep");
    io0->perhaps_awake = false;
    scene->world->io0_context->notify_me = 0;
    scene_assert_refused(scene, "poll");
    scene->world->io0_context->notify_me = 2;
    scene->world->io0_context->tid = 0;
    scene_assert_refused(scene, "no thread");
}

static void test_somebody_in_timer_code(void **state)
{
    struct scene *scene = *state;

    world_stack(scene->world, &scene->world->other->stack, "timer_mod_ns",
                "worker_thread", NULL);
    scene_assert_refused(scene, "inside timer");
    world_stack(scene->world, &scene->world->other->stack, "worker_thread",
                NULL);
    scene->world->other->stack.cut = "no CFI";
    scene_assert_refused(scene, "seen whole");
}

static void test_notifier_is_no_eventfd_in_use(void **state)
{
    struct scene *scene = *state;
    const struct qh_rescue_notifier own = scene->notifier;

    scene->notifier.ready = false;
    scene_assert_refused(scene, "notifier");
    scene->notifier = own;
    scene->notifier.write_fd = 10; /* a pipe: two ends */
    scene_assert_refused(scene, "notifier");
    scene->notifier.read_fd = scene->notifier.write_fd = -1;
    scene_assert_refused(scene, "notifier");
    scene->notifier.read_fd = scene->notifier.write_fd = 11;
    scene_assert_refused(scene, "notifier");
    scene->notifier = own;
    scene->notifier.context = qh_raddr(0x9999);
    scene_assert_refused(scene, "gone");
}

static void test_eventfd_is_doubtful(void **state)
{
    struct scene *scene = *state;

    scene->world->io0_context->event_count = -1;
    scene_assert_refused(scene, "count");
    scene->world->io0_context->event_count = INT64_MAX;
    scene_assert_refused(scene, "count");
    scene->world->io0_context->event_count = 0;
    scene->world->main_context->event_fd = 9;
    scene_assert_refused(scene, "two contexts");
}

static void test_sleeper_is_gone(void **state)
{
    struct scene *scene = *state;

    scene->world->snapshot->sleeper_count = 0;
    scene_assert_refused(scene, "gone");
}

#define LOST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, scene_lost, scene_tear_down)
#define ERASED(name)                                                           \
    cmocka_unit_test_setup_teardown(name, scene_erased, scene_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOST(test_not_proved),
        LOST(test_coroutine_not_parked),
        LOST(test_stack_pointer_elsewhere),
        LOST(test_frames_show_no_sleep),
        LOST(test_to_wake_is_another),
        ERASED(test_erased_but_armed_again),
        LOST(test_timer_is_not_its_own),
        LOST(test_timer_is_not_in_its_frames),
        LOST(test_wake_is_not_its_own),
        ERASED(test_frames_tell_no_wake),
        LOST(test_armed_and_frames_tell_no_wake),
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
