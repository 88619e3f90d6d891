/* For the tests of the target room: starts and stops target_child.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_TARGET_HELP_H
#define QH_TARGET_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "target/target.h"

enum { PAGE_BYTES = 4096, PATTERN_BYTES = 3 * PAGE_BYTES };
enum { POLLER, WAITER, SPINNER, SLEEPER, CHILD_THREADS };

/* What the child says of itself, in its own words. */
struct child_facts {
    pid_t pid;
    pid_t tids[CHILD_THREADS]; /* WAITER is the vfork parent in that mode */
    uint64_t counter;          /* of the spinner, on a page of its own */
    uint64_t signals;          /* SIGUSR1 and SIGRTMIN received, likewise */
    uint64_t pattern;          /* PATTERN_BYTES of child_pattern() */
    uint64_t gap;              /* a page, a hole of one page, a page */
    int counted_fd;            /* an eventfd at 0x15 */
    uint64_t function;         /* in the program's text */
    uint64_t relocated;        /* a pointer that the dynamic linker has set */
};

struct child {
    struct child_facts facts;
    pid_t pid;
    int in;
    int out;
};

unsigned char child_pattern(unsigned index);

/* Starts $QHANG_TARGET_CHILD, or `program` if not NULL, in the folder `cwd` (or
 * NULL) and waits until it is ready. */
struct child child_start(const char *program, const char *mode,
                         const char *cwd);
/* Kills it for good. */
void child_end(struct child *child);
void child_order(struct child *child, char order);
/* The number in its answer "poked N". */
unsigned child_poked(struct child *child);

/* Now, as the target's memory has it, past the page cache. */
uint64_t child_number(struct qh_target *target, uint64_t address);
/* The same without a target. */
uint64_t child_peek(pid_t pid, uint64_t address);

/* State letter of a thread, 'X' when it is gone. */
char thread_state(pid_t pid, pid_t tid);
long thread_tracer(pid_t pid, pid_t tid);
/* Polls until the thread is in `state`; fails the test after 20 s. */
void await_state(pid_t pid, pid_t tid, char state);
void await_untraced(pid_t pid, pid_t tid);
/* Polls until the number differs from `from`. */
void await_change(pid_t pid, uint64_t address, uint64_t from);

/* No thread of it is given up for want of a CPU, however busy the host. */
struct qh_target *open_live(pid_t pid);
/* Fails the test when there is an error, and says it. */
void assert_fine(struct qh_error *error);
/* Fails unless there is an error of this code; takes it. */
void assert_code(struct qh_error *error, enum qh_error_code code);
const struct qh_task *task_of(const struct qh_target *target, pid_t tid);

/* A folder for the files of one test. */
char *make_folder(void);
void remove_folder(char *folder);
/* A whole file in memory, the caller's; `*ret_bytes` long. */
unsigned char *slurp(const char *path, size_t *ret_bytes);
void spit(const char *path, const void *bytes, size_t count);
/* Runs a program to its end with its output thrown away; its exit status. */
int run(const char *const *argv);

#endif
