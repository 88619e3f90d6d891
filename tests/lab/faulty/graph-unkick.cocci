// Puts the graph lock's fault back: a kick only when has_writer is set.
// SPDX-License-Identifier: GPL-2.0-or-later
@@
symbol has_writer;
@@
 void bdrv_graph_co_rdunlock(void)
 {
  ...
- aio_wait_kick();
+ if (qatomic_read(&has_writer)) {
+     aio_wait_kick();
+ }
 }
