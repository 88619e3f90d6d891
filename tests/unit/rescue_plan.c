/* What a rescue would write.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "rescue_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void assert_write(const struct qh_rescue_plan *plan, size_t index,
                         uint64_t address, uint64_t before, uint64_t after)
{
    assert_true(index < plan->write_count);
    const struct qh_word *word = &plan->writes[index].word;
    assert_int_equal(word->address.value, address);
    assert_int_equal(word->before, before);
    assert_int_equal(word->after, after);
}

static void test_first_of_its_list(void **state)
{
    struct scene *scene = *state;
    struct qh_rescue_plan plan = scene_plan_of(scene);

    assert_int_equal(plan.write_count, 1);
    assert_write(&plan, 0, scene->sleep.timer.expire_at.value,
                 (uint64_t)scene->sleep.timer.expire_ns, 1);
    assert_int_equal(plan.notifier.write_fd, 9);
}

static void test_moved_to_the_head(void **state)
{
    struct scene *scene = *state;
    const struct qh_rescue_timer own = scene->sleep.timer;

    scene_put_behind(scene);
    struct qh_rescue_plan plan = scene_plan_of(scene);
    assert_int_equal(plan.write_count, 4);
    assert_write(&plan, 0, own.expire_at.value, (uint64_t)own.expire_ns, 1);
    assert_write(&plan, 1, SECOND + NEXT, own.address.value, 0);
    assert_write(&plan, 2, own.next_at.value, 0, FIRST);
    assert_write(&plan, 3, FIRST_AT, FIRST, own.address.value);
}

static void test_erased_is_armed_first(void **state)
{
    struct scene *scene = *state;
    struct qh_rescue_plan plan = scene_plan_of(scene);

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

    scene_let_fire(scene, 1);
    struct qh_rescue_plan plan = scene_plan_of(scene);
    assert_int_equal(plan.write_count, 4);
    assert_write(&plan, 1, own.expire_at.value, UINT64_MAX, 1);
    assert_write(&plan, 2, own.next_at.value, 0, FIRST);
    /* The list's own word last: until then nobody sees the timer. */
    assert_write(&plan, 3, FIRST_AT, FIRST, own.address.value);
}

static void test_fired_of_an_empty_list(void **state)
{
    struct scene *scene = *state;

    scene_let_fire(scene, 0);
    struct qh_rescue_plan plan = scene_plan_of(scene);
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

#define LOST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, scene_lost, scene_tear_down)
#define ERASED(name)                                                           \
    cmocka_unit_test_setup_teardown(name, scene_erased, scene_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOST(test_first_of_its_list),
        LOST(test_moved_to_the_head),
        ERASED(test_erased_is_armed_first),
        ERASED(test_fired_is_linked_again),
        ERASED(test_fired_of_an_empty_list),
        cmocka_unit_test(test_graph_lock_is_only_notified),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
