// Marks a qemu_co_sleep_wake() that reads to_wake and clears it in two steps.
// SPDX-License-Identifier: LGPL-2.1-or-later
@@
typedef QemuCoSleep;
identifier w, co;
@@
 void qemu_co_sleep_wake(QemuCoSleep *w)
 {
  ...
* co = w->to_wake;
* w->to_wake = NULL;
  ...
 }
