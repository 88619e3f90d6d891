/* Parameters and locals of frames.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf/private.h"

#include <dwarf.h>
#include <string.h>

static bool is_named(Dwarf_Die *die, const char *name)
{
    const char *found = dwarf_diename(die);

    return found && strcmp(found, name) == 0;
}

/* A child of `scope` that is a variable called `name`. */
static bool find_here(Dwarf_Die *scope, const char *name, Dwarf_Die *ret)
{
    Dwarf_Die child;

    for (int more = dwarf_child(scope, &child); more == 0;
         more = dwarf_siblingof(&child, &child)) {
        int tag = dwarf_tag(&child);
        if ((tag == DW_TAG_formal_parameter || tag == DW_TAG_variable) &&
            is_named(&child, name)) {
            *ret = child;
            return true;
        }
    }
    return false;
}

/* Where scope `i`'s blocks end: at the next function inlined into it. */
static size_t end_of_blocks(const struct qh_scopes *scopes, size_t i)
{
    for (i++; i < scopes->count; i++) {
        if (dwarf_tag((Dwarf_Die *)&scopes->dies[i]) != DW_TAG_lexical_block) {
            break;
        }
    }
    return i;
}

/*
 * The variable of `function` that is meant at this address: the innermost
 * block's first, of the innermost function of that name.
 */
static bool find_variable(struct qh_scopes *scopes, const char *function,
                          const char *name, Dwarf_Die *ret, bool *ret_inside)
{
    *ret_inside = false;
    for (size_t i = scopes->count; i > 0; i--) {
        Dwarf_Die *die = &scopes->dies[i - 1];
        if (dwarf_tag(die) == DW_TAG_lexical_block ||
            !is_named(die, function)) {
            continue;
        }
        *ret_inside = true;
        for (size_t j = end_of_blocks(scopes, i - 1); j >= i; j--) {
            if (find_here(&scopes->dies[j - 1], name, ret)) {
                return true;
            }
        }
    }
    return false;
}

static bool constant(Dwarf_Die *die, uint64_t *ret)
{
    Dwarf_Attribute attribute;
    Dwarf_Sword value = 0;
    Dwarf_Block block;

    if (!dwarf_attr_integrate(die, DW_AT_const_value, &attribute)) {
        return false;
    }
    if (dwarf_formsdata(&attribute, &value) == 0) {
        *ret = (uint64_t)value;
        return true;
    }
    if (dwarf_formblock(&attribute, &block) == 0 && block.length <= 8) {
        *ret = 0;
        memcpy(ret, block.data, block.length);
        return true;
    }
    return false;
}

static uint64_t low_bytes(uint64_t value, uint64_t bytes)
{
    return bytes && bytes < 8 ? value & ((UINT64_C(1) << 8 * bytes) - 1)
                              : value;
}

static struct qh_error *locate(const struct qh_expr_frame *frame,
                               Dwarf_Die *die, struct qh_variable *ret)
{
    struct qh_variable variable = { 0 };
    struct qh_expr_result result = { 0 };
    Dwarf_Attribute attribute;
    Dwarf_Die type;
    uint64_t item_bytes = 0;

    if (qh_type_of(die, &type)) {
        QH_TRY(qh_type_size(frame->debug, &type, &variable.bytes,
                            &item_bytes));
    }
    if (dwarf_attr_integrate(die, DW_AT_location, &attribute)) {
        QH_TRY(qh_expr_attribute(frame, &attribute, &result));
    } else if (constant(die, &result.value)) {
        result.kind = QH_EXPR_VALUE;
    } else {
        return qh_error_new(QH_ERR_ABSENT, "the compiler left it out");
    }
    if (result.kind == QH_EXPR_MEMORY) {
        variable.in_memory = true;
        variable.address = qh_raddr(result.value);
    } else {
        variable.value = low_bytes(result.value, variable.bytes);
    }
    *ret = variable;
    return NULL;
}

/* Says of which variable an error is. */
static struct qh_error *named(struct qh_error *error, const char *function,
                              const char *name)
{
    struct qh_error *whole = NULL;

    if (!error || error->code != QH_ERR_ABSENT) {
        return error;
    }
    whole = qh_error_new(QH_ERR_ABSENT, "`%s` of %s(): %s", name, function,
                         error->message);
    qh_error_destroy(error);
    return whole;
}

struct qh_error *qh_frame_variable(struct qh_debug *debug,
                                   const struct qh_unwound_stack *stack,
                                   size_t index, const char *function,
                                   const char *name, struct qh_variable *ret)
{
    struct qh_scopes scopes;
    struct qh_expr_frame frame = { debug, stack, index, &scopes, 0 };
    Dwarf_Die die;
    bool inside = false;

    if (index >= stack->count) {
        return qh_error_new(QH_ERR_ABSENT, "no frame %zu", index);
    }
    QH_TRY(qh_scopes_at(debug, qh_lookup_pc(&stack->frames[index]), &scopes));
    if (!find_variable(&scopes, function, name, &die, &inside)) {
        return named(qh_error_new(QH_ERR_ABSENT, "%s",
                                  inside ? "no such variable"
                                         : "not in that function"),
                     function, name);
    }
    return named(locate(&frame, &die, ret), function, name);
}

struct qh_error *qh_frame_value(struct qh_debug *debug,
                                const struct qh_unwound_stack *stack,
                                size_t index, const char *function,
                                const char *name, uint64_t *ret)
{
    struct qh_variable variable;
    uint64_t value = 0;

    QH_TRY(qh_frame_variable(debug, stack, index, function, name, &variable));
    if (!variable.bytes || variable.bytes > sizeof(value)) {
        return qh_error_new(QH_ERR_ABSENT, "`%s` of %s(): no plain value",
                            name, function);
    }
    if (variable.in_memory) {
        QH_TRY(qh_target_read(debug->target, variable.address, &value,
                              variable.bytes));
        *ret = value;
    } else {
        *ret = variable.value;
    }
    return NULL;
}
