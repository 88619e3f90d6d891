/* What ends the file of a sleep subject; see subject.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
static void subject_sleep_ns(struct QemuCoSleep *w, int64_t ns)
{
    qemu_co_sleep_ns_wakeable(w, QEMU_CLOCK_REALTIME, ns);
}

extern const struct sleep_subject SUBJECT;
const struct sleep_subject SUBJECT = {
    .sleep = qemu_co_sleep,
    .sleep_ns = subject_sleep_ns,
    .wake = qemu_co_sleep_wake,
};
