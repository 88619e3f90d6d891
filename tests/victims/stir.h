/* A process in which a stop stirs something up.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VICTIMS_STIR_H
#define VICTIMS_STIR_H

#include "scenario.h"

/* More than an observer who takes no hint would try. */
#define STIRRING_STOPS 8

/*
 * From the first stop on, and until the STIRRING_STOPS-th is over, a thread
 * stands in aio_notify() with a wake that concerns nobody; then all is as
 * before. So it goes on a busy host with threads that a stop woke. Returns when
 * the next stop is the first.
 */
void stir_at_stops(struct world *world);

#endif
