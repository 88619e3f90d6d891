/* Subject of the checker: sleep_legacy.  See subject.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#define SUBJECT sleep_legacy
#include "check/subject.h"

#include "legacy/co_sleep.c"

#include "check/subject_sleep.h"
