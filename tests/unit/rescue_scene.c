/* A sleeper that a kick could wake, for the tests of rescue/'s plans.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "rescue_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct qh_rescue_timer scene_timer(uint64_t address, int64_t expire_ns,
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
        scene_timer(world->sleeper->timer.value, world->sleeper->expire_ns, 0);
    scene->timers[0].opaque = world->sleeper->wake;
    world->sleeper->frame_wake = world->sleeper->wake;
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

int scene_lost(void **state)
{
    *state = scene_of(world_wake_lost());
    return 0;
}

int scene_erased(void **state)
{
    *state = scene_of(world_erased());
    return 0;
}

int scene_tear_down(void **state)
{
    struct scene *scene = *state;

    qh_findings_destroy(scene->findings);
    world_destroy(scene->world);
    free(scene);
    return 0;
}

struct qh_rescue_plan scene_plan_of(struct scene *scene)
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

void scene_assert_refused(struct scene *scene, const char *words)
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

void scene_put_behind(struct scene *scene)
{
    struct qh_rescue_timer own = scene->timers[0];

    scene->timers[0] = scene_timer(FIRST, 100 * S_NS, SECOND);
    scene->timers[1] = scene_timer(SECOND, 200 * S_NS, own.address.value);
    scene->timers[2] = own;
    scene->sleep.list.timer_count = 3;
}

void scene_let_fire(struct scene *scene, size_t others)
{
    scene->sleep.timer.expire_ns = -1;
    scene->sleep.list.timer_count = others;
    if (others) {
        scene->timers[0] = scene_timer(FIRST, 100 * S_NS, 0);
    }
}
