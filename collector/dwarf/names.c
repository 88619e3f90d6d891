/* A table from names to numbers: open addressing, FNV-1a.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf/names.h"

#include <string.h>

static uint32_t hash_of(const char *name)
{
    uint32_t hash = 2166136261u;

    for (; *name; name++) {
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    }
    return hash;
}

/* The slot that holds `name`, or the free one where it would go. */
static struct qh_names_slot *slot_for(const struct qh_names *names,
                                      const char *name, uint32_t hash)
{
    size_t i = hash & (names->capacity - 1);

    while (names->slots[i].name && (names->slots[i].hash != hash ||
                                    strcmp(names->slots[i].name, name) != 0)) {
        i = (i + 1) & (names->capacity - 1);
    }
    return &names->slots[i];
}

bool qh_names_find(const struct qh_names *names, const char *name,
                   uint32_t *ret)
{
    if (!names->count) {
        return false;
    }
    const struct qh_names_slot *slot = slot_for(names, name, hash_of(name));
    if (!slot->name) {
        return false;
    }
    *ret = slot->value;
    return true;
}

struct qh_error *qh_names_reserve(struct qh_names *names, size_t count)
{
    struct qh_names grown = { .capacity = 64, .count = names->count };

    /* At most half full, so that probing stays short. */
    while (grown.capacity / 2 < count) {
        grown.capacity *= 2;
    }
    if (grown.capacity <= names->capacity) {
        return NULL;
    }
    grown.slots = calloc(grown.capacity, sizeof(*grown.slots));
    if (!grown.slots) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < names->capacity; i++) {
        const struct qh_names_slot *old = &names->slots[i];
        if (old->name) {
            *slot_for(&grown, old->name, old->hash) = *old;
        }
    }
    free(names->slots);
    *names = grown;
    return NULL;
}

struct qh_error *qh_names_enter(struct qh_names *names, const char *name,
                                uint32_t value, uint32_t **ret, bool *ret_new)
{
    QH_TRY(qh_names_reserve(names, names->count + 1));
    uint32_t hash = hash_of(name);
    struct qh_names_slot *slot = slot_for(names, name, hash);
    *ret_new = !slot->name;
    if (!slot->name) {
        *slot = (struct qh_names_slot){ name, hash, value };
        names->count++;
    }
    *ret = &slot->value;
    return NULL;
}

void qh_names_deinit(struct qh_names *names)
{
    free(names->slots);
    *names = (struct qh_names){ 0 };
}
