/* Holding a thread still at one of the runtime's windows.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "hold.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "atomics.h"
#include "runtime/thread.h"
#include "watch.h"

struct hold {
    /* 0, or whom to catch: a TID or HOLD_ANY.  The caught one takes it back
     * to 0, so that there is only one. */
    int wanted;
    enum hold_how how;
    int released;
    sem_t arrived;
    sem_t go;
};

static struct hold holds[CFIX_POINTS];

static void wait_here(struct hold *hold)
{
    if (hold->how == HOLD_HALT) {
        kill(getpid(), SIGSTOP);
        return;
    }
    if (hold->how == HOLD_SPIN) {
        while (!cfix_load_acquire(&hold->released)) {
            __builtin_ia32_pause();
        }
        return;
    }
    while (sem_wait(&hold->go)) {
        if (errno != EINTR) {
            cfix_die("sem_wait");
        }
    }
}

/* Not inlined into anything and with something to do after the wait, so that
 * its frame stands between the window and the futex. */
static void hold_window(enum cfix_point point)
{
    struct hold *hold = &holds[point];
    int wanted = cfix_load_acquire(&hold->wanted);

    if (!wanted || (wanted != HOLD_ANY && wanted != qemu_get_thread_id())) {
        return;
    }
    if (cfix_cmpxchg(&hold->wanted, wanted, 0) != wanted) {
        return;
    }
    sem_post(&hold->arrived);
    wait_here(hold);
    cfix_store_release(&hold->released, 0);
}

void hold_init(void)
{
    for (int i = 0; i < CFIX_POINTS; i++) {
        if (sem_init(&holds[i].arrived, 0, 0) || sem_init(&holds[i].go, 0, 0)) {
            cfix_die("sem_init");
        }
    }
    cfix_window = hold_window;
}

void hold_arm(enum cfix_point point, int tid, enum hold_how how)
{
    holds[point].how = how;
    cfix_store_release(&holds[point].wanted, tid);
}

void hold_wait(enum cfix_point point)
{
    struct timespec end;

    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += WATCH_LIMIT_SECONDS;
    while (sem_timedwait(&holds[point].arrived, &end)) {
        if (errno != EINTR) {
            watch_fail("nobody came to the point that is held: %d", point);
        }
    }
}

void hold_release(enum cfix_point point)
{
    cfix_store_release(&holds[point].released, 1);
    sem_post(&holds[point].go);
}
