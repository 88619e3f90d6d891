/* Members of structs, by the path that leads to them.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf/private.h"

#include <dwarf.h>
#include <string.h>

/* Anonymous structs within each other: real ones are far shallower. */
enum { MAX_TYPE_DEPTH = 32 };

/* Where a path has got to: a type at an offset. */
struct place {
    Dwarf_Die type; /* typedefs and qualifiers off */
    uint64_t offset;
    unsigned bit_width;
    unsigned bit_shift;
};

/* DW_AT_data_member_location: a number, or an expression that adds one. */
static uint64_t member_offset(Dwarf_Die *member)
{
    Dwarf_Attribute attribute;
    Dwarf_Op *ops = NULL;
    size_t count = 0;
    uint64_t offset = 0;

    if (qh_die_unsigned(member, DW_AT_data_member_location, &offset)) {
        return offset;
    }
    if (dwarf_getlocation(
            dwarf_attr(member, DW_AT_data_member_location, &attribute), &ops,
            &count) == 0 &&
        count == 1 && ops[0].atom == DW_OP_plus_uconst) {
        return ops[0].number;
    }
    return 0;
}

/*
 * Puts a bit field's place in terms of its declared type: `offset` to the unit
 * that holds it, the shift from that unit's lowest bit.
 */
static void set_bits(Dwarf_Die *member, struct place *place, uint64_t base)
{
    uint64_t width = 0;
    uint64_t bit = 0;
    uint64_t high = 0;
    Dwarf_Word unit = 0;

    if (!qh_die_unsigned(member, DW_AT_bit_size, &width) ||
        dwarf_aggregate_size(&place->type, &unit) != 0 || !unit || unit > 8) {
        return;
    }
    if (!qh_die_unsigned(member, DW_AT_data_bit_offset, &bit)) {
        /* DWARF 2 and 3 count from the highest bit of the unit. */
        qh_die_unsigned(member, DW_AT_bit_offset, &high);
        bit = 8 * (member_offset(member) + unit) - high - width;
    }
    uint64_t start = bit / 8 / unit * unit;
    if (bit - 8 * start + width > 8 * unit) { /* packed: across two units */
        start = bit / 8;
    }
    place->offset = base + start;
    place->bit_width = (unsigned)width;
    place->bit_shift = (unsigned)(bit - 8 * start);
}

/*
 * Finds member `name` of the struct or union `place->type`, looking through
 * anonymous ones, and moves `place` to it.
 */
static bool find_member(struct place *place, const char *name, size_t length,
                        unsigned depth)
{
    Dwarf_Die member;

    if (depth > MAX_TYPE_DEPTH) {
        return false;
    }
    for (int more = dwarf_child(&place->type, &member); more == 0;
         more = dwarf_siblingof(&member, &member)) {
        struct place inner = { .offset = place->offset };
        if (dwarf_tag(&member) != DW_TAG_member ||
            !qh_type_of(&member, &inner.type)) {
            continue;
        }
        inner.offset += member_offset(&member);
        const char *found = dwarf_diename(&member);
        if (found && strlen(found) == length &&
            memcmp(found, name, length) == 0) {
            set_bits(&member, &inner, place->offset);
            *place = inner;
            return true;
        }
        if (!found && find_member(&inner, name, length, depth + 1)) {
            *place = inner;
            return true;
        }
    }
    return false;
}

/* A path on its way down. */
struct path {
    const char *type;
    const char *whole;
    const char *rest;
};

static struct qh_error *path_error(const struct path *path, const char *why)
{
    return qh_error_new(QH_ERR_ABSENT, "`%s` has no `%s`: %s at `%s`",
                        path->type, path->whole, why, path->rest);
}

/*
 * Steps from an array to one element by the indexes that stand in the path; an
 * array of one may do without. All dimensions are taken at once.
 */
static struct qh_error *index_array(struct qh_debug *debug, struct path *path,
                                    struct place *place)
{
    uint64_t lengths[QH_MAX_DIMENSIONS];
    size_t count = qh_type_dimensions(&place->type, lengths);
    uint64_t item = 0;
    Dwarf_Die element;
    uint64_t bytes = 0;
    uint64_t item_bytes = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t index = 0;
        if (*path->rest == '[') {
            char *end = NULL;
            index = strtoull(path->rest + 1, &end, 10);
            if (end == path->rest + 1 || *end != ']') {
                return path_error(path, "no number");
            }
            if (lengths[i] && index >= lengths[i]) {
                return path_error(path, "beyond the end of the array");
            }
            path->rest = end + 1;
        } else if (lengths[i] != 1) {
            return path_error(path, "the array needs an index");
        }
        item = item * (lengths[i] ? lengths[i] : 1) + index;
    }
    if (!qh_type_of(&place->type, &element)) {
        return path_error(path, "an array of nothing known");
    }
    QH_TRY(qh_type_size(debug, &element, &bytes, &item_bytes));
    place->type = element;
    place->offset += item * bytes;
    return NULL;
}

static struct qh_error *step_member(struct qh_debug *debug, struct path *path,
                                    struct place *place)
{
    size_t length = strcspn(path->rest, ".[");
    int tag = 0;

    while (dwarf_tag(&place->type) == DW_TAG_array_type) {
        QH_TRY(index_array(debug, path, place));
    }
    QH_TRY(qh_type_complete(debug, &place->type));
    tag = dwarf_tag(&place->type);
    if (tag != DW_TAG_structure_type && tag != DW_TAG_union_type) {
        return path_error(path, tag == DW_TAG_pointer_type
                                    ? "a pointer stands in the way"
                                    : "no struct");
    }
    if (!find_member(place, path->rest, length, 0)) {
        return path_error(path, "no such member");
    }
    path->rest += length;
    return NULL;
}

static struct qh_error *walk_path(struct qh_debug *debug, struct path *path,
                                  struct place *place)
{
    QH_TRY(step_member(debug, path, place));
    for (;;) {
        while (*path->rest == '[') {
            if (dwarf_tag(&place->type) != DW_TAG_array_type) {
                return path_error(path, "no array");
            }
            QH_TRY(index_array(debug, path, place));
        }
        if (!*path->rest) {
            return NULL;
        }
        path->rest++; /* the dot */
        QH_TRY(step_member(debug, path, place));
    }
}

static bool is_signed(Dwarf_Die *type)
{
    uint64_t encoding = 0;
    Dwarf_Die underlying = *type;

    if (dwarf_tag(type) == DW_TAG_enumeration_type) {
        qh_type_of(type, &underlying);
    }
    return qh_die_unsigned(&underlying, DW_AT_encoding, &encoding) &&
           (encoding == DW_ATE_signed || encoding == DW_ATE_signed_char);
}

/* Says how large what `place` has got to is, and of what kind. */
static struct qh_error *measure(struct qh_debug *debug, struct place *place,
                                struct qh_field *ret)
{
    struct qh_field field = {
        .offset = place->offset,
        .bit_width = place->bit_width,
        .bit_shift = place->bit_shift,
    };
    Dwarf_Die item = place->type;

    QH_TRY(qh_type_size(debug, &item, &field.bytes, &field.item_bytes));
    while (dwarf_tag(&item) == DW_TAG_array_type && qh_type_of(&item, &item)) {
    }
    field.is_signed = is_signed(&item);
    *ret = field;
    return NULL;
}

struct qh_error *qh_debug_field(struct qh_debug *debug, const char *type,
                                const char *path, const char *anchor,
                                struct qh_field *ret)
{
    struct place place = { 0 };
    struct path way = { type, path, path };

    QH_TRY(qh_type_find(debug, type, anchor, &place.type));
    QH_TRY(walk_path(debug, &way, &place));
    return measure(debug, &place, ret);
}
