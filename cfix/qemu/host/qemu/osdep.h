/* QEMU's names for what the drop-in uses, so that it runs and is checked here.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_HOST_OSDEP_H
#define CFIX_HOST_OSDEP_H

/*
 * The headers of this folder have the paths of QEMU's, and stand in for them:
 * util/qemu-coroutine-sleep.c compiles against either, unchanged.  What they
 * declare is this project's runtime, under QEMU's typedefs.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#endif
