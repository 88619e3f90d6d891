/* What a sleep and its wake cost, and how soon the sleeper runs.
 * SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * sleep_cost_TWIN ROUNDS LATENCIES: prints one object of JSON, all times in
 * nanoseconds.
 *
 *   bare       one wake and one sleep of the same thread, there and back
 *   timer      the same with qemu_co_sleep_ns_wakeable, one hour
 *   switch     a coroutine entered and left again: in both of the above
 *   cmpxchg    one locked compare-and-swap
 *   same, other
 *              from before the wake until the sleeper runs, in the same thread
 *              and from another one whose loop is blocked in ppoll: median,
 *              99th percentile and maximum; the sleep is one with a timer
 *
 * The first four are means over ROUNDS, and left out if that is 0: a sleep
 * that looks for its wake once a second would take ROUNDS seconds.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomics.h"
#include "co_sleep.h"
#include "dice.h"
#include "runtime/iothread.h"
#include "runtime/main_loop.h"

#define HOUR_NS (3600 * INT64_C(1000000000))
/* From when its loop is about to block until it surely does. */
#define SETTLE_NS 100000

static struct QemuCoSleep w;
static bool with_timer;
static bool stop;
/* When the sleeper ran last; 0: not since the last wake. */
static int64_t ran_ns;
static bool ended;

static void sleep_once(void)
{
    if (with_timer) {
        qemu_co_sleep_ns_wakeable(&w, QEMU_CLOCK_REALTIME, HOUR_NS);
    } else {
        qemu_co_sleep(&w);
    }
}

/* --- means --- */

static void sleeps_on(void *opaque)
{
    while (!stop) {
        sleep_once();
    }
}

static double sleep_and_wake_ns(unsigned rounds)
{
    int64_t begin;
    int64_t end;

    stop = false;
    qemu_coroutine_enter(qemu_coroutine_create(sleeps_on, NULL));
    begin = now_ns();
    for (unsigned i = 0; i < rounds; i++) {
        qemu_co_sleep_wake(&w);
    }
    end = now_ns();
    stop = true;
    qemu_co_sleep_wake(&w);
    return (double)(end - begin) / rounds;
}

static void yields_on(void *opaque)
{
    while (!stop) {
        qemu_coroutine_yield();
    }
}

static double switch_ns(unsigned rounds)
{
    struct Coroutine *co = qemu_coroutine_create(yields_on, NULL);
    int64_t begin;
    int64_t end;

    stop = false;
    begin = now_ns();
    for (unsigned i = 0; i < rounds; i++) {
        qemu_coroutine_enter(co);
    }
    end = now_ns();
    stop = true;
    qemu_coroutine_enter(co);
    return (double)(end - begin) / rounds;
}

static double cmpxchg_ns(unsigned rounds)
{
    static unsigned word;
    int64_t begin = now_ns();

    for (unsigned i = 0; i < rounds; i++) {
        (void)cfix_cmpxchg(&word, i, i + 1);
    }
    return (double)(now_ns() - begin) / rounds;
}

/* --- latencies --- */

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void print_latencies(const char *name, int64_t *ns, unsigned n)
{
    qsort(ns, n, sizeof(*ns), compare);
    printf(", \"%s\": {\"p50\": %lld, \"p99\": %lld, \"max\": %lld}", name,
           (long long)ns[n / 2], (long long)ns[n - 1 - n / 100],
           (long long)ns[n - 1]);
}

static void sleeps_and_tells(void *opaque)
{
    while (!cfix_load(&stop)) {
        sleep_once();
        cfix_store(&ran_ns, now_ns());
    }
    cfix_store(&ended, true);
}

/* Lets the sleeper's thread have the CPU; its loop, if it is this one's. */
static void let_it_run(struct AioContext *ctx)
{
    if (ctx) {
        sched_yield();
    } else {
        /* A sleep may have put off its end to a timer. */
        aio_poll(qemu_get_aio_context(), true);
    }
}

/* Until the sleeper sleeps: it says so, and after that the thread of its loop,
 * if it is another one, is about to block or does. */
static void await_asleep(struct Coroutine *co, struct AioContext *ctx)
{
    const char *scheduled;

    do {
        sched_yield();
        scheduled = cfix_load(&co->scheduled);
    } while (!scheduled || strcmp(scheduled, "qemu_co_sleep_ns") != 0 ||
             (ctx && !cfix_load(&ctx->notify_me)));
}

static int64_t wake_to_run_ns(struct Coroutine *co, struct AioContext *ctx)
{
    int64_t begin;
    int64_t ran;

    await_asleep(co, ctx);
    if (ctx) {
        spin_ns(SETTLE_NS);
    }
    cfix_store(&ran_ns, 0);
    begin = now_ns();
    qemu_co_sleep_wake(&w);
    while (!(ran = cfix_load(&ran_ns))) {
        let_it_run(ctx);
    }
    return ran - begin;
}

static void measure_latency(const char *name, struct IOThread *home, unsigned n)
{
    struct Coroutine *co = qemu_coroutine_create(sleeps_and_tells, NULL);
    int64_t *ns = cfix_zalloc(n * sizeof(*ns));
    struct AioContext *ctx = home ? home->ctx : NULL;

    stop = false;
    ended = false;
    if (home) {
        aio_co_schedule(ctx, co);
    } else {
        qemu_coroutine_enter(co);
    }
    for (unsigned i = 0; i < n; i++) {
        ns[i] = wake_to_run_ns(co, ctx);
    }
    await_asleep(co, ctx);
    cfix_store(&stop, true);
    qemu_co_sleep_wake(&w);
    while (!cfix_load(&ended)) {
        let_it_run(ctx);
    }
    print_latencies(name, ns, n);
    free(ns);
}

static void measure_means(unsigned rounds)
{
    printf(", \"bare\": %.2f", sleep_and_wake_ns(rounds));
    with_timer = true;
    printf(", \"timer\": %.2f", sleep_and_wake_ns(rounds));
    printf(", \"switch\": %.2f, \"cmpxchg\": %.2f", switch_ns(rounds),
           cmpxchg_ns(rounds));
}

int main(int argc, char **argv)
{
    struct IOThread *iothread;
    unsigned rounds = argc == 3 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    unsigned latencies = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;

    if (!latencies) {
        fprintf(stderr, "usage: %s ROUNDS LATENCIES\n", argv[0]);
        return 64;
    }
    qemu_init_main_loop();
    printf("{\"twin\": \"%s\"", TWIN);
    if (rounds) {
        measure_means(rounds);
    }
    with_timer = true;
    measure_latency("same", NULL, latencies);
    iothread = iothread_create("other");
    measure_latency("other", iothread, latencies);
    iothread_destroy(iothread);
    puts("}");
    qemu_cleanup_main_loop();
    qemu_coroutine_pool_drain();
    return 0;
}
