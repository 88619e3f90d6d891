/* Damage done on purpose: loops in lists, names that hurt a terminal.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "plant.h"

#include <stdio.h>
#include <string.h>

#include "park.h"
#include "ram.h"
#include "scenario.h"
#include "watch.h"

/* Red, bell, a title for the terminal, a new line, a right-to-left mark, a
 * byte that is no UTF-8, markup. */
static const char evil[] = "\033[31m\a\033]0;x\a\n\xe2\x80\xae\xff<b>\"&";

enum plant plant_parse(const char *name)
{
    static const char *const names[] = {
        [PLANT_TIMER_LOOP] = "timer-loop",
        [PLANT_QUEUE_LOOP] = "queue-loop",
        [PLANT_NAMES] = "names",
        [PLANT_MAZE] = "maze",
        [PLANT_RAM] = "ram",
    };

    for (int i = PLANT_TIMER_LOOP; i <= PLANT_RAM; i++) {
        if (!strcmp(names[i], name)) {
            return (enum plant)i;
        }
    }
    return PLANT_NONE;
}

static void plant_timer_loop(struct world *world)
{
    struct QEMUTimerList *list = world->io1->ctx->tlg.tl[QEMU_CLOCK_REALTIME];
    struct QEMUTimer *last = list->active_timers;

    step_check(last != NULL, "a timer is armed");
    while (last->next) {
        last = last->next;
    }
    last->next = list->active_timers;
}

static void plant_queue_loop(void)
{
    struct Coroutine *first = SIMPLEQ_FIRST(&park_queue()->entries);
    struct Coroutine *last = first;

    step_check(last != NULL, "a coroutine is queued");
    while (SIMPLEQ_NEXT(last, co_queue_next)) {
        last = SIMPLEQ_NEXT(last, co_queue_next);
    }
    last->co_queue_next.sqe_next = first;
}

static void set_comm(int tid, const char *name)
{
    char path[64];
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/task/%d/comm", tid);
    file = fopen(path, "we");
    if (!file || fputs(name, file) < 0 || fclose(file)) {
        watch_fail("cannot write %s", path);
    }
}

/* In place and no longer than what is there: nobody else's memory is hurt. */
static void overwrite(char *name, size_t size)
{
    size_t length = strnlen(name, size - 1);

    memcpy(name, evil, length < sizeof(evil) ? length : sizeof(evil));
}

static void plant_names(struct world *world)
{
    struct BlockDriverState *bs = world->add.bs;
    /* Still there unless it was closed, which in a stuck one it is not. */
    bool open = bs && !(world->del.node_name && qmp_returned());

    set_comm(world->io0->thread_id, evil);
    overwrite(world->io0->id, strlen(world->io0->id) + 1);
    overwrite(world->io0->ctx->source.name,
              strlen(world->io0->ctx->source.name) + 1);
    if (open) {
        strncpy(bs->node_name, evil, sizeof(bs->node_name) - 1);
    }
}

/* Each slice of the list leads to the same long chain of bottom halves. */
static void plant_maze(struct world *world)
{
    static struct BHListSlice slices[20000];
    static struct QEMUBH chain[20000];
    const size_t slice_count = sizeof(slices) / sizeof(slices[0]);
    const size_t chain_count = sizeof(chain) / sizeof(chain[0]);

    for (size_t i = 0; i + 1 < chain_count; i++) {
        chain[i].next.sle_next = &chain[i + 1];
    }
    for (size_t i = 0; i < slice_count; i++) {
        slices[i].bh_list.slh_first = chain;
        if (i + 1 < slice_count) {
            slices[i].next.sqe_next = &slices[i + 1];
        }
    }
    world->io1->ctx->bh_slice_list.sqh_first = slices;
}

void plant(enum plant what, struct world *world)
{
    switch (what) {
    case PLANT_TIMER_LOOP:
        plant_timer_loop(world);
        break;
    case PLANT_QUEUE_LOOP:
        plant_queue_loop();
        break;
    case PLANT_NAMES:
        plant_names(world);
        break;
    case PLANT_MAZE:
        plant_maze(world);
        break;
    case PLANT_RAM:
        ram_forge_coroutine();
        break;
    case PLANT_NONE:
        break;
    }
}
