/* What <sys/queue.h> lacks.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_RUNTIME_QUEUE_H
#define CFIX_RUNTIME_QUEUE_H

#include <sys/queue.h>

/* Appends all of `from` to `to`, in order, and leaves `from` empty.  Both are
 * pointers to SIMPLEQ heads of the same element type. */
#define CFIX_SIMPLEQ_CONCAT(to, from)                                          \
    do {                                                                       \
        if (!SIMPLEQ_EMPTY(from)) {                                            \
            *(to)->sqh_last = (from)->sqh_first;                               \
            (to)->sqh_last = (from)->sqh_last;                                 \
            SIMPLEQ_INIT(from);                                                \
        }                                                                      \
    } while (0)

#endif
