/* The model of the runtime: mutexes.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check/runtime.h"
#include "check/world.h"

#define MAX_MUTEXES 4

struct mutex_holder {
    const struct QemuMutex *mutex;
    bool held;
};

static struct mutex_holder mutexes[MAX_MUTEXES];
static unsigned n_mutexes;

static unsigned always(const void *addr)
{
    return 1;
}

static struct mutex_holder *holder_of(const struct QemuMutex *mutex)
{
    for (unsigned i = 0; i < n_mutexes; i++) {
        if (mutexes[i].mutex == mutex) {
            return &mutexes[i];
        }
    }
    if (n_mutexes == MAX_MUTEXES) {
        world.overflow = true;
        return &mutexes[0];
    }
    mutexes[n_mutexes].mutex = mutex;
    return &mutexes[n_mutexes++];
}

static unsigned is_free(const void *mutex)
{
    return !holder_of(mutex)->held;
}

void qemu_mutex_init(struct QemuMutex *mutex)
{
    mutex->initialized = true;
}

void qemu_mutex_destroy(struct QemuMutex *mutex)
{
    mutex->initialized = false;
}

void qemu_mutex_lock(struct QemuMutex *mutex)
{
    runtime_sync(mutex, is_free, "lock");
    holder_of(mutex)->held = true;
}

void qemu_mutex_unlock(struct QemuMutex *mutex)
{
    runtime_sync(mutex, always, "unlock");
    holder_of(mutex)->held = false;
}
