/* A program that sleeps and wakes: for `qhang verify`, which never runs it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "co_sleep.h"
#include "runtime/main_loop.h"

static struct QemuCoSleep w;

static void sleeps(void *opaque)
{
    (void)opaque;
    qemu_co_sleep(&w);
    qemu_co_sleep_ns_wakeable(&w, QEMU_CLOCK_REALTIME, 1000000);
}

int main(void)
{
    qemu_init_main_loop();
    qemu_coroutine_enter(qemu_coroutine_create(sleeps, NULL));
    qemu_co_sleep_wake(&w);
    qemu_co_sleep_wake(&w);
    qemu_cleanup_main_loop();
    return 0;
}
