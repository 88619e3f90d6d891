/* Sleeps and wakes that race, by the million, and which of them got lost.
 * SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Sleepers are coroutines of several iothreads; each belongs to a slot.  A
 * round of a slot:
 *
 *   waker     makes the sleeper go on (aio_co_schedule); after a while: told,
 *             qemu_co_sleep_wake; when that has returned, posts a probe to the
 *             sleeper's loop
 *   sleeper   while not told: sleeps; then the round is over, and it yields
 *   probe     in the sleeper's thread: is the round over?
 *
 * With two wakers each tells, each wakes, and who comes last posts the probe.
 *
 * A lost wake is found by structure, never by the clock.  When the probe runs,
 * all wakes of the round have returned, and what they did is seen: they came
 * before the probe was posted.  No coroutine runs in this thread, for the probe
 * is a bottom half of its loop.  So a sleeper whose round is not over is either
 * in the loop's list, scheduled by its waker or yet to begin, and the probe is
 * posted once more behind it; or it is parked, its claim says so, and nobody is
 * left who would wake it, but for its timer.  That one is counted, and put
 * right, so that its slot can go on.
 *
 * Only rounds in which the sleeper did go to sleep count as races.
 *
 *   sleep_race_TWIN [--races N] [--seed N] [--wakers 1|2] [--timer-us N]
 *
 * prints one object of JSON; status 0 whatever was lost, 64 wrong usage.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "atomics.h"
#include "../bench/dice.h"
#include "co_sleep.h"
#include "runtime/iothread.h"
#include "runtime/main_loop.h"
#include "runtime/window.h"

#define HOUR_NS (3600 * INT64_C(1000000000))
/* Slots of one waker; enough that its loops always have something to do. */
#define SLOTS 24
#define MAX_THREADS 16

struct slot {
    struct QemuCoSleep w;
    struct IOThread *home;
    struct Coroutine *co;
    /* The round that is under way, and for which it was told (by each waker);
     * for which it is over, as the sleeper says and as the probe found. */
    unsigned round;
    unsigned told[2];
    unsigned over;
    unsigned judged;
    /* How many wakes of this round have returned. */
    unsigned wakes;
    bool stop;
    bool ended;
};

/* Lost as the seed tells it; both in rounds. */
struct counts {
    uint64_t slept;        /* the sleeper went to sleep at least once */
    uint64_t never_kicked; /* armed: the wake came before */
    uint64_t erased;       /* not armed any more: the wake wiped it out */
};

static struct {
    uint64_t races;
    unsigned wakers;
    int64_t timer_ns;
} options = { 200000, 1, HOUR_NS };

static struct slot slots[MAX_THREADS][SLOTS];
static struct IOThread *iothreads[MAX_THREADS];
static unsigned n_threads;
static struct counts total;

/* --- delays --- */

/* Mostly nothing, at times up to a microsecond or so, seldom a whole turn of
 * another thread. */
static void dawdle(enum cfix_point point)
{
    uint64_t dice = dice_roll();

    (void)point;
    if (dice % 512 == 0) {
        sched_yield();
    } else if (dice % 4 == 0) {
        for (uint64_t i = dice >> 32 & 0x1ff; i; i--) {
            __asm__ volatile("" ::: "memory");
        }
    }
}

/* --- the sleeper's side --- */

static bool is_told(struct slot *slot)
{
    for (unsigned i = 0; i < options.wakers; i++) {
        /* That it is seen after the wake is the primitive's doing. */
        if (cfix_load_relaxed(&slot->told[i]) != slot->round) {
            return false;
        }
    }
    return true;
}

static void sleeps(void *opaque)
{
    struct slot *slot = opaque;

    while (!cfix_load(&slot->stop)) {
        bool slept = false;

        while (!is_told(slot)) {
            slept = true;
            dawdle(CFIX_SLEEP_BEFORE_ARM);
            qemu_co_sleep_ns_wakeable(&slot->w, QEMU_CLOCK_REALTIME,
                                      options.timer_ns);
        }
        if (slept) {
            cfix_fetch_add(&total.slept, 1);
        }
        cfix_store(&slot->over, slot->round);
        qemu_coroutine_yield();
    }
    cfix_store(&slot->ended, true);
}

static void count_lost(struct slot *slot)
{
    if (cfix_load(&slot->w.to_wake)) {
        cfix_fetch_add(&total.never_kicked, 1);
    } else {
        cfix_fetch_add(&total.erased, 1);
    }
}

/* As the wake that got lost would have done. */
static void put_right(struct slot *slot)
{
    cfix_store(&slot->w.to_wake, NULL);
    cfix_store(&slot->co->scheduled, NULL);
    qemu_coroutine_enter(slot->co);
}

static void probe(void *opaque)
{
    struct slot *slot = opaque;
    const char *scheduled = cfix_load(&slot->co->scheduled);

    if (cfix_load(&slot->over) != slot->round) {
        if (scheduled && strcmp(scheduled, "qemu_co_sleep_ns") == 0) {
            count_lost(slot);
            put_right(slot);
        }
        aio_bh_schedule_oneshot(slot->home->ctx, "probe", probe, slot);
        return;
    }
    cfix_store(&slot->judged, slot->round);
}

/* --- the wakers' side --- */

static bool enough(void)
{
    return cfix_load_relaxed(&total.slept) >= options.races;
}

/* Begins the next round of a slot that is at rest. */
static void begin_round(struct slot *slot)
{
    slot->wakes = 0;
    cfix_store(&slot->round, slot->round + 1);
    aio_co_schedule(slot->home->ctx, slot->co);
}

/* Tells and wakes as waker `which`; whether there was anything to do. */
static bool wake_once(struct slot *slot, unsigned which)
{
    unsigned round = cfix_load(&slot->round);

    if (cfix_load(&slot->told[which]) == round) {
        return false;
    }
    if (dice_roll() % 4) {
        return true;
    }
    cfix_store_relaxed(&slot->told[which], round);
    dawdle(CFIX_WAKE_ENTERED);
    qemu_co_sleep_wake(&slot->w);
    if (cfix_fetch_add(&slot->wakes, 1u) + 1 == options.wakers) {
        aio_bh_schedule_oneshot(slot->home->ctx, "probe", probe, slot);
    }
    return true;
}

/* One look at a slot as its first waker; whether it is still wanted. */
static bool serve_slot(struct slot *slot)
{
    if (cfix_load(&slot->judged) != slot->round) {
        (void)wake_once(slot, 0);
        return true;
    }
    if (!enough()) {
        begin_round(slot);
        return true;
    }
    return false;
}

static void *wakes(void *opaque)
{
    unsigned self = (unsigned)(uintptr_t)opaque;
    struct slot *mine = slots[self];
    struct slot *others = slots[(self + 1) % n_threads];
    bool busy;

    do {
        busy = false;
        for (unsigned i = 0; i < SLOTS; i++) {
            busy |= serve_slot(&mine[i]);
            if (options.wakers == 2) {
                busy |= wake_once(&others[i], 1);
            }
        }
        if (options.wakers == 2) {
            /* The neighbour may yet begin a round that needs this one. */
            busy |= !enough();
            for (unsigned i = 0; i < SLOTS; i++) {
                busy |=
                    cfix_load(&others[i].judged) != cfix_load(&others[i].round);
            }
        }
        sched_yield();
    } while (busy);
    return NULL;
}

/* --- all of it --- */

static void start(void)
{
    for (unsigned t = 0; t < n_threads; t++) {
        iothreads[t] = iothread_create("race");
    }
    for (unsigned t = 0; t < n_threads; t++) {
        for (unsigned i = 0; i < SLOTS; i++) {
            struct slot *slot = &slots[t][i];

            slot->home = iothreads[i % n_threads];
            slot->co = qemu_coroutine_create(sleeps, slot);
        }
    }
}

static void race(void)
{
    struct QemuThread threads[MAX_THREADS];

    for (unsigned t = 0; t < n_threads; t++) {
        qemu_thread_create(&threads[t], "waker", wakes, (void *)(uintptr_t)t);
    }
    for (unsigned t = 0; t < n_threads; t++) {
        qemu_thread_join(&threads[t]);
    }
}

static void finish(void)
{
    for (unsigned t = 0; t < n_threads; t++) {
        for (unsigned i = 0; i < SLOTS; i++) {
            struct slot *slot = &slots[t][i];

            cfix_store(&slot->stop, true);
            aio_co_schedule(slot->home->ctx, slot->co);
            while (!cfix_load(&slot->ended)) {
                sched_yield();
            }
        }
    }
    for (unsigned t = 0; t < n_threads; t++) {
        iothread_destroy(iothreads[t]);
    }
}

static bool read_number(const char *text, uint64_t most, uint64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && !errno && *ret <= most;
}

static bool read_options(int argc, char **argv)
{
    static const struct option known[] = {
        { "races", required_argument, NULL, 'r' },
        { "seed", required_argument, NULL, 's' },
        { "wakers", required_argument, NULL, 'w' },
        { "timer-us", required_argument, NULL, 't' },
        { NULL, 0, NULL, 0 },
    };
    uint64_t number;
    int code;

    while ((code = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (code == '?' || !read_number(optarg, INT32_MAX, &number)) {
            return false;
        }
        switch (code) {
        case 'r':
            options.races = number;
            break;
        case 's':
            dice_seed = number;
            break;
        case 'w':
            options.wakers = (unsigned)number;
            break;
        default:
            options.timer_ns = (int64_t)number * 1000;
            break;
        }
    }
    return optind == argc && options.wakers >= 1 && options.wakers <= 2;
}

int main(int argc, char **argv)
{
    int64_t begin;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    dice_seed = 1;
    if (!read_options(argc, argv)) {
        fprintf(stderr,
                "usage: %s [--races N] [--seed N] [--wakers 1|2] "
                "[--timer-us N]\n",
                argv[0]);
        return 64;
    }
    /* As many wakers as loops, and twice as many threads as there are cores
     * at the least. */
    n_threads = cores < 2             ? 2
                : cores > MAX_THREADS ? MAX_THREADS
                                      : (unsigned)cores;
    cfix_window = dawdle;
    qemu_init_main_loop();
    begin = now_ns();
    start();
    race();
    finish();
    printf("{\"twin\": \"%s\", \"races\": %llu, \"never_kicked\": %llu, "
           "\"erased\": %llu, \"wakers\": %u, \"timer_us\": %lld, "
           "\"threads\": %u, \"seed\": %llu, \"seconds\": %.3f}\n",
           TWIN, (unsigned long long)total.slept,
           (unsigned long long)total.never_kicked,
           (unsigned long long)total.erased, options.wakers,
           (long long)(options.timer_ns / 1000), 2 * n_threads,
           (unsigned long long)dice_seed, (double)(now_ns() - begin) / 1e9);
    qemu_cleanup_main_loop();
    qemu_coroutine_pool_drain();
    return 0;
}
