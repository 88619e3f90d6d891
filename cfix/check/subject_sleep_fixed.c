/* Subject of the checker: sleep_fixed.  See subject.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#define SUBJECT sleep_fixed
#include "check/subject.h"

#include "co_sleep.c"

#include "check/subject_sleep.h"
