/* The search for what refers to a coroutine: shared by the references*.c.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_QEMU_REFERENCES_H
#define QH_QEMU_REFERENCES_H

#include "qemu/reader.h"

/* Looks at `bytes` of memory that lie at `at`; false when that is enough. */
typedef bool qh_look(void *opaque, uint64_t at, const unsigned char *data,
                     size_t bytes);

/*
 * Calls `look` with all memory in which a pointer to a coroutine may lie that
 * is to be followed yet: what is private and can be written to, without guest
 * RAM, without what functions that have returned left on stacks, and without
 * registers that a switch has saved and that were taken up again. Pieces may
 * overlap by less than a word.
 *
 * `*ret_whole` is false when some of that could not be read, or was more than
 * is looked at.
 */
struct qh_error *qh_each_memory(struct qh_reader *reader, bool still,
                                qh_look *look, void *opaque,
                                bool *ret_whole) QH_MUST_CHECK;

/* Notes what of the stacks holds no pointer that counts; after the walks. */
struct qh_error *qh_note_frames(struct qh_reader *reader) QH_MUST_CHECK;
/* Adds what of that is still as it was. */
struct qh_error *qh_add_frames(struct qh_reader *reader,
                               struct qh_ranges *ranges) QH_MUST_CHECK;

/* Whether `value` at address `at`, which leads to the coroutine, may be of one
 * who will wake it. `*mutexes` counts those that name it as their holder: it
 * holds no more than it says. */
bool qh_reference_wakes(struct qh_reader *reader,
                        const struct qh_coroutine *coroutine, uint64_t at,
                        uint64_t value, uint64_t *mutexes);

#endif
