/* How long it takes to stop a cache cleaner that has just been started.
 * SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * cancel_TWIN COUNT INTERVAL SEED: opens the victims' miniature of a qcow2 node
 * in an iothread and closes it at a random instant, COUNT times; INTERVAL is
 * the cleaner's, in seconds.  Each close is one line on stdout as soon as it is
 * over: how long it took, in nanoseconds.  One that never ends stops the
 * output; whoever reads it must know when to give up.
 *
 * The instant is some time within 200 us of the start, which the cleaner takes
 * to go to sleep; the threads dawdle at the instants of runtime/window.h, so
 * that the few instructions that matter are hit at all.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "../victims/qcow2.h"
#include "dice.h"
#include "runtime/iothread.h"
#include "runtime/main_loop.h"
#include "runtime/window.h"

static void dawdle(enum cfix_point point)
{
    uint64_t dice = dice_roll();

    if (dice % 64 == 0) {
        sched_yield();
    } else if (dice % 4 == 0) {
        spin_ns((int64_t)((dice >> 32) % 2000));
    }
}

/* Opens a node, closes it some time later; how long the close took. */
static int64_t open_and_close_ns(struct IOThread *home, uint64_t interval)
{
    struct BlockDriverState bs = { .aio_context = home->ctx };
    int64_t begin;

    qcow2_open(&bs, interval);
    spin_ns((int64_t)(dice_roll() % 200000));
    begin = now_ns();
    qcow2_close(&bs);
    return now_ns() - begin;
}

int main(int argc, char **argv)
{
    struct IOThread *home;

    if (argc != 4) {
        fprintf(stderr, "usage: %s COUNT INTERVAL SEED\n", argv[0]);
        return 64;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    dice_seed = strtoull(argv[3], NULL, 10);
    cfix_window = dawdle;
    qemu_init_main_loop();
    home = iothread_create("cleaner");
    for (unsigned long i = strtoul(argv[1], NULL, 10); i; i--) {
        printf("%lld\n",
               (long long)open_and_close_ns(home, strtoull(argv[2], NULL, 10)));
    }
    iothread_destroy(home);
    qemu_cleanup_main_loop();
    qemu_coroutine_pool_drain();
    return 0;
}
