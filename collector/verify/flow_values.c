/* What registers, memory and operands hold on a path.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "verify/flow_parts.h"

struct qh_value qh_flow_constant(uint64_t value)
{
    return (struct qh_value){ 0, (int64_t)value };
}

struct qh_value qh_flow_from(struct qh_flow *flow, enum qh_origin_kind kind,
                             struct qh_value address, unsigned argument)
{
    struct qh_origin *origin =
        qh_list_add(&flow->arena, &flow->origins, &flow->origin_count,
                    &flow->origin_capacity, sizeof(*origin));

    if (!origin) {
        flow->no_memory = true;
        return qh_flow_constant(0);
    }
    *origin = (struct qh_origin){ kind, address, argument };
    return (struct qh_value){ (uint32_t)flow->origin_count - 1, 0 };
}

struct qh_value qh_flow_moved(struct qh_value value, uint64_t bytes)
{
    value.offset = (int64_t)((uint64_t)value.offset + bytes);
    return value;
}

struct qh_value qh_flow_unknown(struct qh_flow *flow)
{
    return qh_flow_from(flow, QH_FROM_ELSEWHERE, qh_flow_constant(0), 0);
}

static bool is_stack(const struct qh_flow *flow, struct qh_value address)
{
    return flow->origins[address.origin].kind == QH_FROM_STACK;
}

#define GPR_NAMES(a, b, c, d) X86_REG_##a, X86_REG_##b, X86_REG_##c, X86_REG_##d
/* 64, 32, 16 and 8 bits of each. */
static const uint16_t gpr_names[QH_GPRS][4] = {
    { GPR_NAMES(RAX, EAX, AX, AL) },      { GPR_NAMES(RCX, ECX, CX, CL) },
    { GPR_NAMES(RDX, EDX, DX, DL) },      { GPR_NAMES(RBX, EBX, BX, BL) },
    { GPR_NAMES(RSP, ESP, SP, SPL) },     { GPR_NAMES(RBP, EBP, BP, BPL) },
    { GPR_NAMES(RSI, ESI, SI, SIL) },     { GPR_NAMES(RDI, EDI, DI, DIL) },
    { GPR_NAMES(R8, R8D, R8W, R8B) },     { GPR_NAMES(R9, R9D, R9W, R9B) },
    { GPR_NAMES(R10, R10D, R10W, R10B) }, { GPR_NAMES(R11, R11D, R11W, R11B) },
    { GPR_NAMES(R12, R12D, R12W, R12B) }, { GPR_NAMES(R13, R13D, R13W, R13B) },
    { GPR_NAMES(R14, R14D, R14W, R14B) }, { GPR_NAMES(R15, R15D, R15W, R15B) },
};

/* Its number, or -1; `*ret_bytes` is how much of it is meant. */
static int gpr_of(unsigned reg, unsigned *ret_bytes)
{
    static const unsigned bytes[4] = { 8, 4, 2, 1 };

    for (int gpr = 0; gpr < QH_GPRS; gpr++) {
        for (int part = 0; part < 4; part++) {
            if (gpr_names[gpr][part] == reg) {
                *ret_bytes = bytes[part];
                return gpr;
            }
        }
    }
    /* AH, CH, DH, BH. */
    if (reg == X86_REG_AH || reg == X86_REG_CH || reg == X86_REG_DH ||
        reg == X86_REG_BH) {
        *ret_bytes = 1;
        return reg == X86_REG_AH   ? QH_RAX
               : reg == X86_REG_CH ? QH_RCX
               : reg == X86_REG_DH ? QH_RDX
                                   : QH_RBX;
    }
    return -1;
}

void qh_flow_set_register(struct qh_flow *flow, struct qh_flow_state *state,
                          unsigned reg, struct qh_value value)
{
    unsigned bytes;
    int gpr = gpr_of(reg, &bytes);

    if (gpr < 0) {
        return;
    }
    if (bytes < 4) {
        /* The rest of the register stays: a new mixture. */
        value = qh_flow_unknown(flow);
    } else if (bytes == 4 && !value.origin) {
        value.offset = (int64_t)(uint32_t)value.offset;
    }
    state->gpr[gpr] = value;
}

struct qh_value qh_flow_register(struct qh_flow *flow,
                                 const struct qh_flow_state *state,
                                 unsigned reg)
{
    unsigned bytes;
    int gpr = gpr_of(reg, &bytes);

    if (gpr < 0) {
        return qh_flow_unknown(flow);
    }
    if (bytes < 4 && state->gpr[gpr].origin) {
        return qh_flow_unknown(flow);
    }
    return state->gpr[gpr];
}

struct qh_value qh_flow_address_of(struct qh_flow *flow,
                                   const struct qh_flow_state *state,
                                   const cs_insn *insn, const cs_x86_op *op)
{
    struct qh_value address = qh_flow_constant(0);
    struct qh_value index;

    if (op->mem.segment == X86_REG_FS || op->mem.segment == X86_REG_GS) {
        return qh_flow_unknown(flow);
    }
    if (op->mem.base == X86_REG_RIP) {
        address = qh_flow_constant(insn->address + insn->size);
    } else if (op->mem.base != X86_REG_INVALID) {
        address = qh_flow_register(flow, state, op->mem.base);
    }
    if (op->mem.index != X86_REG_INVALID) {
        index = qh_flow_register(flow, state, op->mem.index);
        if (index.origin) {
            return qh_flow_unknown(flow);
        }
        address = qh_flow_moved(address, (uint64_t)index.offset *
                                             (uint64_t)op->mem.scale);
    }
    return qh_flow_moved(address, (uint64_t)op->mem.disp);
}

struct qh_event *qh_flow_add_event(struct qh_flow *flow,
                                   struct qh_flow_state *state,
                                   const cs_insn *insn, enum qh_event_kind kind,
                                   struct qh_value address)
{
    static struct qh_event beyond;
    struct qh_event *event = &beyond;

    if (state->event_count < MAX_EVENTS) {
        event = &state->events[state->event_count++];
    } else {
        flow->cut = true;
    }
    *event = (struct qh_event){
        .kind = kind,
        .instruction = (uint32_t)(insn - flow->code),
        .address = address,
    };
    return event;
}

static struct qh_flow_slot *slot_at(struct qh_flow *flow,
                                    struct qh_flow_state *state, int64_t offset)
{
    for (size_t i = 0; i < state->slot_count; i++) {
        if (state->slots[i].offset == offset) {
            return &state->slots[i];
        }
    }
    if (state->slot_count == MAX_SLOTS) {
        flow->cut = true;
        return &state->slots[0];
    }
    state->slots[state->slot_count] =
        (struct qh_flow_slot){ offset, qh_flow_unknown(flow) };
    return &state->slots[state->slot_count++];
}

struct qh_value qh_flow_load(struct qh_flow *flow, struct qh_flow_state *state,
                             const cs_insn *insn, struct qh_value address,
                             unsigned bytes)
{
    struct qh_value value;
    struct qh_event *event;
    uint64_t pointer;

    if (is_stack(flow, address)) {
        return slot_at(flow, state, address.offset)->value;
    }
    if (!address.origin && bytes == 8 &&
        qh_image_pointer(flow->image, (uint64_t)address.offset, &pointer)) {
        return qh_flow_constant(pointer);
    }
    value = qh_flow_from(flow, QH_FROM_LOAD, address, 0);
    event = qh_flow_add_event(flow, state, insn, QH_EVENT_LOAD, address);
    event->value = value;
    return value;
}

void qh_flow_store(struct qh_flow *flow, struct qh_flow_state *state,
                   const cs_insn *insn, struct qh_value address,
                   struct qh_value value)
{
    if (is_stack(flow, address)) {
        slot_at(flow, state, address.offset)->value = value;
        return;
    }
    qh_flow_add_event(flow, state, insn, QH_EVENT_STORE, address)->value =
        value;
}

struct qh_value qh_flow_read_operand(struct qh_flow *flow,
                                     struct qh_flow_state *state,
                                     const cs_insn *insn, const cs_x86_op *op)
{
    switch (op->type) {
    case X86_OP_REG:
        return qh_flow_register(flow, state, op->reg);
    case X86_OP_IMM:
        return qh_flow_constant((uint64_t)op->imm);
    case X86_OP_MEM:
        return qh_flow_load(flow, state, insn,
                            qh_flow_address_of(flow, state, insn, op),
                            op->size);
    default:
        return qh_flow_unknown(flow);
    }
}

void qh_flow_write_operand(struct qh_flow *flow, struct qh_flow_state *state,
                           const cs_insn *insn, const cs_x86_op *op,
                           struct qh_value value)
{
    if (op->type == X86_OP_REG) {
        qh_flow_set_register(flow, state, op->reg, value);
    } else if (op->type == X86_OP_MEM) {
        qh_flow_store(flow, state, insn,
                      qh_flow_address_of(flow, state, insn, op), value);
    }
}
