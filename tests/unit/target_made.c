/* Cores of the child, by the kernel and by gcore.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target_made.h"

#include <glob.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

static int64_t monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* What a live reading shows, to hold the core against. */
static void note_facts(struct made *made, const struct child *child)
{
    made->facts = child->facts;
    for (unsigned i = 0; i < TEXT_BYTES; i += 8) {
        uint64_t word = child_peek(child->pid, child->facts.function + i);
        memcpy(made->text + i, &word, 8);
    }
    made->relocated = child_peek(child->pid, child->facts.relocated);
}

static char *find(const char *folder, const char *pattern)
{
    char path[600];
    glob_t found;
    char *result = NULL;

    snprintf(path, sizeof(path), "%s/%s", folder, pattern);
    if (glob(path, 0, NULL, &found) == 0) {
        result = strdup(found.gl_pathv[0]);
        globfree(&found);
    }
    return result;
}

/* Ready is said before the poller has come to its ppoll. */
static void wait_for_poller(const struct child *child)
{
    char path[64], call[16] = "";

    snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", child->pid,
             child->facts.tids[POLLER]);
    while (strncmp(call, "271 ", 4)) {
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        assert_true(fgets(call, sizeof(call), file) || !ferror(file));
        fclose(file);
        sched_yield();
    }
}

void made_by_kernel(const char *folder, struct made *ret)
{
    struct child child = child_start(NULL, "threads", folder);

    note_facts(ret, &child);
    wait_for_poller(&child);
    child_order(&child, 'a');
    waitpid(child.pid, NULL, 0);
    ret->written_ns = monotonic_ns();
    child_end(&child);
    ret->path = find(folder, "core*");
    ret->why_not = "the kernel wrote no core into the working folder "
                   "(kernel.core_pattern)";
}

void made_by_gcore(const char *folder, struct made *ret)
{
    struct child child = child_start(NULL, "threads", NULL);
    char prefix[600], pid[16];
    const char *const argv[] = { "gcore", "-o", prefix, pid, NULL };

    note_facts(ret, &child);
    wait_for_poller(&child);
    snprintf(prefix, sizeof(prefix), "%s/gcore", folder);
    snprintf(pid, sizeof(pid), "%d", child.pid);
    run(argv);
    ret->written_ns = monotonic_ns();
    child_end(&child);
    ret->path = find(folder, "gcore.*");
    ret->why_not = "gcore (of gdb) did not work";
}
