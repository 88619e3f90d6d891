/* Compilation units: which one holds an address, what stands in it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf/private.h"

#include <dwarf.h>
#include <string.h>

/* Partial units may import others; real ones do so two or three deep. */
enum { MAX_IMPORT_DEPTH = 8 };

struct qh_error *qh_dwarf_error(struct qh_debug *debug, const char *doing)
{
    const char *file = debug->debug_file ? debug->debug_file : debug->exe_path;

    return qh_error_path(qh_error_new(QH_ERR_BAD_DEBUGINFO,
                                      "debug information of %s: %s: %s", file,
                                      doing, dwarf_errmsg(-1)),
                         file);
}

static void unit_deinit(struct qh_unit *unit)
{
    free(unit->dies);
    free(unit->enums);
    free(unit->code);
    free(unit->imports);
    qh_names_deinit(&unit->tags);
    qh_names_deinit(&unit->typedefs);
}

void qh_units_deinit(struct qh_units *units)
{
    for (size_t i = 0; i < units->count; i++) {
        unit_deinit(units->items[i]);
        free(units->items[i]);
    }
    free(units->items);
    unit_deinit(&units->all);
    free(units->map);
}

/* Enters a named type; the first of a name stays. */
static struct qh_error *add_type(struct qh_unit *unit, struct qh_names *names,
                                 Dwarf_Die *die)
{
    uint32_t *value = NULL;
    bool is_new = false;
    const char *name = dwarf_diename(die);

    if (!name) {
        return NULL;
    }
    QH_TRY(qh_names_enter(names, name, (uint32_t)unit->die_count, &value,
                          &is_new));
    if (is_new) {
        QH_TRY(qh_array_reserve(&unit->dies, &unit->die_capacity,
                                unit->die_count + 1, sizeof(*unit->dies)));
        unit->dies[unit->die_count++] = *die;
    }
    return NULL;
}

static struct qh_error *add_enum(struct qh_unit *unit, Dwarf_Die *die)
{
    QH_TRY(qh_array_reserve(&unit->enums, &unit->enum_capacity,
                            unit->enum_count + 1, sizeof(*unit->enums)));
    unit->enums[unit->enum_count++] = *die;
    return add_type(unit, &unit->tags, die);
}

static struct qh_error *add_ranges(struct qh_code **items, size_t *count,
                                   size_t *capacity, Dwarf_Die *die)
{
    Dwarf_Addr base = 0;
    Dwarf_Addr low = 0;
    Dwarf_Addr high = 0;
    ptrdiff_t next = 0;

    while ((next = dwarf_ranges(die, next, &base, &low, &high)) > 0) {
        if (low >= high) {
            continue;
        }
        QH_TRY(qh_array_reserve(items, capacity, *count + 1, sizeof(**items)));
        (*items)[(*count)++] = (struct qh_code){ low, high, *die };
    }
    return NULL;
}

static struct qh_error *add_children(struct qh_unit *unit, Dwarf_Die *parent,
                                     bool with_code, unsigned depth);

/* Takes in what a DW_TAG_imported_unit refers to, once. */
static struct qh_error *add_import(struct qh_unit *unit, Dwarf_Die *die,
                                   unsigned depth)
{
    Dwarf_Attribute attribute;
    Dwarf_Die partial;

    if (depth >= MAX_IMPORT_DEPTH ||
        !dwarf_formref_die(dwarf_attr(die, DW_AT_import, &attribute),
                           &partial)) {
        return NULL;
    }
    Dwarf_Off offset = (Dwarf_Off)(uintptr_t)partial.addr;
    for (size_t i = 0; i < unit->import_count; i++) {
        if (unit->imports[i] == offset) {
            return NULL;
        }
    }
    QH_TRY(qh_array_reserve(&unit->imports, &unit->import_capacity,
                            unit->import_count + 1, sizeof(*unit->imports)));
    unit->imports[unit->import_count++] = offset;
    return add_children(unit, &partial, false, depth + 1);
}

static struct qh_error *add_child(struct qh_unit *unit, Dwarf_Die *die,
                                  bool with_code, unsigned depth)
{
    switch (dwarf_tag(die)) {
    case DW_TAG_structure_type:
    case DW_TAG_union_type:
        return dwarf_hasattr(die, DW_AT_declaration)
                   ? NULL : add_type(unit, &unit->tags, die);
    case DW_TAG_enumeration_type:
        return dwarf_hasattr(die, DW_AT_declaration) ? NULL
                                                     : add_enum(unit, die);
    case DW_TAG_typedef:
        return add_type(unit, &unit->typedefs, die);
    case DW_TAG_subprogram:
        return with_code ? add_ranges(&unit->code, &unit->code_count,
                                      &unit->code_capacity, die)
                         : NULL;
    case DW_TAG_imported_unit:
        return add_import(unit, die, depth);
    default:
        return NULL;
    }
}

static struct qh_error *add_children(struct qh_unit *unit, Dwarf_Die *parent,
                                     bool with_code, unsigned depth)
{
    Dwarf_Die die;

    for (int more = dwarf_child(parent, &die); more == 0;
         more = dwarf_siblingof(&die, &die)) {
        QH_TRY(add_child(unit, &die, with_code, depth));
    }
    return NULL;
}

static int by_low(const void *left, const void *right)
{
    const struct qh_code *a = left;
    const struct qh_code *b = right;

    return a->low < b->low ? -1 : a->low > b->low;
}

/* The range that holds `pc`, or NULL; `items` in order of `low`. */
static const struct qh_code *range_at(const struct qh_code *items, size_t count,
                                      uint64_t pc)
{
    size_t low = 0;
    size_t high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (items[middle].low <= pc) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low && pc < items[low - 1].high ? &items[low - 1] : NULL;
}

bool qh_unit_function(const struct qh_unit *unit, uint64_t pc, Dwarf_Die *ret)
{
    const struct qh_code *found = range_at(unit->code, unit->code_count, pc);

    if (found) {
        *ret = found->die;
    }
    return found;
}

/* The indexed form of the unit whose own DIE is `cu`. */
static struct qh_error *index_unit(struct qh_debug *debug, const Dwarf_Die *cu,
                                   struct qh_unit **ret)
{
    struct qh_units *units = &debug->units;

    for (size_t i = 0; i < units->count; i++) {
        if (units->items[i]->cu.addr == cu->addr) {
            *ret = units->items[i];
            return NULL;
        }
    }
    QH_TRY(qh_array_reserve(&units->items, &units->capacity, units->count + 1,
                            sizeof(*units->items)));
    struct qh_unit *unit = calloc(1, sizeof(*unit));
    if (!unit) {
        return qh_error_no_memory();
    }
    units->items[units->count++] = unit;
    unit->cu = *cu;
    QH_TRY(add_children(unit, &unit->cu, true, 0));
    if (unit->code_count) {
        qsort(unit->code, unit->code_count, sizeof(*unit->code), by_low);
    }
    *ret = unit;
    return NULL;
}

struct qh_error *qh_unit_of(struct qh_debug *debug, Dwarf_Die *die,
                            struct qh_unit **ret)
{
    Dwarf_Die cu;

    if (!dwarf_diecu(die, &cu, NULL, NULL)) {
        return qh_dwarf_error(debug, "unit of an entry");
    }
    return index_unit(debug, &cu, ret);
}

struct qh_error *qh_unit_next(struct qh_debug *debug)
{
    struct qh_units *units = &debug->units;
    Dwarf_Die die;
    uint8_t type = 0;
    int more = dwarf_get_units(debug->dwarf, units->cursor, &units->cursor,
                               NULL, &type, &die, NULL);

    if (more < 0) {
        units->exhausted = true;
        return qh_dwarf_error(debug, "next unit");
    }
    if (more > 0) {
        units->exhausted = true;
        return NULL;
    }
    return add_children(&units->all, &die, false, 0);
}

/* Clang leaves out .debug_aranges: the units themselves say what they hold. */
static struct qh_error *build_map(struct qh_debug *debug)
{
    struct qh_units *units = &debug->units;
    Dwarf_CU *cu = NULL;
    Dwarf_Die die;
    uint8_t type = 0;

    units->map_built = true;
    while (dwarf_get_units(debug->dwarf, cu, &cu, NULL, &type, &die, NULL) ==
           0) {
        if (dwarf_tag(&die) == DW_TAG_compile_unit) {
            QH_TRY(add_ranges(&units->map, &units->map_count,
                              &units->map_capacity, &die));
        }
    }
    if (units->map_count) {
        qsort(units->map, units->map_count, sizeof(*units->map), by_low);
    }
    return NULL;
}

struct qh_error *qh_unit_at(struct qh_debug *debug, uint64_t address,
                            struct qh_unit **ret)
{
    Dwarf_Addr bias = 0;

    *ret = NULL;
    if (dwfl_addrmodule(debug->dwfl, address) != debug->exe) {
        return NULL;
    }
    Dwarf_Die *die = dwfl_module_addrdie(debug->exe, address, &bias);
    if (die) {
        return index_unit(debug, die, ret);
    }
    if (!debug->units.map_built) {
        QH_TRY(build_map(debug));
    }
    const struct qh_code *found =
        range_at(debug->units.map, debug->units.map_count,
                 address - debug->dwarf_bias);
    return found ? index_unit(debug, &found->die, ret) : NULL;
}
