/* IOThread: a thread that does nothing but run one AioContext.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "runtime/iothread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *iothread_run(void *opaque)
{
    struct IOThread *iothread = opaque;

    qemu_set_current_aio_context(iothread->ctx);
    iothread->thread_id = qemu_get_thread_id();
    iothread->running = true;
    qemu_event_set(&iothread->init_done_ev);
    while (iothread->running) {
        aio_poll(iothread->ctx, true);
    }
    qemu_set_current_aio_context(NULL);
    return NULL;
}

struct IOThread *iothread_create(const char *id)
{
    struct IOThread *iothread = cfix_zalloc(sizeof(*iothread));
    char name[64];

    iothread->id = strdup(id);
    if (!iothread->id) {
        cfix_die("strdup");
    }
    snprintf(name, sizeof(name), "IO %s aio-context", id);
    iothread->ctx = aio_context_new(name, true);
    qemu_event_init(&iothread->init_done_ev, false);
    snprintf(name, sizeof(name), "IO %s", id);
    qemu_thread_create(&iothread->thread, name, iothread_run, iothread);
    qemu_event_wait(&iothread->init_done_ev);
    return iothread;
}

static void iothread_stop_bh(void *opaque)
{
    struct IOThread *iothread = opaque;

    iothread->running = false;
}

void iothread_destroy(struct IOThread *iothread)
{
    iothread->stopping = true;
    aio_bh_schedule_oneshot(iothread->ctx, "iothread_stop_bh", iothread_stop_bh,
                            iothread);
    qemu_thread_join(&iothread->thread);
    aio_context_free(iothread->ctx);
    free(iothread->id);
    free(iothread);
}
