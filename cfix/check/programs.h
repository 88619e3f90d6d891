/* The checked programs, and what each source is expected to do in them.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_CHECK_PROGRAMS_H
#define CFIX_CHECK_PROGRAMS_H

#include "check/check.h"

/* The columns of `expected`: the sources that a program is run with. */
enum { SLEEP_FIXED, SLEEP_LEGACY, SLEEP_TICK, SLEEP_MARK, SLEEP_QEMU, SLEEP_SOURCES };
enum { GRAPH_FIXED, GRAPH_LEGACY, GRAPH_SOURCES };

struct sleep_program {
    struct check_program program;
    enum check_violation expected[SLEEP_SOURCES];
};

struct graph_program {
    struct check_program program;
    enum check_violation expected[GRAPH_SOURCES];
    /* Beyond what --all has time for. */
    bool is_long;
};

/* A litmus test claims that its weak outcome is not reached; it must be, where
 * this says CHECK_CLAIM. */
struct litmus_program {
    struct check_program program;
    enum check_violation expected[CHECK_MODELS];
};

/* All end with a program without a name. */
extern const struct sleep_program sleep_programs[];
extern const struct graph_program graph_programs[];
extern const struct litmus_program litmus_programs[];

/* One line or one ordering made wrong; from mutants.py. */
struct check_mutant {
    const char *name;
    /* What it breaks, one line. */
    const char *what;
    /* The sleep or graph subject, and the program and model that kill it. */
    const void *subject;
    const char *primitive;
    const char *program;
    enum check_model model;
    enum check_violation expected;
};

extern const struct check_mutant check_mutants[];

/* All checks in the order of --list; *ret_n of them.  Freed by nobody: they
 * live as long as the program. */
struct check *checks_create(unsigned *ret_n);

#endif
