/* Running one check, and telling its violation.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check/explorer.h"

/* A search that is only to find a shorter trace gives up after this many. */
#define SHORTEN_SCHEDULES 20000u
#define SHORTEN_LEVELS 30u
#define LONGEST_SEARCH 60000000u

/* The nodes as they are, once more, with the trace written. */
static void retell(struct explorer *x)
{
    struct check_result *result = x->result;

    free(result->replay);
    free(result->trace);
    result->replay = explore_encode(x);
    x->trace = trace_create();
    explore_again(x);
    result->trace = trace_finish(x->trace);
    x->trace = NULL;
}

/* Takes over how the violation is told, if it is the same. */
static bool take_over(struct explorer *x, struct check_result *found)
{
    struct check_result *shorter = x->result;

    if (shorter->verdict != CHECK_VIOLATION ||
        shorter->violation != found->violation) {
        return false;
    }
    retell(x);
    free(found->message);
    free(found->replay);
    free(found->trace);
    found->message = shorter->message;
    found->replay = shorter->replay;
    found->trace = shorter->trace;
    *shorter = (struct check_result){ 0 };
    return true;
}

/*
 * The same violation with as little as possible of what makes a trace hard to
 * read: timers that fire, older values, switches.  May find none.
 */
static void shorten(struct explorer *x)
{
    struct check_result *found = x->result;
    bool done = false;

    x->shortening = true;
    for (unsigned level = 0; level < SHORTEN_LEVELS && !done; level++) {
        struct check_result shorter = { 0 };

        x->max_fires = level / 6 / 2;
        x->latest_values_only = level / 6 % 2 == 0;
        x->max_switches = level % 6;
        x->result = &shorter;
        explore_search(x, SHORTEN_SCHEDULES);
        done = take_over(x, found);
        check_result_deinit(&shorter);
    }
    x->result = found;
}

static struct explorer *explorer_create(const struct check *check,
                                        struct check_result *result)
{
    struct explorer *x = explorer ? explorer : calloc(1, sizeof(*x));

    if (!x) {
        perror("cfix-check: calloc");
        abort();
    }
    if (!explorer) {
        x->leader = fiber_create_leader();
        explorer = x;
        x->pristine = world_copy();
    }
    x->check = check;
    x->result = result;
    x->shortening = false;
    x->trace = NULL;
    return x;
}

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void check_run(const struct check *check, struct check_result *ret_result)
{
    struct explorer *x;
    double start = now_s();

    *ret_result = (struct check_result){ 0 };
    x = explorer_create(check, ret_result);
    explore_search(x, LONGEST_SEARCH);
    if (ret_result->verdict == CHECK_VIOLATION) {
        retell(x);
        shorten(x);
    }
    ret_result->seconds = now_s() - start;
}

/* Whether the world could follow the choices so far. */
static void follow(struct explorer *x)
{
    uint8_t enabled;

    execution_begin(x);
    while ((enabled = execution_look(x)) && x->depth < x->n_nodes) {
        struct node *node = &x->nodes[x->depth];

        if (!(enabled & BIT(node->chosen)) ||
            node->choice >= execution_choices(x, node->chosen)) {
            execution_violate(CHECK_ABORT, "step %u cannot be made",
                              x->depth + 1);
            return;
        }
        execution_step(x, node);
        x->depth++;
    }
}

void check_replay(const struct check *check, const char *choices,
                  struct check_result *ret_result)
{
    struct explorer *x;
    double start = now_s();

    *ret_result = (struct check_result){ .verdict = CHECK_BOUNDED };
    x = explorer_create(check, ret_result);
    if (!explore_decode(x, choices)) {
        ret_result->message = strdup("this is no replay string");
        return;
    }
    x->trace = trace_create();
    follow(x);
    ret_result->trace = trace_finish(x->trace);
    x->trace = NULL;
    ret_result->replay = explore_encode(x);
    ret_result->schedules = 1;
    ret_result->longest = x->depth;
    if (x->violation) {
        ret_result->verdict = CHECK_VIOLATION;
        ret_result->violation = x->violation;
    }
    ret_result->seconds = now_s() - start;
}
