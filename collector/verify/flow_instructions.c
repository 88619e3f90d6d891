/* x86-64 instructions on symbolic values.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "verify/flow_parts.h"

#include <string.h>

void qh_flow_run_other(struct qh_flow *flow, struct qh_flow_state *state,
                       const cs_insn *insn)
{
    const cs_x86 *x86 = &insn->detail->x86;
    cs_regs read;
    cs_regs written;
    uint8_t read_count;
    uint8_t written_count;

    for (unsigned i = 0; i < x86->op_count; i++) {
        const cs_x86_op *op = &x86->operands[i];

        if (op->type == X86_OP_MEM && (op->access & CS_AC_WRITE)) {
            qh_flow_store(flow, state, insn,
                          qh_flow_address_of(flow, state, insn, op),
                          qh_flow_unknown(flow));
        }
    }
    if (cs_regs_access(flow->capstone, insn, read, &read_count, written,
                       &written_count) != CS_ERR_OK) {
        return;
    }
    for (unsigned i = 0; i < written_count; i++) {
        qh_flow_set_register(flow, state, written[i], qh_flow_unknown(flow));
    }
}

/* op0 += or -= a constant, anywhere. */
static void run_add(struct qh_flow *flow, struct qh_flow_state *state,
                    const cs_insn *insn, bool subtract)
{
    const cs_x86 *x86 = &insn->detail->x86;
    struct qh_value value;
    struct qh_value addend = qh_flow_constant(1);

    if (x86->op_count > 1) {
        addend = qh_flow_read_operand(flow, state, insn, &x86->operands[1]);
    }
    if (addend.origin || x86->operands[0].size < 4) {
        qh_flow_run_other(flow, state, insn);
        return;
    }
    value = qh_flow_read_operand(flow, state, insn, &x86->operands[0]);
    qh_flow_write_operand(flow, state, insn, &x86->operands[0],
                          qh_flow_moved(value, subtract
                                                   ? -(uint64_t)addend.offset
                                                   : (uint64_t)addend.offset));
}

static void compare(struct qh_flow_state *state, struct qh_value a,
                    struct qh_value b)
{
    state->compared[0] = a;
    state->compared[1] = b;
    state->knows_zero_flag = true;
}

/* Whether both operands are one register: xor clears it, test asks for 0. */
static bool clears(const cs_insn *insn)
{
    const cs_x86 *x86 = &insn->detail->x86;

    return x86->op_count == 2 && x86->operands[0].type == X86_OP_REG &&
           x86->operands[1].type == X86_OP_REG &&
           x86->operands[0].reg == x86->operands[1].reg &&
           x86->operands[0].size >= 4;
}

static void run_cmpxchg(struct qh_flow *flow, struct qh_flow_state *state,
                        const cs_insn *insn)
{
    const cs_x86 *x86 = &insn->detail->x86;
    struct qh_value address;
    struct qh_event *event;

    if (x86->operands[0].type != X86_OP_MEM ||
        x86->prefix[0] != X86_PREFIX_LOCK) {
        qh_flow_run_other(flow, state, insn);
        return;
    }
    address = qh_flow_address_of(flow, state, insn, &x86->operands[0]);
    event = qh_flow_add_event(flow, state, insn, QH_EVENT_CMPXCHG, address);
    event->value = qh_flow_read_operand(flow, state, insn, &x86->operands[1]);
    event->expected = state->gpr[QH_RAX];
    state->gpr[QH_RAX] = qh_flow_from(flow, QH_FROM_CMPXCHG, address, 0);
    compare(state, state->gpr[QH_RAX], event->expected);
}

/* test and cmp; what they compare may be a word in memory. */
static void run_compare(struct qh_flow *flow, struct qh_flow_state *state,
                        const cs_insn *insn)
{
    const cs_x86_op *ops = insn->detail->x86.operands;
    struct qh_value a = qh_flow_read_operand(flow, state, insn, &ops[0]);
    struct qh_value b = qh_flow_read_operand(flow, state, insn, &ops[1]);

    if (insn->id == X86_INS_CMP && ops[0].size >= 4) {
        compare(state, a, b);
    } else if (insn->id == X86_INS_TEST && clears(insn)) {
        compare(state, a, qh_flow_constant(0));
    } else {
        state->knows_zero_flag = false;
    }
}

static void run_xchg(struct qh_flow *flow, struct qh_flow_state *state,
                     const cs_insn *insn)
{
    const cs_x86_op *a = &insn->detail->x86.operands[0];
    const cs_x86_op *b = &insn->detail->x86.operands[1];
    struct qh_value address;
    struct qh_event *event;

    if (a->type == X86_OP_REG && b->type == X86_OP_REG) {
        struct qh_value value = qh_flow_register(flow, state, a->reg);

        qh_flow_set_register(flow, state, a->reg,
                             qh_flow_register(flow, state, b->reg));
        qh_flow_set_register(flow, state, b->reg, value);
        return;
    }
    if (a->type == X86_OP_REG) {
        const cs_x86_op *swap = a;

        a = b;
        b = swap;
    }
    address = qh_flow_address_of(flow, state, insn, a);
    event = qh_flow_add_event(flow, state, insn, QH_EVENT_XCHG, address);
    event->value = qh_flow_register(flow, state, b->reg);
    qh_flow_set_register(flow, state, b->reg,
                         qh_flow_from(flow, QH_FROM_XCHG, address, 0));
}

static void run_push(struct qh_flow *flow, struct qh_flow_state *state,
                     const cs_insn *insn)
{
    struct qh_value value =
        qh_flow_read_operand(flow, state, insn, &insn->detail->x86.operands[0]);

    state->gpr[QH_RSP] = qh_flow_moved(state->gpr[QH_RSP], -UINT64_C(8));
    qh_flow_store(flow, state, insn, state->gpr[QH_RSP], value);
}

static void run_pop(struct qh_flow *flow, struct qh_flow_state *state,
                    const cs_insn *insn)
{
    struct qh_value value =
        qh_flow_load(flow, state, insn, state->gpr[QH_RSP], 8);

    state->gpr[QH_RSP] = qh_flow_moved(state->gpr[QH_RSP], 8);
    qh_flow_write_operand(flow, state, insn, &insn->detail->x86.operands[0],
                          value);
}

static bool keeps_flags(const cs_insn *insn)
{
    switch (insn->id) {
    case X86_INS_MOV:
    case X86_INS_MOVABS:
    case X86_INS_LEA:
    case X86_INS_PUSH:
    case X86_INS_POP:
    case X86_INS_XCHG:
    case X86_INS_NOP:
        return true;
    default:
        return false;
    }
}

void qh_flow_run_one(struct qh_flow *flow, struct qh_flow_state *state,
                     const cs_insn *insn)
{
    const cs_x86_op *ops = insn->detail->x86.operands;

    state->knows_zero_flag &= keeps_flags(insn);
    switch (insn->id) {
    case X86_INS_MOV:
    case X86_INS_MOVABS:
        qh_flow_write_operand(flow, state, insn, &ops[0],
                              qh_flow_read_operand(flow, state, insn, &ops[1]));
        break;
    case X86_INS_LEA:
        qh_flow_write_operand(flow, state, insn, &ops[0],
                              qh_flow_address_of(flow, state, insn, &ops[1]));
        break;
    case X86_INS_XOR:
        if (clears(insn)) {
            qh_flow_set_register(flow, state, ops[0].reg, qh_flow_constant(0));
        } else {
            qh_flow_run_other(flow, state, insn);
        }
        break;
    case X86_INS_ADD:
    case X86_INS_INC:
        run_add(flow, state, insn, false);
        break;
    case X86_INS_SUB:
    case X86_INS_DEC:
        run_add(flow, state, insn, true);
        break;
    case X86_INS_PUSH:
        run_push(flow, state, insn);
        break;
    case X86_INS_POP:
        run_pop(flow, state, insn);
        break;
    case X86_INS_LEAVE:
        state->gpr[QH_RSP] = state->gpr[QH_RBP];
        state->gpr[QH_RBP] =
            qh_flow_load(flow, state, insn, state->gpr[QH_RSP], 8);
        state->gpr[QH_RSP] = qh_flow_moved(state->gpr[QH_RSP], 8);
        break;
    case X86_INS_XCHG:
        run_xchg(flow, state, insn);
        break;
    case X86_INS_CMPXCHG:
        run_cmpxchg(flow, state, insn);
        break;
    case X86_INS_CMP:
    case X86_INS_TEST:
        run_compare(flow, state, insn);
        break;
    case X86_INS_NOP:
        break;
    default:
        qh_flow_run_other(flow, state, insn);
        break;
    }
}

void qh_flow_add_call(struct qh_flow *flow, struct qh_flow_state *state,
                      const cs_insn *insn)
{
    static const enum qh_gpr order[QH_CALL_ARGUMENTS] = { QH_RDI, QH_RSI,
                                                          QH_RDX, QH_RCX };
    const cs_x86_op *op = &insn->detail->x86.operands[0];
    struct qh_value target = op->type == X86_OP_IMM
                                 ? qh_flow_constant((uint64_t)op->imm)
                                 : qh_flow_unknown(flow);
    struct qh_event *event =
        qh_flow_add_event(flow, state, insn, QH_EVENT_CALL, target);

    for (int i = 0; i < QH_CALL_ARGUMENTS; i++) {
        event->arguments[i] = state->gpr[order[i]];
    }
}

bool qh_flow_ends_program(const struct qh_flow *flow, const cs_insn *insn)
{
    static const char *const names[] = { "abort", "__assert_fail",
                                         "__stack_chk_fail", "exit", "_exit" };
    const cs_x86_op *op = &insn->detail->x86.operands[0];
    const char *name = op->type == X86_OP_IMM
                           ? qh_image_import(flow->image, (uint64_t)op->imm)
                           : NULL;

    for (size_t i = 0; name && i < QH_COUNT(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

void qh_flow_run_call(struct qh_flow *flow, struct qh_flow_state *state,
                      const cs_insn *insn)
{
    static const enum qh_gpr lost[] = { QH_RCX, QH_RDX, QH_RSI, QH_RDI,
                                        QH_R8,  9,      10,     11 };

    qh_flow_add_call(flow, state, insn);
    for (size_t i = 0; i < QH_COUNT(lost); i++) {
        state->gpr[lost[i]] = qh_flow_unknown(flow);
    }
    state->gpr[QH_RAX] =
        qh_flow_from(flow, QH_FROM_CALL, qh_flow_constant(0), 0);
}
