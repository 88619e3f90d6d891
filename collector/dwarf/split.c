/* Static variables that the compiler took apart.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Clang replaces a static struct of which it knows every use by its members:
 * QEMU's `global_pool` (util/qemu-coroutine.c) has no symbol of its own, only
 * `global_pool.0`. Only the DWARF says whether one address still stands for
 * all of the variable.
 */
#include "dwarf/private.h"

#include <dwarf.h>
#include <string.h>

/* Whether a unit was compiled from this source file; by its name alone. */
static bool is_from(Dwarf_Die *unit, const char *file)
{
    const char *name = dwarf_diename(unit);
    const char *slash = name ? strrchr(name, '/') : NULL;

    return name && strcmp(slash ? slash + 1 : name, file) == 0;
}

/* The one address (of the DWARF) where all of the variable stands. */
static bool whole_address(Dwarf_Die *variable, uint64_t *ret)
{
    Dwarf_Attribute location;
    Dwarf_Attribute indexed;
    Dwarf_Op *ops = NULL;
    size_t count = 0;
    Dwarf_Addr address = 0;

    if (dwarf_getlocation(dwarf_attr(variable, DW_AT_location, &location),
                          &ops, &count) != 0 ||
        count != 1) {
        return false;
    }
    if (ops[0].atom == DW_OP_addr) {
        *ret = ops[0].number;
        return true;
    }
    if (dwarf_getlocation_attr(&location, &ops[0], &indexed) != 0 ||
        dwarf_formaddr(&indexed, &address) != 0) {
        return false;
    }
    *ret = address;
    return true;
}

static bool find_in(Dwarf_Die *unit, const char *name, uint64_t *ret)
{
    Dwarf_Die die;

    for (int more = dwarf_child(unit, &die); more == 0;
         more = dwarf_siblingof(&die, &die)) {
        if (dwarf_tag(&die) != DW_TAG_variable) {
            continue;
        }
        const char *found = dwarf_diename(&die);
        if (found && strcmp(found, name) == 0 && whole_address(&die, ret)) {
            return true;
        }
    }
    return false;
}

struct qh_error *qh_split_variable(struct qh_debug *debug, const char *name,
                                   const struct qh_symbol *part, uint64_t *ret)
{
    Dwarf_CU *cu = NULL;
    Dwarf_Die unit;
    uint8_t type = 0;
    uint64_t address = 0;

    while (part->file && dwarf_get_units(debug->dwarf, cu, &cu, NULL, &type,
                                         &unit, NULL) == 0) {
        if (is_from(&unit, part->file) && find_in(&unit, name, &address)) {
            *ret = address + debug->dwarf_bias;
            return NULL;
        }
    }
    return qh_error_new(QH_ERR_ABSENT,
                        "the compiler took `%s` of %s apart; `%s` is left",
                        name, debug->exe_path, part->name);
}
