/* Subject of the checker: sleep_qemu.  See subject.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#define SUBJECT sleep_qemu
#include "check/subject.h"

#include "qemu/util/qemu-coroutine-sleep.c"

#include "check/subject_sleep.h"
