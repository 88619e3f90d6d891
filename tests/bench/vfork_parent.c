/* Preloaded into a process: one more thread, in state D if so wished.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The parent of a vfork child sleeps, not to be interrupted, until the child
 * ends or executes something; this child does neither. With VFORK_PARENT=0 in
 * the environment the thread sleeps in an ordinary way instead, so that both
 * processes have as many threads. Unset, there is no thread. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

static void *sleep_as_told(void *with_child)
{
    if (with_child && vfork() == 0) {
        /* The signal comes when the thread that forked is gone. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            pause();
        }
    }
    for (;;) {
        pause();
    }
    return NULL;
}

__attribute__((constructor)) static void begin(void)
{
    const char *wish = getenv("VFORK_PARENT");
    pthread_t thread;
    sigset_t all, old;

    if (!wish) {
        return;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (pthread_create(&thread, NULL, sleep_as_told,
                       *wish == '1' ? &thread : NULL)) {
        abort();
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}
