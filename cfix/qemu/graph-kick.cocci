// The last reader of the block graph kicks the waiting writer, always.
// SPDX-License-Identifier: LGPL-2.1-or-later
//
// bdrv_graph_wrlock() polls with has_writer == 0, so a reader that asks
// has_writer whether to kick leaves a writer asleep whose condition has just
// become true.  aio_wait_kick() itself is cheap when nobody waits.
@@
symbol has_writer;
@@
 void bdrv_graph_co_rdunlock(void)
 {
  ...
- if (qatomic_read(&has_writer)) {
      aio_wait_kick();
- }
 }
