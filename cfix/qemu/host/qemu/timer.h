/* include/qemu/timer.h for the drop-in; see osdep.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_HOST_TIMER_H
#define CFIX_HOST_TIMER_H

#include "runtime/timer.h"

/* Timers of the runtime have no other scale. */
#define SCALE_NS 1

typedef enum QEMUClockType QEMUClockType;
typedef struct QEMUTimer QEMUTimer;

#endif
