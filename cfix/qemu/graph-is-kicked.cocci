// Marks a bdrv_graph_co_rdunlock() that kicks whatever has_writer says.
// SPDX-License-Identifier: LGPL-2.1-or-later
@@
symbol has_writer;
@@
 void bdrv_graph_co_rdunlock(void)
 {
  ... when != has_writer
* aio_wait_kick();
 }
