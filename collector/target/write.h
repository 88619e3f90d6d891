/* Changing a live target: a few words of its memory, and its eventfds.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * For rescue/ alone; nothing else includes this. Words are written only while
 * every thread of the target is stopped by qhang, and only where each still has
 * the value that the caller has seen: what is on its way elsewhere makes the
 * whole write fail before the first byte. No code runs in the target.
 *
 * Source of facts: process_vm_writev(2), pidfd_getfd(2); fs/eventfd.c for what
 * /proc/PID/fdinfo tells of an eventfd.
 */
#ifndef QH_TARGET_WRITE_H
#define QH_TARGET_WRITE_H

#include "target/target.h"

/* One aligned word of 8 bytes. */
struct qh_word {
    struct raddr address;
    uint64_t before; /* what it must hold now */
    uint64_t after;
};

/* As many can be written at once. */
enum { QH_WORDS_MAX = 8 };

/*
 * Whether nothing of the target runs: it is a process, stopped by qhang, with
 * all of its threads. Errors: NOT_HELD, with the thread that did not stop.
 */
struct qh_error *qh_target_check_still(const struct qh_target *target)
    QH_MUST_CHECK;

/*
 * Writes the words in their order, with one system call, and reads them back.
 * Errors, all of which leave the memory as it was: NOT_HELD; INCONSISTENT when
 * a word is not aligned, or holds something else than `before`; UNREADABLE,
 * SYSTEM when it cannot be written. The page cache is emptied.
 */
struct qh_error *qh_target_write(struct qh_target *target,
                                 const struct qh_word *words,
                                 size_t count) QH_MUST_CHECK;

/* Whether qh_target_write() would begin; the same errors. */
struct qh_error *qh_target_check_words(struct qh_target *target,
                                       const struct qh_word *words,
                                       size_t count) QH_MUST_CHECK;

/*
 * A descriptor of qhang's own for the target's eventfd `fd`, the very same
 * object; the caller closes it. Errors: ABSENT when the target has no such
 * descriptor or it is no eventfd, PERMISSION when the kernel or a seccomp
 * filter refuses, SYSTEM (a kernel before 5.6).
 */
struct qh_error *qh_target_take_eventfd(struct qh_target *target, int fd,
                                        int *ret_fd) QH_MUST_CHECK;
/* No eventfd of QEMU's is ever counted up so far. */
#define QH_EVENTFD_MUCH (INT64_C(1) << 32)
/*
 * Adds one to the eventfd behind `fd`, a descriptor that the function above
 * gave: whoever polls it wakes up. Errors: SYSTEM; INCONSISTENT when its count
 * is near its end, where to add would block.
 */
struct qh_error *qh_eventfd_add(int fd) QH_MUST_CHECK;

#endif
