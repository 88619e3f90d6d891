/* The big QEMU lock, under QEMU's names (system/cpus.c).
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VICTIMS_BQL_H
#define VICTIMS_BQL_H

/* Only scenarios that are about it take it. */
void bql_lock_impl(void);
void bql_unlock(void);

#endif
