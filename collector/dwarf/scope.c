/* The function, blocks and inlined functions that hold an address.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf/private.h"

#include <dwarf.h>

uint64_t qh_lookup_pc(const struct qh_unwound *frame)
{
    uint64_t pc = frame->regs.dwarf[QH_REG_RIP];

    return frame->is_activation || !pc ? pc : pc - 1;
}

/* The child of `parent` that has code at `pc`, or false. */
static bool inner_scope(Dwarf_Die *parent, uint64_t pc, Dwarf_Die *ret)
{
    Dwarf_Die child;

    for (int more = dwarf_child(parent, &child); more == 0;
         more = dwarf_siblingof(&child, &child)) {
        int tag = dwarf_tag(&child);
        bool nests = tag == DW_TAG_inlined_subroutine ||
                     tag == DW_TAG_lexical_block || tag == DW_TAG_subprogram;
        if (nests && dwarf_haspc(&child, pc) > 0) {
            *ret = child;
            return true;
        }
    }
    return false;
}

struct qh_error *qh_scopes_at(struct qh_debug *debug, uint64_t address,
                              struct qh_scopes *ret)
{
    uint64_t pc = address - debug->dwarf_bias;

    ret->count = 0;
    QH_TRY(qh_unit_at(debug, address, &ret->unit));
    if (!ret->unit || !qh_unit_function(ret->unit, pc, &ret->dies[0])) {
        return NULL;
    }
    ret->count = 1;
    while (ret->count < QH_MAX_SCOPES &&
           inner_scope(&ret->dies[ret->count - 1], pc,
                       &ret->dies[ret->count])) {
        ret->count++;
    }
    return NULL;
}
