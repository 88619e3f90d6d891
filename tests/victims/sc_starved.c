/* A scenario in which the woken thread gets no CPU.
 * SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A thread is kept runnable inside of ppoll, in the kernel, for as long as one
 * likes: the main thread is given the real-time policy SCHED_FIFO at priority
 * 55 and pinned to one CPU, and on that same CPU a process of ours spins at
 * SCHED_FIFO priority 60.  The scheduler's reserve for ordinary threads (the
 * fair server, real-time throttling) does not help the main thread, as it is
 * none.  SCHED_IDLE below an ordinary hog would not do: it still gets a
 * fraction of a per cent, and that is enough to leave a ppoll.
 *
 * The hog is a process of its own and not a thread: an observer stops the
 * victim's threads, and a stopped hog would give the CPU away.  So an observer
 * finds a thread that cannot be stopped within any bound.  There is one such
 * victim at a time on a machine; a second one waits for the first.
 *
 * It takes CAP_SYS_NICE and a second CPU; without them the status is 77.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph_lock.h"
#include "hold.h"
#include "scenario.h"
#include "watch.h"

/* Nobody needs it for longer; a forgotten one must not eat a CPU for ever. */
#define HOG_LIFE_SECONDS 60

static pid_t hog;
static int hog_cpu;
/* Where all other threads run. */
static cpu_set_t other_cpus;

static void cannot(const char *what)
{
    fprintf(stderr, "victim: runnable-starved is not possible here: %s: %s\n",
            what, strerror(errno));
    fflush(stderr);
    _exit(77);
}

/* The highest CPU that we may use; other_cpus gets all but that. */
static int choose_cpu(void)
{
    cpu_set_t *others = &other_cpus;
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

/* Whether thread `tid` (0 = the caller) is now real-time and pinned. */
static bool pin(int tid, int priority)
{
    const struct sched_param param = { .sched_priority = priority };
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET(hog_cpu, &cpus);
    return sched_setaffinity(tid, sizeof(cpus), &cpus) == 0 &&
           sched_setscheduler(tid, SCHED_FIFO, &param) == 0;
}

/* Forked from a process with threads: nothing but system calls in here. */
static void be_the_hog(int says_running)
{
    char byte = 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "victim-hog");
    alarm(HOG_LIFE_SECONDS);
    if (!pin(0, 60) || write(says_running, &byte, 1) != 1) {
        _exit(1);
    }
    for (;;) {
        __builtin_ia32_pause();
    }
}

/*
 * Returns when the hog runs.  In the script's thread: when the process is
 * killed, that thread gets the CPU to die, and its death kills the hog, which
 * frees the CPU for the main thread to die on.
 */
static void start_hog(void)
{
    char byte;
    int says_running[2];

    if (pipe(says_running)) {
        cannot("pipe");
    }
    hog = fork();
    if (hog < 0) {
        cannot("fork");
    }
    if (hog == 0) {
        close(says_running[0]);
        be_the_hog(says_running[1]);
    }
    close(says_running[1]);
    if (read(says_running[0], &byte, 1) != 1) {
        errno = EPERM;
        cannot("SCHED_FIFO");
    }
    close(says_running[0]);
}

static bool only_one(void *opaque)
{
    /* In the abstract name space: gone with the last of us that has it. */
    static const struct sockaddr_un name = {
        .sun_family = AF_UNIX,
        .sun_path = "\0qhang-victim-hog",
    };

    return bind(*(int *)opaque, (const struct sockaddr *)&name, sizeof(name)) ==
           0;
}

static void prepare_starved(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        cannot("socket");
    }
    /* Two hogs on one CPU: the one that has it keeps the other from dying. */
    watch_until("another runnable-starved ends", only_one, &fd);
    hog_cpu = choose_cpu();
    /* All threads to come inherit it: only the main thread goes there. */
    if (sched_setaffinity(0, sizeof(other_cpus), &other_cpus)) {
        cannot("sched_setaffinity");
    }
}

static bool main_runnable(void *opaque)
{
    struct world *world = opaque;

    return watch_state(world->main_tid) == 'R';
}

static void run_starved(struct world *world)
{
    step_reader_stays(world);
    /* While it sleeps in its poll. */
    if (!pin(world->main_tid, 55)) {
        cannot("SCHED_FIFO");
    }
    start_hog();
    hold_release(CFIX_RDUNLOCK_ENTERED);
    step_iothread_rests(world->io0);
    watch_until("the main thread is runnable", main_runnable, world);
    step_check(bdrv_graph_reader_count() == 0, "there is no reader");
    step_check(!qmp_returned(), "blockdev-del is not done");
}

static void release_starved(struct world *world)
{
    const struct sched_param ordinary = { .sched_priority = 0 };

    /* Also away from there, should anything else of that kind be there. */
    if (sched_setscheduler(world->main_tid, SCHED_OTHER, &ordinary) ||
        sched_setaffinity(world->main_tid, sizeof(other_cpus), &other_cpus)) {
        cannot("ordinary scheduling");
    }
    kill(hog, SIGKILL);
    waitpid(hog, NULL, 0);
    step_went_on(world);
}

const struct scenario sc_starved_table[] = {
    {
        .name = "runnable-starved",
        .about = "the writer is kicked, and gets no CPU to leave its poll",
        .coroutines = 1,
        .fixed = true,
        .prepare = prepare_starved,
        .run = run_starved,
        .release = release_starved,
    },
    { .name = NULL },
};
