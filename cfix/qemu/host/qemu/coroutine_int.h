/* include/qemu/coroutine_int.h for the drop-in; see osdep.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_HOST_COROUTINE_INT_H
#define CFIX_HOST_COROUTINE_INT_H

#include "co_sleep.h"

#define coroutine_fn

typedef struct Coroutine Coroutine;
typedef struct QemuCoSleep QemuCoSleep;

#endif
