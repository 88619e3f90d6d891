/* How one source of a primitive becomes a subject of the checker.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_CHECK_SUBJECT_H
#define CFIX_CHECK_SUBJECT_H

/*
 * One file a subject: it defines SUBJECT, a name of its own, includes this,
 * then the source as it is, then subject_sleep.h or subject_graph.h, which
 * define the variable SUBJECT.  Many sources define the same functions and
 * stand in one program, so their public names are prefixed here.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "check/check.h"

#define CHECK_GLUE_(a, b) a##_##b
#define CHECK_GLUE(a, b) CHECK_GLUE_(a, b)

#define qemu_co_sleep CHECK_GLUE(SUBJECT, co_sleep)
#define qemu_co_sleep_ns_wakeable CHECK_GLUE(SUBJECT, co_sleep_ns_wakeable)
#define qemu_co_sleep_wake CHECK_GLUE(SUBJECT, co_sleep_wake)

#define register_aiocontext CHECK_GLUE(SUBJECT, register_aiocontext)
#define unregister_aiocontext CHECK_GLUE(SUBJECT, unregister_aiocontext)
#define bdrv_graph_wrlock CHECK_GLUE(SUBJECT, wrlock)
#define bdrv_graph_wrunlock CHECK_GLUE(SUBJECT, wrunlock)
#define bdrv_graph_co_rdlock CHECK_GLUE(SUBJECT, co_rdlock)
#define bdrv_graph_co_rdunlock CHECK_GLUE(SUBJECT, co_rdunlock)
#define bdrv_graph_reader_count CHECK_GLUE(SUBJECT, reader_count)
#define aio_wait_kick CHECK_GLUE(SUBJECT, aio_wait_kick)
#define global_aio_wait CHECK_GLUE(SUBJECT, global_aio_wait)

/* A subject that finds itself misused ends the execution, not the checker. */
#define fprintf(stream, ...) check_note(__VA_ARGS__)
#define abort() check_violate(CHECK_ABORT, "%s aborts", __func__)
#define free(mem) ((void)(mem))

struct QemuCoSleep;
struct AioContext;

/* The functions of co_sleep.h, of one source. */
struct sleep_subject {
    void (*sleep)(struct QemuCoSleep *w);
    void (*sleep_ns)(struct QemuCoSleep *w, int64_t ns);
    void (*wake)(struct QemuCoSleep *w);
};

/* The functions of graph_lock.h, of one source. */
struct graph_subject {
    void (*register_aiocontext)(struct AioContext *ctx);
    void (*wrlock)(void);
    void (*wrunlock)(void);
    void (*co_rdlock)(void);
    void (*co_rdunlock)(void);
    uint32_t (*reader_count)(void);
    /* Written twice each time the writer begins to wait. */
    unsigned *num_waiters;
};

extern const struct sleep_subject sleep_fixed;
extern const struct sleep_subject sleep_legacy;
extern const struct sleep_subject sleep_tick;
extern const struct sleep_subject sleep_mark;
extern const struct sleep_subject sleep_qemu;
extern const struct graph_subject graph_fixed;
extern const struct graph_subject graph_legacy;

#endif
