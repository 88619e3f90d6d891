/* Subject of the checker: sleep_mark.  See subject.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#define SUBJECT sleep_mark
#include "check/subject.h"

#include "legacy/co_sleep_mark.c"

#include "check/subject_sleep.h"
