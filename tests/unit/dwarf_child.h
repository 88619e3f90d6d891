/* A fixture that runs: started, listened to, examined, ended.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DWARF_CHILD_H
#define DWARF_CHILD_H

#include "dwarf/dwarf.h"
#include "target/target.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

enum { MAX_FACTS = 128, MAX_WORDS = 6 };

/* One line that the fixture printed, in words. */
struct fact {
    char *line;
    const char *words[MAX_WORDS]; /* NULL beyond the last */
};

struct child {
    pid_t pid;
    int stdin_fd; /* closing it ends the fixture */
    struct fact facts[MAX_FACTS];
    size_t fact_count;
};

/* Starts the program and reads its facts up to "ready"; fails the test when
 * that does not come. */
void child_start(struct child *child, const char *program);
/* Ends it and waits for it. */
void child_end(struct child *child);

/* The next fact of `kind` behind `after` (NULL: the first), or NULL. */
const struct fact *child_fact(const struct child *child, const char *kind,
                              const struct fact *after);
/* The same by its second word as well; fails the test when there is none. */
const struct fact *child_named(const struct child *child, const char *kind,
                               const char *name);
/* Waits until every thread of the fixture is in read(). */
void child_settle(const struct child *child);

uint64_t number(const char *word);

/* Fails the test when `error` is one, with its message. */
void assert_success(struct qh_error *error);
/* Fails the test unless `error` has this code and `text` is in its message
 * (NULL: any); destroys it. */
void assert_error(struct qh_error *error, enum qh_error_code code,
                  const char *text);

/* Opens the child as a target with its debug information. */
struct session {
    struct child child;
    struct qh_target *target;
    struct qh_debug *debug;
    struct qh_arena arena;
};
/* No thread of it is given up for want of a CPU, however busy the host. */
struct qh_target *open_patiently(pid_t pid);
void session_open(struct session *session, const char *program);
void session_close(struct session *session);

#endif
