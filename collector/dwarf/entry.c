/* Values on entry, recovered from what the caller's call site says.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A call site (DWARF 5, section 3.4; as GNU extensions before) tells how the
 * caller computed each argument. It speaks for our frame only if the function
 * that was called there is the one we stand in: another one may have gone on
 * to it by a tail call with other arguments. An indirect call names no
 * function, so it says nothing.
 */
#include "dwarf/private.h"

#include <dwarf.h>
#include <string.h>


static struct qh_error *nothing(void)
{
    return qh_error_new(QH_ERR_ABSENT, "the caller does not tell");
}

static bool returns_to(Dwarf_Die *site, uint64_t pc)
{
    Dwarf_Attribute attribute;
    Dwarf_Addr address = 0;
    Dwarf_Attribute *found =
        dwarf_attr(site, DW_AT_call_return_pc, &attribute);

    if (!found) {
        found = dwarf_attr(site, DW_AT_low_pc, &attribute);
    }
    return dwarf_formaddr(found, &address) == 0 && address == pc;
}

/* The call site below `scope` whose call returns to `pc`. */
static bool find_site(Dwarf_Die *scope, uint64_t pc, Dwarf_Die *ret)
{
    Dwarf_Die child;

    for (int more = dwarf_child(scope, &child); more == 0;
         more = dwarf_siblingof(&child, &child)) {
        int tag = dwarf_tag(&child);
        if ((tag == DW_TAG_call_site || tag == DW_TAG_GNU_call_site) &&
            returns_to(&child, pc)) {
            *ret = child;
            return true;
        }
    }
    return false;
}

/* The function that a call site calls by name, or NULL. */
static const char *callee(Dwarf_Die *site)
{
    Dwarf_Attribute attribute;
    Dwarf_Die origin;
    Dwarf_Attribute *found = dwarf_attr(site, DW_AT_call_origin, &attribute);

    if (!found) {
        found = dwarf_attr(site, DW_AT_abstract_origin, &attribute);
    }
    return dwarf_formref_die(found, &origin) ? dwarf_diename(&origin) : NULL;
}

/* Whether a call site's parameter is the one that went into `reg`. */
static bool is_in(Dwarf_Die *parameter, unsigned reg)
{
    Dwarf_Attribute attribute;
    Dwarf_Op *ops = NULL;
    size_t count = 0;
    int tag = dwarf_tag(parameter);

    return (tag == DW_TAG_call_site_parameter ||
            tag == DW_TAG_GNU_call_site_parameter) &&
           dwarf_getlocation(dwarf_attr(parameter, DW_AT_location, &attribute),
                             &ops, &count) == 0 &&
           count == 1 && ops[0].atom == DW_OP_reg0 + reg;
}

static bool find_parameter(Dwarf_Die *site, unsigned reg, Dwarf_Die *ret)
{
    Dwarf_Die child;

    for (int more = dwarf_child(site, &child); more == 0;
         more = dwarf_siblingof(&child, &child)) {
        if (is_in(&child, reg)) {
            *ret = child;
            return true;
        }
    }
    return false;
}

/* Evaluates the parameter in the caller's frame. */
static struct qh_error *evaluate(const struct qh_expr_frame *caller,
                                 Dwarf_Die *parameter, uint64_t *ret)
{
    struct qh_expr_result result = { 0 };
    Dwarf_Attribute attribute;
    Dwarf_Op *ops = NULL;
    size_t count = 0;
    Dwarf_Attribute *found =
        dwarf_attr(parameter, DW_AT_call_value, &attribute);

    if (!found) {
        found = dwarf_attr(parameter, DW_AT_GNU_call_site_value, &attribute);
    }
    if (dwarf_getlocation(found, &ops, &count) != 0) {
        return nothing();
    }
    QH_TRY(qh_expr_eval(caller, found, ops, count, &result));
    *ret = result.value; /* the expression computes the value itself */
    return NULL;
}

struct qh_error *qh_entry_value(const struct qh_expr_frame *frame, unsigned reg,
                                uint64_t *ret)
{
    struct qh_expr_frame caller = *frame;
    struct qh_scopes scopes;
    Dwarf_Die site;
    Dwarf_Die parameter;
    bool found = false;

    caller.index++;
    caller.scopes = &scopes;
    if (caller.index >= frame->stack->count || !frame->scopes->count) {
        return nothing();
    }
    const struct qh_unwound *outer = &frame->stack->frames[caller.index];
    uint64_t pc = outer->regs.dwarf[QH_REG_RIP];
    QH_TRY(qh_scopes_at(frame->debug, qh_lookup_pc(outer), &scopes));
    for (size_t i = scopes.count; i > 0 && !found; i--) {
        found = find_site(&scopes.dies[i - 1], pc - frame->debug->dwarf_bias,
                          &site);
    }
    const char *called = found ? callee(&site) : NULL;
    const char *own = dwarf_diename((Dwarf_Die *)&frame->scopes->dies[0]);
    if (!called || !own || strcmp(called, own) != 0 ||
        !find_parameter(&site, reg, &parameter)) {
        return nothing();
    }
    return evaluate(&caller, &parameter, ret);
}
