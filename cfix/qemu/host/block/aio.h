/* include/block/aio.h for the drop-in; see osdep.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_HOST_AIO_H
#define CFIX_HOST_AIO_H

#include "runtime/aio.h"

typedef struct AioContext AioContext;

static inline void aio_timer_init(AioContext *ctx, struct QEMUTimer *ts,
                                  enum QEMUClockType type, int scale,
                                  void (*cb)(void *opaque), void *opaque)
{
    (void)scale;
    timer_init(ts, ctx->tlg.tl[type], cb, opaque);
}

#endif
