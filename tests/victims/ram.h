/* Guest RAM as a system emulator lists it, made to look like a coroutine.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VICTIMS_RAM_H
#define VICTIMS_RAM_H

/*
 * Maps RAM right above a guard page, lists it in ram_list, and writes into it
 * what a guest could write that knows the host's addresses: the upper end of a
 * coroutine's stack, with a coroutine that nobody has made.
 */
void ram_forge_coroutine(void);

#endif
