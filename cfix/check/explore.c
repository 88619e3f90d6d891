/* Every schedule of a program, depth first, with sleep sets.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "check/explorer.h"

/* The sleep set behind `node`, with the world still in front of it. */
static uint8_t still_asleep(const struct node *node)
{
    uint8_t candidates = node->asleep | node->explored;
    uint8_t asleep = 0;

    for (int i = 0; i < TRANSITIONS; i++) {
        if ((candidates & BIT(i)) && !execution_dependent(i, node->chosen)) {
            asleep |= BIT(i);
        }
    }
    return asleep;
}

/* --- from execution to execution --- */

/* Whether taking `transition` here switches away from who could go on. */
static unsigned is_switch(const struct explorer *x, const struct node *node,
                          unsigned transition)
{
    unsigned depth = (unsigned)(node - x->nodes);

    return depth > 0 && transition != node[-1].chosen &&
           (node->enabled & BIT(node[-1].chosen));
}

static bool allowed(const struct explorer *x, const struct node *node,
                    unsigned transition)
{
    if (!(node->enabled & ~node->asleep & ~node->explored & BIT(transition))) {
        return false;
    }
    return !x->shortening ||
           node->switches + is_switch(x, node, transition) <= x->max_switches;
}

/* Chooses what to do at the node: who was running goes on, if possible. */
static bool choose(struct explorer *x, struct node *node)
{
    unsigned first = node == x->nodes ? 0 : node[-1].chosen;

    for (unsigned i = 0; i < TRANSITIONS; i++) {
        unsigned transition = (first + i) % TRANSITIONS;

        if (allowed(x, node, transition)) {
            node->chosen = (uint8_t)transition;
            node->choice = 0;
            node->choices = 0;
            return true;
        }
    }
    return false;
}

static struct node *new_node(struct explorer *x, uint8_t enabled,
                             uint8_t asleep)
{
    struct node *node = &x->nodes[x->n_nodes++];

    *node = (struct node){ .enabled = enabled, .asleep = asleep };
    if (x->depth > 0) {
        node->switches = (uint8_t)(node[-1].switches +
                                   is_switch(x, &node[-1], node[-1].chosen));
    }
    return node;
}

/* From the start, along the nodes, and on to the end.  False: cut. */
static bool execute(struct explorer *x)
{
    uint8_t asleep = 0;
    uint8_t enabled;

    execution_begin(x);
    while ((enabled = execution_look(x))) {
        struct node *node = &x->nodes[x->depth];

        if (x->depth == CHECK_MAX_STEPS || world.overflow) {
            x->stopped_short = true;
            return true;
        }
        if (x->depth == x->n_nodes) {
            node = new_node(x, enabled, asleep);
            if (!choose(x, node)) {
                x->n_nodes--;
                return false;
            }
        }
        node->choices = execution_choices(x, node->chosen);
        asleep = x->shortening ? 0 : still_asleep(node);
        execution_step(x, node);
        x->depth++;
    }
    return true;
}

/* On to the next list of choices; false when there is none. */
static bool advance(struct explorer *x)
{
    while (x->n_nodes > 0) {
        struct node *node = &x->nodes[x->n_nodes - 1];

        if (++node->choice < node->choices) {
            return true;
        }
        node->explored |= BIT(node->chosen);
        if (choose(x, node)) {
            return true;
        }
        x->n_nodes--;
    }
    return false;
}

/* Whether the search is over; if not, the violation is kept for its end. */
static bool is_sought(struct explorer *x)
{
    struct check_result *result = x->result;

    if (x->violation != x->check->expected_violation &&
        x->check->expected_violation) {
        if (!result->violation) {
            result->violation = x->violation;
            result->replay = explore_encode(x);
        }
        return false;
    }
    free(result->replay);
    result->replay = NULL;
    result->violation = x->violation;
    return true;
}

static void count(struct explorer *x, bool finished)
{
    struct check_result *result = x->result;

    result->cut += !finished;
    result->limited += finished && world.limit_met;
    result->schedules += finished && !world.limit_met;
    if (x->depth > result->longest) {
        result->longest = x->depth;
    }
}

void explore_search(struct explorer *x, uint64_t limit)
{
    struct check_result *result = x->result;
    bool bounded = false;

    x->n_nodes = 0;
    do {
        count(x, execute(x));
        bounded |= x->stopped_short || world.overflow;
        if (x->violation && is_sought(x)) {
            result->verdict = CHECK_VIOLATION;
            return;
        }
        if (limit-- == 0) {
            bounded = true;
            break;
        }
    } while (advance(x));
    result->verdict = bounded ? CHECK_BOUNDED : CHECK_EXHAUSTED;
    if (result->violation) {
        /* Not the one that was sought. */
        result->verdict = CHECK_VIOLATION;
        explore_decode(x, result->replay);
        x->depth = x->n_nodes;
    }
}

void explore_again(struct explorer *x)
{
    x->n_nodes = x->depth;
    execute(x);
}

char *explore_encode(const struct explorer *x)
{
    char text[2 * CHECK_MAX_STEPS + 1];
    unsigned length = 0;

    for (unsigned i = 0; i < x->depth; i++) {
        const struct node *node = &x->nodes[i];

        text[length++] =
            (char)(node->chosen < FLUSH ? 'a' + node->chosen
                                        : 'A' + node->chosen - FLUSH);
        if (node->choice) {
            text[length++] = (char)('0' + node->choice);
        }
    }
    text[length] = '\0';
    return strdup(text);
}

bool explore_decode(struct explorer *x, const char *choices)
{
    x->n_nodes = 0;
    for (; *choices && x->n_nodes < CHECK_MAX_STEPS; choices++) {
        struct node *node = &x->nodes[x->n_nodes];

        if (*choices >= 'a' && *choices < 'a' + FLUSH) {
            *node = (struct node){ .chosen = (uint8_t)(*choices - 'a') };
            x->n_nodes++;
        } else if (*choices >= 'A' && *choices < 'A' + FLUSH) {
            *node =
                (struct node){ .chosen = (uint8_t)(*choices - 'A' + FLUSH) };
            x->n_nodes++;
        } else if (*choices > '0' && *choices <= '0' + WORLD_VALUES &&
                   x->n_nodes > 0) {
            node[-1].choice = (uint8_t)(*choices - '0');
        } else {
            return false;
        }
    }
    return *choices == '\0';
}
