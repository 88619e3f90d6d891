/* The kick that ends waits of AIO_WAIT_WHILE.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "runtime/aio_wait.h"

struct AioWait global_aio_wait;

static void dummy_bh_cb(void *opaque)
{
    /* Its being run has already made aio_poll return. */
}

void aio_wait_kick(void)
{
    /* Pairs with the add in AIO_WAIT_WHILE. */
    if (cfix_load(&global_aio_wait.num_waiters)) {
        aio_bh_schedule_oneshot(qemu_get_aio_context(), "dummy_bh_cb",
                                dummy_bh_cb, NULL);
    }
}
