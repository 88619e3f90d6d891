/* Readers of QEMU's structures: target and debug information in, snapshot out.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * One file a subsystem. Everything is found by name; where QEMU renamed a
 * member, the newest name is tried first and the commit that renamed it stands
 * beside the older one. What cannot be read becomes a gap in the snapshot: the
 * target's memory is hostile, so every walk is bounded and no value is
 * trusted.
 */
#ifndef QH_QEMU_H
#define QH_QEMU_H

#include "snapshot/rescue.h"

struct qh_qemu;

/*
 * Loads the layouts and symbols that the readers need; stops nothing. Both
 * must outlive `*ret`. Errors: NOT_QEMU when the executable has none of QEMU's
 * symbols or types, NO_DEBUGINFO when it is one but its types are not to be
 * found.
 */
struct qh_error *qh_qemu_create(struct qh_target *target,
                                struct qh_debug *debug,
                                struct qh_qemu **ret) QH_MUST_CHECK;
void qh_qemu_destroy(struct qh_qemu *qemu); /* NULL is fine */
void qh_qemu_guard(struct qh_qemu **qemu);

/*
 * Takes one sample: stops the target, reads, resumes it, unwinds the copies.
 * What QEMU's memory gets wrong ends as gaps; errors are those of the stop,
 * EXITED at any time, and lack of memory.
 */
struct qh_error *qh_qemu_sample(struct qh_qemu *qemu,
                                struct qh_snapshot **ret) QH_MUST_CHECK;

/*
 * The same of a target that the caller has stopped, and that stays so. A sample
 * is judged in the meantime, which takes longer than to read it: for a process
 * that hangs anyway.
 */
struct qh_error *qh_qemu_sample_stopped(struct qh_qemu *qemu,
                                        struct qh_snapshot **ret) QH_MUST_CHECK;

/*
 * What a rescue of `sleeper` rests on; the target is still stopped from when
 * `snapshot` was taken, whose arena takes what is read. ABSENT when it is not
 * known where its timer is, or the build lacks a member; UNREADABLE,
 * INCONSISTENT.
 */
struct qh_error *qh_qemu_read_sleep(struct qh_qemu *qemu,
                                    struct qh_snapshot *snapshot,
                                    const struct qh_sleeper *sleeper,
                                    struct qh_rescue_sleep *ret) QH_MUST_CHECK;
/* The same of an AioContext's notifier. */
struct qh_error *
qh_qemu_read_notifier(struct qh_qemu *qemu, struct qh_snapshot *snapshot,
                      struct raddr context,
                      struct qh_rescue_notifier *ret) QH_MUST_CHECK;

#endif
