/* A table from names to numbers.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Names are not copied: they must live as long as the table. Nothing is ever
 * taken out. Zero-initialise one to begin.
 */
#ifndef QH_DWARF_NAMES_H
#define QH_DWARF_NAMES_H

#include "base/base.h"

struct qh_names_slot {
    const char *name; /* NULL: free */
    uint32_t hash;
    uint32_t value;
};

struct qh_names {
    struct qh_names_slot *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};

/* Whether `name` is there, and its number. */
bool qh_names_find(const struct qh_names *names, const char *name,
                   uint32_t *ret);
/*
 * Where the number of `name` stands, which may be written through `*ret` until
 * the next call. A name that was not there is entered with `value`, which
 * `*ret_new` tells.
 */
struct qh_error *qh_names_enter(struct qh_names *names, const char *name,
                                uint32_t value, uint32_t **ret, bool *ret_new)
    QH_MUST_CHECK;
/* Makes room for `count` names, so that entering them moves nothing. */
struct qh_error *qh_names_reserve(struct qh_names *names, size_t count)
    QH_MUST_CHECK;
void qh_names_deinit(struct qh_names *names);

#endif
