/* A scenario in which the woken thread gets no CPU.
 * SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A thread is kept runnable inside of ppoll, in the kernel, for as long as one
 * likes: the main thread is given the real-time policy SCHED_FIFO at priority
 * 1 and pinned to one CPU, and on that same CPU a process of ours spins at
 * SCHED_FIFO priority 50.  The scheduler's reserve for ordinary threads (the
 * fair server, real-time throttling) does not help the main thread, as it is
 * none.  SCHED_IDLE below an ordinary hog would not do: it still gets a
 * fraction of a per cent, and that is enough to leave a ppoll.
 *
 * The hog is a process of its own and not a thread: an observer stops the
 * victim's threads, and a stopped hog would give the CPU away.  So an observer
 * finds a thread that cannot be stopped within any bound.
 *
 * It takes CAP_SYS_NICE and a second CPU; without them the status is 77.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph_lock.h"
#include "hold.h"
#include "scenario.h"
#include "watch.h"

/* Nobody needs it for longer; a forgotten one must not eat a CPU for ever. */
#define HOG_LIFE_SECONDS 120

static pid_t hog;
static int hog_start[2];
static int hog_runs[2];
static int hog_cpu;

static void cannot(const char *what)
{
    fprintf(stderr, "victim: runnable-starved is not possible here: %s: %s\n",
            what, strerror(errno));
    fflush(stderr);
    if (hog > 0) {
        kill(hog, SIGKILL);
    }
    _exit(77);
}

/* The highest CPU that we may use; `others` gets all but that. */
static int choose_cpu(cpu_set_t *others)
{
    int cpu = CPU_SETSIZE - 1;

    if (sched_getaffinity(0, sizeof(*others), others)) {
        cannot("sched_getaffinity");
    }
    while (!CPU_ISSET(cpu, others)) {
        cpu--;
    }
    CPU_CLR(cpu, others);
    if (!CPU_COUNT(others)) {
        errno = ENODEV;
        cannot("a second CPU");
    }
    return cpu;
}

static void pin(int tid, int cpu, int priority)
{
    const struct sched_param param = { .sched_priority = priority };
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    if (sched_setaffinity(tid, sizeof(cpus), &cpus)) {
        cannot("sched_setaffinity");
    }
    if (sched_setscheduler(tid, SCHED_FIFO, &param)) {
        cannot("SCHED_FIFO");
    }
}

static void be_the_hog(void)
{
    char byte = 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "victim-hog");
    alarm(HOG_LIFE_SECONDS);
    if (read(hog_start[0], &byte, 1) != 1) {
        _exit(0);
    }
    pin(0, hog_cpu, 50);
    if (write(hog_runs[1], &byte, 1) != 1) {
        _exit(1);
    }
    for (;;) {
        __builtin_ia32_pause();
    }
}

void prepare_starved(void)
{
    cpu_set_t others;

    hog_cpu = choose_cpu(&others);
    if (pipe(hog_start) || pipe(hog_runs)) {
        cannot("pipe");
    }
    hog = fork();
    if (hog < 0) {
        cannot("fork");
    }
    if (hog == 0) {
        close(hog_start[1]);
        close(hog_runs[0]);
        be_the_hog();
    }
    close(hog_start[0]);
    close(hog_runs[1]);
    /* All threads to come inherit it: only the main thread goes there. */
    if (sched_setaffinity(0, sizeof(others), &others)) {
        cannot("sched_setaffinity");
    }
}

static bool main_runnable(void *opaque)
{
    struct world *world = opaque;

    return watch_state(world->main_tid) == 'R';
}

void run_starved(struct world *world)
{
    char byte = 0;

    step_reader_stays(world);
    /* While it sleeps in its poll. */
    pin(world->main_tid, hog_cpu, 1);
    if (write(hog_start[1], &byte, 1) != 1 ||
        read(hog_runs[0], &byte, 1) != 1) {
        cannot("SCHED_FIFO");
    }
    hold_release(CFIX_RDUNLOCK_ENTERED);
    step_iothread_rests(world->io0);
    watch_until("the main thread is runnable", main_runnable, world);
    step_check(bdrv_graph_reader_count() == 0, "there is no reader");
    step_check(!qmp_returned(), "blockdev-del is not done");
}

void release_starved(struct world *world)
{
    kill(hog, SIGKILL);
    waitpid(hog, NULL, 0);
    step_went_on(world);
}
