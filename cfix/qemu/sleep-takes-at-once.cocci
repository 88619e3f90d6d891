// Marks a qemu_co_sleep_wake() that takes the sleeper in one atomic step.
// SPDX-License-Identifier: LGPL-2.1-or-later
@@
typedef QemuCoSleep;
identifier w;
expression e1, e2;
@@
 void qemu_co_sleep_wake(QemuCoSleep *w)
 {
  <+...
(
* qatomic_xchg(&w->to_wake, e1)
|
* qatomic_cmpxchg(&w->to_wake, e1, e2)
)
  ...+>
 }
