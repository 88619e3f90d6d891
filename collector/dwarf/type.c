/* Struct layouts by name: types, members by path, enumerators.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf/private.h"

#include <dwarf.h>
#include <string.h>

/* Typedefs of typedefs, structs in structs: real ones are far shallower. */
enum { MAX_TYPE_DEPTH = 32 };

/* Takes typedefs and qualifiers off; goes on to the body in a type unit. */
static bool peel(Dwarf_Die *die, Dwarf_Die *ret)
{
    Dwarf_Attribute attribute;
    Dwarf_Die body;

    if (dwarf_peel_type(die, ret) != 0) {
        return false;
    }
    if (dwarf_formref_die(dwarf_attr(ret, DW_AT_signature, &attribute),
                          &body)) {
        *ret = body;
    }
    return true;
}

bool qh_type_of(Dwarf_Die *die, Dwarf_Die *ret)
{
    Dwarf_Attribute attribute;
    Dwarf_Die type;

    return dwarf_formref_die(dwarf_attr_integrate(die, DW_AT_type, &attribute),
                             &type) &&
           peel(&type, ret);
}

/* A DIE by name in one index: a tag first, else what a typedef stands for. */
static bool in_unit(const struct qh_unit *unit, const char *name, bool tag_only,
                    Dwarf_Die *ret)
{
    uint32_t index = 0;
    Dwarf_Die die;

    if (qh_names_find(&unit->tags, name, &index)) {
        *ret = unit->dies[index];
        return true;
    }
    if (tag_only || !qh_names_find(&unit->typedefs, name, &index)) {
        return false;
    }
    die = unit->dies[index];
    return peel(&die, ret);
}

/*
 * Whether a name stands anywhere in the strings of the debug information. What
 * does not need not be searched for in every unit. Compilers put short names
 * elsewhere, dwz moves strings to another file: then it may be there.
 */
static bool may_exist(struct qh_debug *debug, const char *name)
{
    Elf *elf = dwarf_getelf(debug->dwarf);
    Elf_Scn *section = NULL;
    size_t names = 0;
    size_t bytes = strlen(name) + 1;

    if (bytes <= 8 || dwarf_getalt(debug->dwarf) ||
        elf_getshdrstrndx(elf, &names) != 0) {
        return true;
    }
    while ((section = elf_nextscn(elf, section))) {
        GElf_Shdr header;
        const char *title = gelf_getshdr(section, &header)
                                ? elf_strptr(elf, names, header.sh_name) : NULL;
        if (title && strcmp(title, ".debug_str") == 0 &&
            !(header.sh_flags & SHF_COMPRESSED)) {
            Elf_Data *data = elf_getdata(section, NULL);
            return !data || memmem(data->d_buf, data->d_size, name, bytes);
        }
    }
    return true;
}

static struct qh_error *in_all(struct qh_debug *debug, const char *name,
                               bool tag_only, Dwarf_Die *ret, bool *ret_found)
{
    struct qh_units *units = &debug->units;
    bool found = in_unit(&units->all, name, tag_only, ret);

    if (!found && !units->exhausted && !may_exist(debug, name)) {
        *ret_found = false;
        return NULL;
    }
    while (!found && !units->exhausted) {
        QH_TRY(qh_unit_next(debug));
        found = in_unit(&units->all, name, tag_only, ret);
    }
    *ret_found = found;
    return NULL;
}

/*
 * The units where the anchor's types may stand: the one that holds its code
 * and, for link-time optimisation, the one that it was written in.
 */
static struct qh_error *anchor_units(struct qh_debug *debug, const char *anchor,
                                     struct qh_unit *ret_units[2])
{
    const struct qh_symbol *symbol =
        anchor ? qh_symbol_like(debug, anchor) : NULL;
    Dwarf_Die function;
    Dwarf_Attribute attribute;
    Dwarf_Die origin;

    ret_units[0] = ret_units[1] = NULL;
    if (!symbol) {
        return NULL;
    }
    QH_TRY(qh_unit_at(debug, symbol->address, &ret_units[0]));
    if (ret_units[0] &&
        qh_unit_function(ret_units[0], symbol->address - debug->dwarf_bias,
                         &function) &&
        dwarf_formref_die(
            dwarf_attr(&function, DW_AT_abstract_origin, &attribute),
            &origin)) {
        return qh_unit_of(debug, &origin, &ret_units[1]);
    }
    return NULL;
}

static bool is_declaration(Dwarf_Die *die)
{
    return dwarf_hasattr(die, DW_AT_declaration);
}

/* The type `name`, complete, typedefs taken off. */
static struct qh_error *find_type(struct qh_debug *debug, const char *name,
                                  const char *anchor, Dwarf_Die *ret)
{
    struct qh_unit *units[2];
    Dwarf_Die die;
    bool found = false;

    QH_TRY(anchor_units(debug, anchor, units));
    for (size_t i = 0; i < QH_COUNT(units) && !found; i++) {
        found = units[i] && in_unit(units[i], name, false, &die);
    }
    if (!found) {
        QH_TRY(in_all(debug, name, false, &die, &found));
    }
    /* A typedef of a struct whose body stands in another unit. */
    if (found && is_declaration(&die)) {
        const char *tag = dwarf_diename(&die);
        found = false;
        for (size_t i = 0; tag && i < QH_COUNT(units) && !found; i++) {
            found = units[i] && in_unit(units[i], tag, true, &die);
        }
        if (tag && !found) {
            QH_TRY(in_all(debug, tag, true, &die, &found));
        }
    }
    if (!found) {
        return qh_error_new(QH_ERR_NO_DEBUGINFO,
                            "no type `%s` in the debug information of %s",
                            name, debug->exe_path);
    }
    *ret = die;
    return NULL;
}

/* An embedded struct that this unit only declares: its body by its name. */
static struct qh_error *complete(struct qh_debug *debug, Dwarf_Die *type)
{
    bool found = false;

    if (!is_declaration(type)) {
        return NULL;
    }
    const char *tag = dwarf_diename(type);
    if (tag) {
        QH_TRY(in_all(debug, tag, true, type, &found));
    }
    return found ? NULL
                 : qh_error_new(QH_ERR_NO_DEBUGINFO, "struct `%s` has no body",
                                tag ? tag : "(anonymous)");
}

static bool unsigned_of(Dwarf_Die *die, unsigned name, uint64_t *ret)
{
    Dwarf_Attribute attribute;
    Dwarf_Word value = 0;

    if (dwarf_formudata(dwarf_attr_integrate(die, name, &attribute), &value) !=
        0) {
        return false;
    }
    *ret = value;
    return true;
}

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

    if (unsigned_of(member, DW_AT_data_member_location, &offset)) {
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

    if (!unsigned_of(member, DW_AT_bit_size, &width) ||
        dwarf_aggregate_size(&place->type, &unit) != 0 || !unit || unit > 8) {
        return;
    }
    if (!unsigned_of(member, DW_AT_data_bit_offset, &bit)) {
        /* DWARF 2 and 3 count from the highest bit of the unit. */
        unsigned_of(member, DW_AT_bit_offset, &high);
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

/* The number of elements of one dimension; 0 when it is open. */
static uint64_t dimension(Dwarf_Die *range)
{
    uint64_t value = 0;

    if (unsigned_of(range, DW_AT_count, &value)) {
        return value;
    }
    return unsigned_of(range, DW_AT_upper_bound, &value) && value + 1
               ? value + 1 : 0;
}

/* The dimensions of an array, outermost first; returns how many. */
static size_t dimensions(Dwarf_Die *array, uint64_t *ret, size_t room)
{
    Dwarf_Die child;
    size_t count = 0;

    for (int more = dwarf_child(array, &child); more == 0;
         more = dwarf_siblingof(&child, &child)) {
        if (dwarf_tag(&child) == DW_TAG_subrange_type && count < room) {
            ret[count++] = dimension(&child);
        }
    }
    return count;
}

enum { MAX_DIMENSIONS = 4 };

struct qh_error *qh_type_size(struct qh_debug *debug, const Dwarf_Die *type,
                              uint64_t *ret_bytes, uint64_t *ret_item_bytes)
{
    uint64_t lengths[MAX_DIMENSIONS];
    uint64_t items = 1;
    Dwarf_Die item = *type;
    Dwarf_Word bytes = 0;

    while (dwarf_tag(&item) == DW_TAG_array_type) {
        size_t count = dimensions(&item, lengths, MAX_DIMENSIONS);
        for (size_t i = 0; i < count; i++) {
            items *= lengths[i];
        }
        if (!qh_type_of(&item, &item)) {
            break;
        }
    }
    QH_TRY(complete(debug, &item));
    if (dwarf_aggregate_size(&item, &bytes) != 0) {
        bytes = 0; /* void, a function */
    }
    *ret_bytes = items * bytes;
    *ret_item_bytes = bytes;
    return NULL;
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
    uint64_t lengths[MAX_DIMENSIONS];
    size_t count = dimensions(&place->type, lengths, MAX_DIMENSIONS);
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
    QH_TRY(complete(debug, &place->type));
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
    return unsigned_of(&underlying, DW_AT_encoding, &encoding) &&
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

    QH_TRY(find_type(debug, type, anchor, &place.type));
    QH_TRY(walk_path(debug, &way, &place));
    return measure(debug, &place, ret);
}

struct qh_error *qh_debug_sizeof(struct qh_debug *debug, const char *type,
                                 const char *anchor, uint64_t *ret_bytes)
{
    uint64_t item_bytes = 0;
    Dwarf_Die die;

    QH_TRY(find_type(debug, type, anchor, &die));
    return qh_type_size(debug, &die, ret_bytes, &item_bytes);
}

/* The fixed-size forms do not tell a sign; gcc uses them for unsigned ones. */
static bool const_value(Dwarf_Die *die, int64_t *ret)
{
    Dwarf_Attribute attribute;
    Dwarf_Sword value = 0;
    uint64_t plain = 0;

    if (!dwarf_attr(die, DW_AT_const_value, &attribute)) {
        return false;
    }
    int form = (int)dwarf_whatform(&attribute);
    if (form != DW_FORM_sdata && form != DW_FORM_implicit_const) {
        bool found = unsigned_of(die, DW_AT_const_value, &plain);
        *ret = (int64_t)plain;
        return found;
    }
    *ret = dwarf_formsdata(&attribute, &value) == 0 ? value : 0;
    return true;
}

static bool enum_value(const struct qh_unit *unit, size_t first,
                       const char *name, int64_t *ret)
{
    for (size_t i = first; i < unit->enum_count; i++) {
        Dwarf_Die child;
        for (int more = dwarf_child(&unit->enums[i], &child); more == 0;
             more = dwarf_siblingof(&child, &child)) {
            const char *found = dwarf_diename(&child);
            if (found && strcmp(found, name) == 0) {
                return const_value(&child, ret);
            }
        }
    }
    return false;
}

struct qh_error *qh_debug_enumerator(struct qh_debug *debug, const char *name,
                                     const char *anchor, int64_t *ret)
{
    struct qh_units *units = &debug->units;
    struct qh_unit *near[2];
    size_t seen = units->all.enum_count;

    QH_TRY(anchor_units(debug, anchor, near));
    for (size_t i = 0; i < QH_COUNT(near); i++) {
        if (near[i] && enum_value(near[i], 0, name, ret)) {
            return NULL;
        }
    }
    if (enum_value(&units->all, 0, name, ret)) {
        return NULL;
    }
    while (!units->exhausted && may_exist(debug, name)) {
        QH_TRY(qh_unit_next(debug));
        if (enum_value(&units->all, seen, name, ret)) {
            return NULL;
        }
        seen = units->all.enum_count;
    }
    return qh_error_new(QH_ERR_ABSENT, "no enumerator `%s` in %s", name,
                        debug->exe_path);
}
