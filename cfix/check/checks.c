/* The list of all checks, and what is expected of each.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/programs.h"
#include "check/subject.h"

#undef fprintf
#undef abort
#undef free

static const char *const sleep_names[SLEEP_SOURCES] = {
    [SLEEP_FIXED] = "fixed",
    [SLEEP_LEGACY] = "legacy",
    [SLEEP_TICK] = "tick",
    [SLEEP_MARK] = "mark",
    [SLEEP_QEMU] = "qemu",
};
static const struct sleep_subject *const sleep_subjects[SLEEP_SOURCES] = {
    [SLEEP_FIXED] = &sleep_fixed,
    [SLEEP_LEGACY] = &sleep_legacy,
    [SLEEP_TICK] = &sleep_tick,
    [SLEEP_MARK] = &sleep_mark,
    [SLEEP_QEMU] = &sleep_qemu,
};
static const char *const graph_names[GRAPH_SOURCES] = {
    [GRAPH_FIXED] = "fixed",
    [GRAPH_LEGACY] = "legacy",
};
static const struct graph_subject *const graph_subjects[GRAPH_SOURCES] = {
    [GRAPH_FIXED] = &graph_fixed,
    [GRAPH_LEGACY] = &graph_legacy,
};

struct list {
    struct check *checks;
    unsigned n;
};

/* The returned one is to be filled in; its name is there. */
static struct check *append(struct list *list, const char *name)
{
    struct check *check;

    list->checks =
        reallocarray(list->checks, list->n + 1, sizeof(*list->checks));
    if (!list->checks) {
        perror("cfix-check: reallocarray");
        abort();
    }
    check = &list->checks[list->n++];
    *check = (struct check){ .name = strdup(name) };
    return check;
}

static void append_model(struct list *list, struct check check,
                         const char *primitive)
{
    char name[128];
    struct check *appended;

    snprintf(name, sizeof(name), "%s/%s/%s/%s", primitive, check.source,
             check.program->name, check_model_name(check.model));
    appended = append(list, name);
    check.name = appended->name;
    check.expected =
        check.expected_violation ? CHECK_VIOLATION : CHECK_EXHAUSTED;
    *appended = check;
}

static void append_sleep(struct list *list)
{
    const struct sleep_program *p;

    for (int source = 0; source < SLEEP_SOURCES; source++) {
        for (p = sleep_programs; p->program.name; p++) {
            for (int model = 0; model < CHECK_MODELS; model++) {
                append_model(list,
                             (struct check){
                                 .source = sleep_names[source],
                                 .program = &p->program,
                                 .subject = sleep_subjects[source],
                                 .model = (enum check_model)model,
                                 .expected_violation = p->expected[source],
                             },
                             "sleep");
            }
        }
    }
}

static void append_graph(struct list *list)
{
    const struct graph_program *p;

    for (int source = 0; source < GRAPH_SOURCES; source++) {
        for (p = graph_programs; p->program.name; p++) {
            for (int model = 0; model < CHECK_MODELS; model++) {
                append_model(list,
                             (struct check){
                                 .source = graph_names[source],
                                 .program = &p->program,
                                 .subject = graph_subjects[source],
                                 .model = (enum check_model)model,
                                 .expected_violation = p->expected[source],
                                 .is_long = p->is_long && source == GRAPH_FIXED,
                             },
                             "graph");
            }
        }
    }
}

static void append_litmus(struct list *list)
{
    const struct litmus_program *p;

    for (p = litmus_programs; p->program.name; p++) {
        for (int model = 0; model < CHECK_MODELS; model++) {
            char name[128];
            struct check *check;

            snprintf(name, sizeof(name), "litmus/%s/%s", p->program.name,
                     check_model_name((enum check_model)model));
            check = append(list, name);
            check->source = "litmus";
            check->program = &p->program;
            check->model = (enum check_model)model;
            check->expected_violation = p->expected[model];
            check->expected =
                p->expected[model] ? CHECK_VIOLATION : CHECK_EXHAUSTED;
        }
    }
}

static const struct check_program *program_named(const char *primitive,
                                                 const char *name)
{
    if (strcmp(primitive, "sleep") == 0) {
        for (const struct sleep_program *p = sleep_programs; p->program.name;
             p++) {
            if (strcmp(p->program.name, name) == 0) {
                return &p->program;
            }
        }
    } else {
        for (const struct graph_program *p = graph_programs; p->program.name;
             p++) {
            if (strcmp(p->program.name, name) == 0) {
                return &p->program;
            }
        }
    }
    fprintf(stderr, "cfix-check: mutants.py: no program %s\n", name);
    abort();
}

static void append_mutants(struct list *list)
{
    for (const struct check_mutant *m = check_mutants; m->name; m++) {
        char name[128];
        struct check *check;

        snprintf(name, sizeof(name), "mutant/%s", m->name);
        check = append(list, name);
        check->source = "mutant";
        check->mutant = m->name;
        check->program = program_named(m->primitive, m->program);
        check->subject = m->subject;
        check->model = m->model;
        check->expected = CHECK_VIOLATION;
        check->expected_violation = m->expected;
    }
}

struct check *checks_create(unsigned *ret_n)
{
    struct list list = { NULL, 0 };

    append_litmus(&list);
    append_sleep(&list);
    append_graph(&list);
    append_mutants(&list);
    *ret_n = list.n;
    return list.checks;
}

/* --- words --- */

const char *check_violation_name(enum check_violation violation)
{
    static const char *const names[] = {
        [CHECK_NONE] = "none",
        [CHECK_DEADLOCK] = "deadlock",
        [CHECK_HEALS_BY_TIMER] = "heals by timer",
        [CHECK_CLAIM] = "claim",
        [CHECK_ABORT] = "abort",
        [CHECK_FREED] = "freed",
    };

    return names[violation];
}

const char *check_verdict_name(enum check_verdict verdict)
{
    static const char *const names[] = {
        [CHECK_EXHAUSTED] = "EXHAUSTED",
        [CHECK_BOUNDED] = "BOUNDED",
        [CHECK_VIOLATION] = "VIOLATION",
    };

    return names[verdict];
}

const char *check_model_name(enum check_model model)
{
    static const char *const names[CHECK_MODELS] = {
        [CHECK_SC] = "sc",
        [CHECK_TSO] = "tso",
        [CHECK_C11] = "c11",
    };

    return names[model];
}

bool check_as_expected(const struct check *check,
                       const struct check_result *result)
{
    return result->verdict == check->expected &&
           result->violation == check->expected_violation;
}

void check_result_deinit(struct check_result *result)
{
    free(result->message);
    free(result->trace);
    free(result->replay);
    *result = (struct check_result){ 0 };
}
