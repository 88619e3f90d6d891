/* Subject of the checker: sleep_tick.  See subject.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#define SUBJECT sleep_tick
#include "check/subject.h"

#include "legacy/co_sleep_tick.c"

#include "check/subject_sleep.h"
