/* Types by name: their bodies, sizes, enumerators.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf/private.h"

#include <dwarf.h>
#include <string.h>

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

struct qh_error *qh_type_find(struct qh_debug *debug, const char *name,
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

struct qh_error *qh_type_complete(struct qh_debug *debug, Dwarf_Die *type)
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

bool qh_die_unsigned(Dwarf_Die *die, unsigned name, uint64_t *ret)
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

/* The number of elements of one dimension; 0 when it is open. */
static uint64_t dimension(Dwarf_Die *range)
{
    uint64_t value = 0;

    if (qh_die_unsigned(range, DW_AT_count, &value)) {
        return value;
    }
    return qh_die_unsigned(range, DW_AT_upper_bound, &value) && value + 1
               ? value + 1 : 0;
}

size_t qh_type_dimensions(Dwarf_Die *array,
                          uint64_t ret_lengths[QH_MAX_DIMENSIONS])
{
    Dwarf_Die child;
    size_t count = 0;

    for (int more = dwarf_child(array, &child); more == 0;
         more = dwarf_siblingof(&child, &child)) {
        if (dwarf_tag(&child) == DW_TAG_subrange_type &&
            count < QH_MAX_DIMENSIONS) {
            ret_lengths[count++] = dimension(&child);
        }
    }
    return count;
}

struct qh_error *qh_type_size(struct qh_debug *debug, const Dwarf_Die *type,
                              uint64_t *ret_bytes, uint64_t *ret_item_bytes)
{
    uint64_t lengths[QH_MAX_DIMENSIONS];
    uint64_t items = 1;
    Dwarf_Die item = *type;
    Dwarf_Word bytes = 0;

    while (dwarf_tag(&item) == DW_TAG_array_type) {
        size_t count = qh_type_dimensions(&item, lengths);
        for (size_t i = 0; i < count; i++) {
            items *= lengths[i];
        }
        if (!qh_type_of(&item, &item)) {
            break;
        }
    }
    QH_TRY(qh_type_complete(debug, &item));
    if (dwarf_aggregate_size(&item, &bytes) != 0) {
        bytes = 0; /* void, a function */
    }
    *ret_bytes = items * bytes;
    *ret_item_bytes = bytes;
    return NULL;
}

struct qh_error *qh_debug_sizeof(struct qh_debug *debug, const char *type,
                                 const char *anchor, uint64_t *ret_bytes)
{
    uint64_t item_bytes = 0;
    Dwarf_Die die;

    QH_TRY(qh_type_find(debug, type, anchor, &die));
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
        bool found = qh_die_unsigned(die, DW_AT_const_value, &plain);
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
