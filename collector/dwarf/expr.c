/* DWARF expressions: where a variable is, from registers and memory.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf/private.h"

#include <dwarf.h>
#include <string.h>

enum {
    STACK_SIZE = 32,
    /* Frame base within a location, entry value within a call site. */
    MAX_DEPTH = 4
};

/* An expression being evaluated. */
struct machine {
    const struct qh_expr_frame *frame;
    Dwarf_Attribute *attribute;
    uint64_t stack[STACK_SIZE];
    size_t count;
    bool is_value;  /* the result is the value itself, not its address */
    const char *no; /* why it cannot be done; NULL: all is well */
};

static const struct qh_unwound *unwound(const struct machine *machine)
{
    return &machine->frame->stack->frames[machine->frame->index];
}

static void push(struct machine *machine, uint64_t value)
{
    if (machine->count == STACK_SIZE) {
        machine->no = "its location is too deep";
        return;
    }
    machine->stack[machine->count++] = value;
}

static uint64_t pop(struct machine *machine)
{
    if (!machine->count) {
        machine->no = "its location is malformed";
        return 0;
    }
    return machine->stack[--machine->count];
}

static uint64_t reg(struct machine *machine, uint64_t number)
{
    const struct qh_registers *regs = &unwound(machine)->regs;

    if (number >= QH_REG_COUNT || !(regs->known & (1u << number))) {
        machine->no = "it was in a register that is not known here";
        return 0;
    }
    return regs->dwarf[number];
}

static uint64_t deref(struct machine *machine, uint64_t address, size_t bytes)
{
    uint64_t value = 0;
    struct qh_error *error = NULL;

    if (!bytes || bytes > sizeof(value)) {
        machine->no = "its location is malformed";
        return 0;
    }
    error = qh_target_read(machine->frame->debug->target, qh_raddr(address),
                           &value, bytes);
    if (error) {
        machine->no = "the memory that leads to it cannot be read";
        qh_error_destroy(error);
    }
    return value;
}

/* The base that DW_OP_fbreg counts from, as the function's DIE says. */
static uint64_t frame_base(struct machine *machine)
{
    const struct qh_scopes *scopes = machine->frame->scopes;
    struct qh_expr_frame inner = *machine->frame;
    struct qh_expr_result base = { 0 };
    Dwarf_Attribute attribute;
    Dwarf_Die *function = NULL;

    for (size_t i = scopes->count; i > 0 && !function; i--) {
        Dwarf_Die *die = (Dwarf_Die *)&scopes->dies[i - 1];
        function = dwarf_tag(die) == DW_TAG_subprogram ? die : NULL;
    }
    inner.depth++;
    if (!function || inner.depth > MAX_DEPTH ||
        !dwarf_attr_integrate(function, DW_AT_frame_base, &attribute)) {
        machine->no = "its function has no frame base";
        return 0;
    }
    struct qh_error *error = qh_expr_attribute(&inner, &attribute, &base);
    if (error) {
        machine->no = "its frame base is not known";
        qh_error_destroy(error);
    }
    /* A register named as the base holds it. */
    return base.value;
}

static uint64_t cfa(struct machine *machine)
{
    if (!unwound(machine)->cfa) {
        machine->no = "the frame's CFA is not known";
    }
    return unwound(machine)->cfa;
}

/* DW_OP_addrx and DW_OP_constx: the operand stands in a table of the unit. */
static uint64_t indexed(struct machine *machine, const Dwarf_Op *op)
{
    Dwarf_Attribute attribute;
    Dwarf_Addr address = 0;
    Dwarf_Word value = 0;

    if (dwarf_getlocation_attr(machine->attribute, op, &attribute) == 0) {
        if (dwarf_formaddr(&attribute, &address) == 0) {
            return address;
        }
        if (dwarf_formudata(&attribute, &value) == 0) {
            return value;
        }
    }
    machine->no = "its location is malformed";
    return 0;
}

static void entry_value(struct machine *machine, const Dwarf_Op *op)
{
    struct qh_expr_frame inner = *machine->frame;
    Dwarf_Attribute attribute;
    Dwarf_Op *ops = NULL;
    size_t count = 0;
    uint64_t value = 0;

    inner.depth++;
    if (inner.depth > MAX_DEPTH ||
        dwarf_getlocation_attr(machine->attribute, op, &attribute) != 0 ||
        dwarf_getlocation(&attribute, &ops, &count) != 0 || count != 1 ||
        ops[0].atom < DW_OP_reg0 || ops[0].atom > DW_OP_reg16) {
        machine->no = "only its value on entry was kept";
        return;
    }
    struct qh_error *error =
        qh_entry_value(&inner, ops[0].atom - DW_OP_reg0, &value);
    if (error) {
        machine->no = "only its value on entry was kept";
        qh_error_destroy(error);
    }
    push(machine, value);
}

static void implicit_value(struct machine *machine, const Dwarf_Op *op)
{
    Dwarf_Block block;
    uint64_t value = 0;

    if (dwarf_getlocation_implicit_value(machine->attribute, op, &block) != 0 ||
        block.length > sizeof(value)) {
        machine->no = "its value is too large";
        return;
    }
    memcpy(&value, block.data, block.length);
    machine->is_value = true;
    push(machine, value);
}

static uint64_t compute(struct machine *machine, uint8_t atom, uint64_t left,
                        uint64_t right)
{
    switch (atom) {
    case DW_OP_plus:
        return left + right;
    case DW_OP_minus:
        return left - right;
    case DW_OP_mul:
        return left * right;
    case DW_OP_and:
        return left & right;
    case DW_OP_or:
        return left | right;
    case DW_OP_xor:
        return left ^ right;
    case DW_OP_shl:
        return right < 64 ? left << right : 0;
    case DW_OP_shr:
        return right < 64 ? left >> right : 0;
    case DW_OP_shra:
        return (uint64_t)((int64_t)left >> (right < 63 ? right : 63));
    case DW_OP_eq:
        return left == right;
    case DW_OP_ne:
        return left != right;
    case DW_OP_lt:
        return (int64_t)left < (int64_t)right;
    case DW_OP_gt:
        return (int64_t)left > (int64_t)right;
    case DW_OP_le:
        return (int64_t)left <= (int64_t)right;
    case DW_OP_ge:
        return (int64_t)left >= (int64_t)right;
    default:
        machine->no = "its location uses what qhang does not evaluate";
        return 0;
    }
}

/* Operations that work on what is on the stack; the rest is arithmetic. */
static void manipulate(struct machine *machine, const Dwarf_Op *op)
{
    uint64_t top = pop(machine);

    switch (op->atom) {
    case DW_OP_plus_uconst:
        push(machine, top + op->number);
        break;
    case DW_OP_deref:
        push(machine, deref(machine, top, sizeof(uint64_t)));
        break;
    case DW_OP_deref_size:
        push(machine, deref(machine, top, op->number));
        break;
    case DW_OP_neg:
        push(machine, -top);
        break;
    case DW_OP_not:
        push(machine, ~top);
        break;
    case DW_OP_dup:
        push(machine, top);
        push(machine, top);
        break;
    case DW_OP_drop:
        break;
    case DW_OP_stack_value:
        machine->is_value = true;
        push(machine, top);
        break;
    case DW_OP_form_tls_address:
    case DW_OP_GNU_push_tls_address:
        machine->no = "it is thread-local";
        break;
    default:
        push(machine, compute(machine, op->atom, pop(machine), top));
    }
}

/* Operations that bring something to the stack, one code each. */
static void fetch(struct machine *machine, const Dwarf_Op *op)
{
    uint64_t bias = machine->frame->debug->dwarf_bias;

    switch (op->atom) {
    case DW_OP_addr:
        push(machine, op->number + bias);
        break;
    case DW_OP_addrx:
    case DW_OP_GNU_addr_index:
        push(machine, indexed(machine, op) + bias);
        break;
    case DW_OP_constx:
    case DW_OP_GNU_const_index:
        push(machine, indexed(machine, op));
        break;
    case DW_OP_regx:
        machine->is_value = true;
        push(machine, reg(machine, op->number));
        break;
    case DW_OP_bregx:
        push(machine, reg(machine, op->number) + op->number2);
        break;
    case DW_OP_fbreg:
        push(machine, frame_base(machine) + op->number);
        break;
    case DW_OP_call_frame_cfa:
        push(machine, cfa(machine));
        break;
    case DW_OP_entry_value:
    case DW_OP_GNU_entry_value:
        entry_value(machine, op);
        break;
    case DW_OP_implicit_value:
        implicit_value(machine, op);
        break;
    case DW_OP_nop:
        break;
    default:
        manipulate(machine, op);
    }
}

static void execute(struct machine *machine, const Dwarf_Op *op)
{
    uint8_t atom = op->atom;

    if (atom >= DW_OP_lit0 && atom <= DW_OP_lit31) {
        push(machine, (uint64_t)(atom - DW_OP_lit0));
    } else if (atom >= DW_OP_breg0 && atom <= DW_OP_breg31) {
        push(machine,
             reg(machine, (uint64_t)(atom - DW_OP_breg0)) + op->number);
    } else if (atom >= DW_OP_reg0 && atom <= DW_OP_reg31) {
        machine->is_value = true;
        push(machine, reg(machine, (uint64_t)(atom - DW_OP_reg0)));
    } else if (atom >= DW_OP_const1u && atom <= DW_OP_consts) {
        push(machine, op->number);
    } else {
        fetch(machine, op);
    }
}

struct qh_error *qh_expr_eval(const struct qh_expr_frame *frame,
                              Dwarf_Attribute *attribute, const Dwarf_Op *ops,
                              size_t count, struct qh_expr_result *ret)
{
    struct machine machine = { .frame = frame, .attribute = attribute };

    if (!count) {
        machine.no = "the compiler no longer keeps it there";
    }
    /* No branches: the loop ends with the operations. */
    for (size_t i = 0; i < count && !machine.no; i++) {
        if (ops[i].atom == DW_OP_piece || ops[i].atom == DW_OP_bit_piece) {
            machine.no = i + 1 < count ? "it is in several pieces" : NULL;
            break;
        }
        execute(&machine, &ops[i]);
    }
    uint64_t value = machine.no ? 0 : pop(&machine);
    if (machine.no) {
        return qh_error_new(QH_ERR_ABSENT, "%s", machine.no);
    }
    ret->kind = machine.is_value ? QH_EXPR_VALUE : QH_EXPR_MEMORY;
    ret->value = value;
    return NULL;
}

struct qh_error *qh_expr_attribute(const struct qh_expr_frame *frame,
                                   Dwarf_Attribute *attribute,
                                   struct qh_expr_result *ret)
{
    const struct qh_unwound *at = &frame->stack->frames[frame->index];
    uint64_t pc = qh_lookup_pc(at) - frame->debug->dwarf_bias;
    Dwarf_Op *ops = NULL;
    size_t count = 0;
    int found = dwarf_getlocation_addr(attribute, pc, &ops, &count, 1);

    if (found < 0) {
        return qh_dwarf_error(frame->debug, "a location");
    }
    return qh_expr_eval(frame, attribute, ops, found ? count : 0, ret);
}
