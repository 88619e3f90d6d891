/* EventNotifier: the eventfd by which a loop is woken.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_RUNTIME_EVENT_NOTIFIER_H
#define CFIX_RUNTIME_EVENT_NOTIFIER_H

#include <stdbool.h>

/*
 * include/qemu/event_notifier.h.  rfd == wfd: one non-blocking eventfd, whose
 * counter is more than zero from the moment of a set until the loop's thread
 * has come to look.  /proc/PID/fdinfo/FD shows it as "eventfd-count".
 */
struct EventNotifier {
    int rfd;
    int wfd;
    bool initialized;
};

void event_notifier_init(struct EventNotifier *e);
void event_notifier_cleanup(struct EventNotifier *e);

/* Adds one to the counter.  Any thread, also from a signal handler. */
void event_notifier_set(struct EventNotifier *e);

/* Takes the counter back to zero; whether it was above. */
bool event_notifier_test_and_clear(struct EventNotifier *e);

#endif
