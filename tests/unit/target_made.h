/* Cores of the child, made anew in each run, and what is known of it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TEST_TARGET_MADE_H
#define TEST_TARGET_MADE_H

#include "target_help.h"

enum { TEXT_BYTES = 64 };

/* One core and what is known of the process that it is of. */
struct made {
    char *path; /* NULL where it could not be made */
    const char *why_not;
    struct child_facts facts;
    unsigned char text[TEXT_BYTES]; /* at facts.function */
    uint64_t relocated;             /* the number there */
    int64_t written_ns;             /* CLOCK_MONOTONIC */
};

/* Has the kernel, or gcore of gdb, write one into `folder`. The caller frees
 * the path. */
void made_by_kernel(const char *folder, struct made *ret);
void made_by_gcore(const char *folder, struct made *ret);

#endif
