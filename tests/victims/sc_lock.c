/* Scenarios of mutexes: whose owner is gone, asleep, or in state D.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <semaphore.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atomics.h"
#include "scenario.h"
#include "watch.h"

static struct QemuMutex mutex;
static struct QemuThread owner;
static sem_t go;
static int owner_tid;
static int taken;

static void qmp_x_lock(void *opaque)
{
    qemu_mutex_lock(&mutex);
    cfix_store(&taken, 1);
    qemu_mutex_unlock(&mutex);
}

static void qmp_x_lock_twice(void *opaque)
{
    qemu_mutex_lock(&mutex);
    qmp_x_lock(opaque);
}

static const struct QmpCommand qmp_x_lock_command = { "x-lock", qmp_x_lock };
static const struct QmpCommand qmp_x_lock_twice_command = { "x-lock-twice",
                                                            qmp_x_lock_twice };

static void *lock_and_exit(void *opaque)
{
    qemu_mutex_lock(&mutex);
    return NULL;
}

static void wait_for_go(void)
{
    while (sem_wait(&go)) {
    }
}

static void *lock_and_sleep(void *opaque)
{
    qemu_mutex_lock(&mutex);
    cfix_store(&owner_tid, qemu_get_thread_id());
    wait_for_go();
    qemu_mutex_unlock(&mutex);
    return NULL;
}

static bool main_in_futex(void *opaque)
{
    struct world *world = opaque;

    return watch_in_futex(world->main_tid);
}

static void send_and_wait(struct world *world, const struct QmpCommand *command)
{
    qmp_send(command, world);
    watch_until("the main thread waits for the mutex", main_in_futex, world);
    step_check(!cfix_load(&taken), "it has not got it");
}

static void prepare_mutex(void)
{
    qemu_mutex_init(&mutex);
    sem_init(&go, 0, 0);
}

static void run_owner_gone(struct world *world)
{
    prepare_mutex();
    qemu_thread_create(&owner, "gone", lock_and_exit, NULL);
    qemu_thread_join(&owner);
    send_and_wait(world, &qmp_x_lock_command);
}

static void run_owner_self(struct world *world)
{
    prepare_mutex();
    send_and_wait(world, &qmp_x_lock_twice_command);
}

static bool owner_sleeps(void *opaque)
{
    return cfix_load(&owner_tid) && watch_in_futex(cfix_load(&owner_tid));
}

static void run_owner_asleep(struct world *world)
{
    prepare_mutex();
    qemu_thread_create(&owner, "owner", lock_and_sleep, NULL);
    watch_until("the owner sleeps", owner_sleeps, NULL);
    send_and_wait(world, &qmp_x_lock_command);
}

static void release_lock(struct world *world)
{
    sem_post(&go);
    qemu_thread_join(&owner);
    step_went_on(world);
}

/* ---- state D: the parent of a vfork is in it until the child goes ---- */

static int child_pipe[2];

static void vfork_and_wait(void)
{
    pid_t child = vfork();

    if (!child) {
        char byte;
        /* Ends with the pipe: when it is released, or the parent is killed
         * (the child has the writing end, too, so it closes that first). */
        close(child_pipe[1]);
        while (read(child_pipe[0], &byte, 1) < 0) {
        }
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void *stick_in_kernel(void *opaque)
{
    bool *locks = opaque;

    if (*locks) {
        qemu_mutex_lock(&mutex);
    }
    cfix_store(&owner_tid, qemu_get_thread_id());
    vfork_and_wait();
    if (*locks) {
        qemu_mutex_unlock(&mutex);
    }
    return NULL;
}

static bool in_state_d(void *opaque)
{
    return cfix_load(&owner_tid) && watch_state(cfix_load(&owner_tid)) == 'D';
}

static void stick(bool *locks)
{
    prepare_mutex();
    if (pipe(child_pipe)) {
        watch_fail("pipe");
    }
    qemu_thread_create(&owner, "stuck", stick_in_kernel, locks);
    watch_until("the owner is in state D", in_state_d, NULL);
}

static void run_kernel_stuck(struct world *world)
{
    static bool locks = true;

    stick(&locks);
    send_and_wait(world, &qmp_x_lock_command);
}

static void run_kernel_alone(struct world *world)
{
    static bool locks = false;

    stick(&locks);
}

static void release_kernel(struct world *world)
{
    close(child_pipe[1]);
    qemu_thread_join(&owner);
    if (qmp_last_command()) {
        step_went_on(world);
    }
}

const struct scenario sc_lock_table[] = {
    {
        .name = "owner-gone",
        .about = "a mutex's owner has exited, the main thread waits",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_owner_gone,
    },
    {
        .name = "owner-self",
        .about = "the main thread locks a mutex that it holds",
        .coroutines = 1,
        .end = END_STUCK,
        .run = run_owner_self,
    },
    {
        .name = "owner-asleep",
        .about = "a mutex's owner sleeps, and will unlock it",
        .coroutines = 1,
        .run = run_owner_asleep,
        .release = release_lock,
    },
    {
        .name = "kernel-stuck",
        .about = "a mutex's owner is in state D, the main thread waits",
        .coroutines = 1,
        .run = run_kernel_stuck,
        .release = release_kernel,
    },
    {
        .name = "kernel-alone",
        .about = "a thread is in state D, and nobody waits for it",
        .coroutines = 1,
        .run = run_kernel_alone,
        .release = release_kernel,
    },
    { .name = NULL },
};
