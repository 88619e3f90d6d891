/* The big QEMU lock.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "bql.h"

#include "runtime/thread.h"

static struct QemuMutex bql = { .lock = PTHREAD_MUTEX_INITIALIZER,
                                .initialized = true };
/* Only looked at from outside. */
static __thread volatile bool co_tls_bql_locked;

__attribute__((noinline)) void bql_lock_impl(void)
{
    qemu_mutex_lock(&bql);
    co_tls_bql_locked = true;
}

__attribute__((noinline)) void bql_unlock(void)
{
    co_tls_bql_locked = false;
    qemu_mutex_unlock(&bql);
}
