/* The miniature's one driver: opening, closing, and the cache cleaner.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VICTIMS_QCOW2_H
#define VICTIMS_QCOW2_H

#include "block.h"

/* Main thread.  Runs qcow2_open_entry in bs->aio_context and waits for it,
 * then starts the cleaner there unless `interval` (seconds) is 0. */
void qcow2_open(struct BlockDriverState *bs, uint64_t interval);

/* Main thread.  Stops the cleaner, waits for its end, frees bs->opaque. */
void qcow2_close(struct BlockDriverState *bs);

#endif
