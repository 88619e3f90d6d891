/* The clocks of a running process, and what the scheduler's clock shows.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/live.h"
#include "target/procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* So long is waited for a thread to get to a CPU and measure its clock. */
enum { PROBE_NS = 20000000 };

static int64_t offset_of(int dir, const char *name)
{
    char text[256];
    int64_t ns = 0;

    if (qh_proc_read(dir, name, text, sizeof(text)) <= 0 ||
        !qh_proc_parse_timens(text, "monotonic", &ns)) {
        return 0;
    }
    return ns;
}

static bool same_link(int dir, const char *name, const char *own)
{
    char theirs[64] = "", ours[64] = "";

    return readlinkat(dir, name, theirs, sizeof(theirs) - 1) > 0 &&
           readlinkat(AT_FDCWD, own, ours, sizeof(ours) - 1) > 0 &&
           strcmp(theirs, ours) == 0;
}

/* timens_offsets shows the namespace for a process' children; it is its own
 * too unless it called unshare itself, which is why the links are compared. */
int64_t qh_clock_skew_ns(int dir)
{
    if (same_link(dir, "ns/time", "/proc/self/ns/time")) {
        return 0;
    }
    return offset_of(dir, "timens_offsets") -
           offset_of(AT_FDCWD, "/proc/self/timens_offsets");
}

/* After a sleep, however short, se.exec_start is the moment at which this
 * thread got the CPU; the least distance of a few is the best. */
static bool measure(int64_t *ret_ns)
{
    const struct timespec shortest = { .tv_nsec = 1 };
    int64_t least = INT64_MAX;
    char text[4096];

    for (unsigned i = 0; i < 3; i++) {
        int64_t exec_start;
        nanosleep(&shortest, NULL);
        int64_t now = qh_now_ns(CLOCK_MONOTONIC);
        if (qh_proc_read(AT_FDCWD, "/proc/thread-self/sched", text,
                         sizeof(text)) <= 0 ||
            !qh_proc_parse_exec_start(text, &exec_start)) {
            return false;
        }
        if (now - exec_start < least) {
            least = now - exec_start;
        }
    }
    *ret_ns = least;
    return true;
}

/* Shared with the thread that measures; who is done last frees it. */
struct probe {
    cpu_set_t only;
    sem_t done;
    atomic_int owners;
    bool measured;
    int64_t offset_ns;
};

static void leave(struct probe *probe)
{
    if (atomic_fetch_sub(&probe->owners, 1) == 1) {
        sem_destroy(&probe->done);
        free(probe);
    }
}

static void *run_probe(void *opaque)
{
    struct probe *probe = opaque;

    probe->measured =
        sched_setaffinity(0, sizeof(probe->only), &probe->only) == 0 &&
        measure(&probe->offset_ns);
    sem_post(&probe->done);
    leave(probe);
    return NULL;
}

static bool start_probe(struct probe *probe)
{
    pthread_attr_t detached;
    pthread_t thread;

    if (pthread_attr_init(&detached)) {
        return false;
    }
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    atomic_init(&probe->owners, 2);
    bool started = pthread_create(&thread, &detached, run_probe, probe) == 0;
    pthread_attr_destroy(&detached);
    return started;
}

static bool await_probe(struct probe *probe)
{
    struct timespec end;

    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_nsec += PROBE_NS;
    end.tv_sec += end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    while (sem_timedwait(&probe->done, &end) < 0) {
        if (errno != EINTR) {
            return false;
        }
    }
    return probe->measured;
}

bool qh_clock_of_cpu(int cpu, int64_t *ret_ns)
{
    cpu_set_t ours;

    if (cpu < 0 || cpu >= CPU_SETSIZE ||
        sched_getaffinity(0, sizeof(ours), &ours) < 0 ||
        !CPU_ISSET(cpu, &ours)) {
        return false;
    }
    struct probe *probe = calloc(1, sizeof(*probe));
    if (!probe) {
        return false;
    }
    sem_init(&probe->done, 0, 0);
    CPU_SET(cpu, &probe->only);
    if (!start_probe(probe)) {
        sem_destroy(&probe->done);
        free(probe);
        return false;
    }
    bool measured = await_probe(probe);
    if (measured) {
        *ret_ns = probe->offset_ns;
    }
    leave(probe);
    return measured;
}
