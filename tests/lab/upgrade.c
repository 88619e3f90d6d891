/*
 * A coroutine sleep as a shared object for a QEMU that already runs.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SLEEP_SOURCE is the file that takes the place of the running program's own.
 * What it calls stays in that program, which need not export it: the linker is
 * told the addresses by upgrade.py.
 */

#include SLEEP_SOURCE

/*
 * A coroutine's claim is a pointer to a string, and compared as a pointer.
 * Sleepers that are parked already hold the program's string, so the new code
 * must claim with that one too.
 */
extern const char program_claim[];

static void __attribute__((constructor)) adopt_claim(void)
{
    qemu_co_sleep_ns__scheduled = program_claim;
}
