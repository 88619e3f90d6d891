/* Scenarios of RCU: a reader that does not leave its section.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <semaphore.h>

#include "atomics.h"
#include "scenario.h"
#include "watch.h"

/* ---- util/rcu.c, as much of it as an observer sees ---- */

struct rcu_reader_data {
    unsigned long ctr;
    bool waiting;
};

unsigned long rcu_gp_ctr = 1;
struct QemuEvent rcu_gp_event;
static __thread struct rcu_reader_data co_tls_rcu_reader;
static struct rcu_reader_data *registered;

static int rcu_gp_ongoing(unsigned long *ctr)
{
    unsigned long v = cfix_load(ctr);

    return v && v != rcu_gp_ctr;
}

static __attribute__((noinline)) void wait_for_readers(void)
{
    while (rcu_gp_ongoing(&registered->ctr)) {
        qemu_event_reset(&rcu_gp_event);
        if (rcu_gp_ongoing(&registered->ctr)) {
            qemu_event_wait(&rcu_gp_event);
        }
    }
}

static int rcu_tid;
static int reader_tid;

static void *call_rcu_thread(void *opaque)
{
    cfix_store(&rcu_tid, qemu_get_thread_id());
    rcu_gp_ctr += 2;
    wait_for_readers();
    return NULL;
}

/* ---- the reader ---- */

enum reader { READER_SLEEPS, READER_RUNS };

static enum reader how;
static sem_t go;
static int stop;

static void *reader_thread(void *opaque)
{
    registered = &co_tls_rcu_reader;
    cfix_store(&co_tls_rcu_reader.ctr, rcu_gp_ctr);
    cfix_store(&reader_tid, qemu_get_thread_id());
    if (how == READER_SLEEPS) {
        while (sem_wait(&go)) {
        }
    }
    while (!cfix_load(&stop)) {
        __builtin_ia32_pause();
    }
    cfix_store(&co_tls_rcu_reader.ctr, 0ul);
    qemu_event_set(&rcu_gp_event);
    while (sem_wait(&go)) {
    }
    return NULL;
}

static struct QemuThread rcu, reader;

static bool reader_is_there(void *opaque)
{
    int tid = cfix_load(&reader_tid);

    return tid && (how == READER_RUNS || watch_in_futex(tid));
}

static bool rcu_waits(void *opaque)
{
    int tid = cfix_load(&rcu_tid);

    return tid && watch_in_futex(tid);
}

static void read_on(enum reader reader_how)
{
    how = reader_how;
    sem_init(&go, 0, 0);
    qemu_event_init(&rcu_gp_event, false);
    qemu_thread_create(&reader, "reader", reader_thread, NULL);
    watch_until("the reader is in its section", reader_is_there, NULL);
    qemu_thread_create(&rcu, "call_rcu", call_rcu_thread, NULL);
    watch_until("call_rcu waits", rcu_waits, NULL);
}

static void run_rcu_stalled(struct world *world)
{
    read_on(READER_SLEEPS);
}

static void run_rcu_running(struct world *world)
{
    read_on(READER_RUNS);
}

static void release_rcu(struct world *world)
{
    cfix_store(&stop, 1);
    sem_post(&go);
    sem_post(&go);
    qemu_thread_join(&rcu);
    qemu_thread_join(&reader);
}

const struct scenario sc_rcu_table[] = {
    {
        .name = "rcu-stalled",
        .about = "a reader sleeps in its section, call_rcu waits",
        .coroutines = 1,
        .run = run_rcu_stalled,
        .release = release_rcu,
    },
    {
        .name = "rcu-running",
        .about = "the same, the reader runs",
        .coroutines = 1,
        .run = run_rcu_running,
        .release = release_rcu,
    },
    { .name = NULL },
};
