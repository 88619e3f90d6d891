/* x86-64 instructions on symbolic values.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "verify/flow.h"

#include <capstone/capstone.h>
#include <inttypes.h>
#include <string.h>

enum {
    MAX_INSTRUCTIONS = 20000,
    LEAD = 48,   /* a part begins so many instructions before what matters */
    REACH = 192, /* and a path through it has so many */
    MAX_VISITS = 2,
    MAX_EVENTS = 256,
    MAX_SLOTS = 96,
    MAX_DEPTH = 64,
    MAX_PATHS = 4096,
    MAX_STEPS = 400000
};

struct slot {
    int64_t offset; /* from the stack pointer at the start */
    struct qh_value value;
};

/* Where one path stands. */
struct state {
    struct qh_value gpr[QH_GPRS];
    struct slot slots[MAX_SLOTS];
    size_t slot_count;
    struct qh_event events[MAX_EVENTS];
    size_t event_count;
    uint8_t *visits; /* of each instruction */
    /* The zero flag says whether these two are equal. */
    struct qh_value compared[2];
    bool knows_zero_flag;
    bool dead; /* no path goes on from here */
    unsigned length;
};

struct qh_flow {
    const struct qh_image *image;
    const struct qh_function *function;
    qh_path_fn *fn;
    void *opaque;
    csh capstone;
    cs_insn *code;
    size_t code_count;
    struct qh_arena arena;
    struct qh_origin *origins;
    size_t origin_count;
    size_t origin_capacity;
    struct state *states; /* one a level of branching */
    size_t depth;
    bool part; /* not the whole function */
    size_t paths;
    size_t steps;
    bool cut;
    bool no_memory;
};

const struct qh_origin *qh_flow_origin(const struct qh_flow *flow,
                                       struct qh_value value)
{
    return &flow->origins[value.origin];
}

const struct qh_function *qh_flow_function(const struct qh_flow *flow)
{
    return flow->function;
}

uint64_t qh_flow_address(const struct qh_flow *flow,
                         const struct qh_event *event)
{
    return flow->code[event->instruction].address;
}

const char *qh_flow_text(const struct qh_flow *flow,
                         const struct qh_event *event, struct qh_arena *arena)
{
    const cs_insn *insn = &flow->code[event->instruction];
    const char *text = NULL;
    cs_insn *shown;
    csh capstone;

    /* Another handle: the order of the operands goes with the syntax. */
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &capstone) != CS_ERR_OK) {
        return NULL;
    }
    cs_option(capstone, CS_OPT_SYNTAX, CS_OPT_SYNTAX_ATT);
    if (cs_disasm(capstone, insn->bytes, insn->size, insn->address, 1,
                  &shown) == 1) {
        text = qh_arena_printf(arena, "%" PRIx64 "  %s %s", insn->address,
                               shown->mnemonic, shown->op_str);
        cs_free(shown, 1);
    }
    cs_close(&capstone);
    return text;
}

/* --- values --- */

static struct qh_value constant(uint64_t value)
{
    return (struct qh_value){ 0, (int64_t)value };
}

static struct qh_value from(struct qh_flow *flow, enum qh_origin_kind kind,
                            struct qh_value address, unsigned argument)
{
    struct qh_origin *origin =
        qh_list_add(&flow->arena, &flow->origins, &flow->origin_count,
                    &flow->origin_capacity, sizeof(*origin));

    if (!origin) {
        flow->no_memory = true;
        return constant(0);
    }
    *origin = (struct qh_origin){ kind, address, argument };
    return (struct qh_value){ (uint32_t)flow->origin_count - 1, 0 };
}

/* As the processor adds: what does not fit is lost. */
static struct qh_value moved(struct qh_value value, uint64_t bytes)
{
    value.offset = (int64_t)((uint64_t)value.offset + bytes);
    return value;
}

static struct qh_value unknown(struct qh_flow *flow)
{
    return from(flow, QH_FROM_ELSEWHERE, constant(0), 0);
}

static bool is_stack(const struct qh_flow *flow, struct qh_value address)
{
    return flow->origins[address.origin].kind == QH_FROM_STACK;
}

/* --- registers --- */

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

static void set_register(struct qh_flow *flow, struct state *state,
                         unsigned reg, struct qh_value value)
{
    unsigned bytes;
    int gpr = gpr_of(reg, &bytes);

    if (gpr < 0) {
        return;
    }
    if (bytes < 4) {
        /* The rest of the register stays: a new mixture. */
        value = unknown(flow);
    } else if (bytes == 4 && !value.origin) {
        value.offset = (int64_t)(uint32_t)value.offset;
    }
    state->gpr[gpr] = value;
}

static struct qh_value register_value(struct qh_flow *flow,
                                      const struct state *state, unsigned reg)
{
    unsigned bytes;
    int gpr = gpr_of(reg, &bytes);

    if (gpr < 0) {
        return unknown(flow);
    }
    if (bytes < 4 && state->gpr[gpr].origin) {
        return unknown(flow);
    }
    return state->gpr[gpr];
}

/* --- memory --- */

static struct qh_value address_of(struct qh_flow *flow,
                                  const struct state *state,
                                  const cs_insn *insn, const cs_x86_op *op)
{
    struct qh_value address = constant(0);
    struct qh_value index;

    if (op->mem.segment == X86_REG_FS || op->mem.segment == X86_REG_GS) {
        return unknown(flow);
    }
    if (op->mem.base == X86_REG_RIP) {
        address = constant(insn->address + insn->size);
    } else if (op->mem.base != X86_REG_INVALID) {
        address = register_value(flow, state, op->mem.base);
    }
    if (op->mem.index != X86_REG_INVALID) {
        index = register_value(flow, state, op->mem.index);
        if (index.origin) {
            return unknown(flow);
        }
        address =
            moved(address, (uint64_t)index.offset * (uint64_t)op->mem.scale);
    }
    return moved(address, (uint64_t)op->mem.disp);
}

static struct qh_event *add_event(struct qh_flow *flow, struct state *state,
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

static struct slot *slot_at(struct qh_flow *flow, struct state *state,
                            int64_t offset)
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
    state->slots[state->slot_count] = (struct slot){ offset, unknown(flow) };
    return &state->slots[state->slot_count++];
}

static struct qh_value load(struct qh_flow *flow, struct state *state,
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
        return constant(pointer);
    }
    value = from(flow, QH_FROM_LOAD, address, 0);
    event = add_event(flow, state, insn, QH_EVENT_LOAD, address);
    event->value = value;
    return value;
}

static void store(struct qh_flow *flow, struct state *state,
                  const cs_insn *insn, struct qh_value address,
                  struct qh_value value)
{
    if (is_stack(flow, address)) {
        slot_at(flow, state, address.offset)->value = value;
        return;
    }
    add_event(flow, state, insn, QH_EVENT_STORE, address)->value = value;
}

/* --- operands --- */

static struct qh_value read_operand(struct qh_flow *flow, struct state *state,
                                    const cs_insn *insn, const cs_x86_op *op)
{
    switch (op->type) {
    case X86_OP_REG:
        return register_value(flow, state, op->reg);
    case X86_OP_IMM:
        return constant((uint64_t)op->imm);
    case X86_OP_MEM:
        return load(flow, state, insn, address_of(flow, state, insn, op),
                    op->size);
    default:
        return unknown(flow);
    }
}

static void write_operand(struct qh_flow *flow, struct state *state,
                          const cs_insn *insn, const cs_x86_op *op,
                          struct qh_value value)
{
    if (op->type == X86_OP_REG) {
        set_register(flow, state, op->reg, value);
    } else if (op->type == X86_OP_MEM) {
        store(flow, state, insn, address_of(flow, state, insn, op), value);
    }
}

/* --- instructions --- */

/* What is not modelled: whatever it writes is new. */
static void run_other(struct qh_flow *flow, struct state *state,
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
            store(flow, state, insn, address_of(flow, state, insn, op),
                  unknown(flow));
        }
    }
    if (cs_regs_access(flow->capstone, insn, read, &read_count, written,
                       &written_count) != CS_ERR_OK) {
        return;
    }
    for (unsigned i = 0; i < written_count; i++) {
        set_register(flow, state, written[i], unknown(flow));
    }
}

/* op0 += or -= a constant, anywhere. */
static void run_add(struct qh_flow *flow, struct state *state,
                    const cs_insn *insn, bool subtract)
{
    const cs_x86 *x86 = &insn->detail->x86;
    struct qh_value value;
    struct qh_value addend = constant(1);

    if (x86->op_count > 1) {
        addend = read_operand(flow, state, insn, &x86->operands[1]);
    }
    if (addend.origin || x86->operands[0].size < 4) {
        run_other(flow, state, insn);
        return;
    }
    value = read_operand(flow, state, insn, &x86->operands[0]);
    write_operand(flow, state, insn, &x86->operands[0],
                  moved(value, subtract ? -(uint64_t)addend.offset
                                        : (uint64_t)addend.offset));
}

static void compare(struct state *state, struct qh_value a, struct qh_value b)
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

static void run_cmpxchg(struct qh_flow *flow, struct state *state,
                        const cs_insn *insn)
{
    const cs_x86 *x86 = &insn->detail->x86;
    struct qh_value address;
    struct qh_event *event;

    if (x86->operands[0].type != X86_OP_MEM ||
        x86->prefix[0] != X86_PREFIX_LOCK) {
        run_other(flow, state, insn);
        return;
    }
    address = address_of(flow, state, insn, &x86->operands[0]);
    event = add_event(flow, state, insn, QH_EVENT_CMPXCHG, address);
    event->value = read_operand(flow, state, insn, &x86->operands[1]);
    event->expected = state->gpr[QH_RAX];
    state->gpr[QH_RAX] = from(flow, QH_FROM_CMPXCHG, address, 0);
    compare(state, state->gpr[QH_RAX], event->expected);
}

/* test and cmp; what they compare may be a word in memory. */
static void run_compare(struct qh_flow *flow, struct state *state,
                        const cs_insn *insn)
{
    const cs_x86_op *ops = insn->detail->x86.operands;
    struct qh_value a = read_operand(flow, state, insn, &ops[0]);
    struct qh_value b = read_operand(flow, state, insn, &ops[1]);

    if (insn->id == X86_INS_CMP && ops[0].size >= 4) {
        compare(state, a, b);
    } else if (insn->id == X86_INS_TEST && clears(insn)) {
        compare(state, a, constant(0));
    } else {
        state->knows_zero_flag = false;
    }
}

static void run_xchg(struct qh_flow *flow, struct state *state,
                     const cs_insn *insn)
{
    const cs_x86_op *a = &insn->detail->x86.operands[0];
    const cs_x86_op *b = &insn->detail->x86.operands[1];
    struct qh_value address;
    struct qh_event *event;

    if (a->type == X86_OP_REG && b->type == X86_OP_REG) {
        struct qh_value value = register_value(flow, state, a->reg);

        set_register(flow, state, a->reg, register_value(flow, state, b->reg));
        set_register(flow, state, b->reg, value);
        return;
    }
    if (a->type == X86_OP_REG) {
        const cs_x86_op *swap = a;

        a = b;
        b = swap;
    }
    address = address_of(flow, state, insn, a);
    event = add_event(flow, state, insn, QH_EVENT_XCHG, address);
    event->value = register_value(flow, state, b->reg);
    set_register(flow, state, b->reg, from(flow, QH_FROM_XCHG, address, 0));
}

static void run_push(struct qh_flow *flow, struct state *state,
                     const cs_insn *insn)
{
    struct qh_value value =
        read_operand(flow, state, insn, &insn->detail->x86.operands[0]);

    state->gpr[QH_RSP] = moved(state->gpr[QH_RSP], -UINT64_C(8));
    store(flow, state, insn, state->gpr[QH_RSP], value);
}

static void run_pop(struct qh_flow *flow, struct state *state,
                    const cs_insn *insn)
{
    struct qh_value value = load(flow, state, insn, state->gpr[QH_RSP], 8);

    state->gpr[QH_RSP] = moved(state->gpr[QH_RSP], 8);
    write_operand(flow, state, insn, &insn->detail->x86.operands[0], value);
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

static void run_one(struct qh_flow *flow, struct state *state,
                    const cs_insn *insn)
{
    const cs_x86_op *ops = insn->detail->x86.operands;

    state->knows_zero_flag &= keeps_flags(insn);
    switch (insn->id) {
    case X86_INS_MOV:
    case X86_INS_MOVABS:
        write_operand(flow, state, insn, &ops[0],
                      read_operand(flow, state, insn, &ops[1]));
        break;
    case X86_INS_LEA:
        write_operand(flow, state, insn, &ops[0],
                      address_of(flow, state, insn, &ops[1]));
        break;
    case X86_INS_XOR:
        if (clears(insn)) {
            set_register(flow, state, ops[0].reg, constant(0));
        } else {
            run_other(flow, state, insn);
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
        state->gpr[QH_RBP] = load(flow, state, insn, state->gpr[QH_RSP], 8);
        state->gpr[QH_RSP] = moved(state->gpr[QH_RSP], 8);
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
        run_other(flow, state, insn);
        break;
    }
}

static void add_call(struct qh_flow *flow, struct state *state,
                     const cs_insn *insn)
{
    static const enum qh_gpr order[QH_CALL_ARGUMENTS] = { QH_RDI, QH_RSI,
                                                          QH_RDX, QH_RCX };
    const cs_x86_op *op = &insn->detail->x86.operands[0];
    struct qh_value target =
        op->type == X86_OP_IMM ? constant((uint64_t)op->imm) : unknown(flow);
    struct qh_event *event =
        add_event(flow, state, insn, QH_EVENT_CALL, target);

    for (int i = 0; i < QH_CALL_ARGUMENTS; i++) {
        event->arguments[i] = state->gpr[order[i]];
    }
}

/* Whether it calls what never comes back. */
static bool ends_program(const struct qh_flow *flow, const cs_insn *insn)
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

static void run_call(struct qh_flow *flow, struct state *state,
                     const cs_insn *insn)
{
    static const enum qh_gpr lost[] = { QH_RCX, QH_RDX, QH_RSI, QH_RDI,
                                        QH_R8,  9,      10,     11 };

    add_call(flow, state, insn);
    for (size_t i = 0; i < QH_COUNT(lost); i++) {
        state->gpr[lost[i]] = unknown(flow);
    }
    state->gpr[QH_RAX] = from(flow, QH_FROM_CALL, constant(0), 0);
}

/* --- paths --- */

static void end_path(struct qh_flow *flow, struct state *state, bool returned)
{
    flow->paths++;
    flow->fn(flow, state->events, state->event_count, returned, flow->opaque);
}

/* The instruction at `address`, or none of the function's. */
static const cs_insn *instruction_at(const struct qh_flow *flow,
                                     uint64_t address)
{
    size_t low = 0;
    size_t high = flow->code_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (flow->code[middle].address < address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < flow->code_count && flow->code[low].address == address
               ? &flow->code[low]
               : NULL;
}

static const cs_insn *target_of(const struct qh_flow *flow, const cs_insn *insn)
{
    const cs_x86_op *op = &insn->detail->x86.operands[0];

    return op->type == X86_OP_IMM ? instruction_at(flow, (uint64_t)op->imm)
                                  : NULL;
}

static void follow(struct qh_flow *flow, struct state *state,
                   const cs_insn *insn);

/* From here on `from` is known to be `to`. */
static void substitute(struct state *state, struct qh_value from,
                       struct qh_value to)
{
    for (int gpr = 0; gpr < QH_GPRS; gpr++) {
        if (qh_value_equal(state->gpr[gpr], from)) {
            state->gpr[gpr] = to;
        }
    }
    for (size_t i = 0; i < state->slot_count; i++) {
        if (qh_value_equal(state->slots[i].value, from)) {
            state->slots[i].value = to;
        }
    }
}

/* Takes in what a jump says of the two that were compared; false: no path
 * goes this way. */
static bool learn(struct state *state, bool equal)
{
    struct qh_value a = state->compared[0];
    struct qh_value b = state->compared[1];

    if (!state->knows_zero_flag) {
        return true;
    }
    if (qh_value_equal(a, b) || (!a.origin && !b.origin)) {
        return qh_value_equal(a, b) == equal;
    }
    if (equal) {
        substitute(state, a.origin ? a : b, a.origin ? b : a);
    }
    return true;
}

/* What a jump or move with this condition says: that it is equal, that it is
 * not, or nothing of that kind. */
enum meaning { EQUAL, UNEQUAL, NEITHER };

static enum meaning meaning_of(unsigned id)
{
    return id == X86_INS_JE || id == X86_INS_CMOVE     ? EQUAL
           : id == X86_INS_JNE || id == X86_INS_CMOVNE ? UNEQUAL
                                                       : NEITHER;
}

/* A copy of the state, for another way; NULL when there is no room for one.
 * Given back by depth--. */
static struct state *fork_state(struct qh_flow *flow, const struct state *state)
{
    struct state *other;
    uint8_t *visits;

    if (flow->depth == MAX_DEPTH) {
        flow->cut = true;
        return NULL;
    }
    other = &flow->states[++flow->depth];
    visits = other->visits;
    *other = *state;
    other->visits = visits;
    memcpy(visits, state->visits, flow->code_count);
    return other;
}

/* Follows the way on which the condition holds. */
static void branch(struct qh_flow *flow, const struct state *state,
                   enum meaning meaning, const cs_insn *to)
{
    struct state *other = to ? fork_state(flow, state) : NULL;

    if (!other) {
        return;
    }
    if (meaning == NEITHER || learn(other, meaning == EQUAL)) {
        follow(flow, other, to);
    }
    flow->depth--;
}

/* A conditional move: both ways, each to its end. */
static void move_or_not(struct qh_flow *flow, struct state *state,
                        const cs_insn *insn)
{
    const cs_x86_op *ops = insn->detail->x86.operands;
    enum meaning meaning = meaning_of(insn->id);
    struct state *other = fork_state(flow, state);
    struct qh_value value;

    if (!other) {
        run_other(flow, state, insn);
        return;
    }
    value = read_operand(flow, other, insn, &ops[1]);
    if (meaning == NEITHER || learn(other, meaning == EQUAL)) {
        write_operand(flow, other, insn, &ops[0], value);
        follow(flow, other,
               insn + 1 < flow->code + flow->code_count ? insn + 1 : NULL);
    }
    flow->depth--;
    if (meaning != NEITHER && !learn(state, meaning != EQUAL)) {
        /* It is always moved, and that way was followed. */
        state->dead = true;
    }
}

static bool may_go_on(struct qh_flow *flow, struct state *state,
                      const cs_insn *insn)
{
    uint8_t *visits = &state->visits[insn - flow->code];

    if (flow->paths >= MAX_PATHS || ++flow->steps > MAX_STEPS ||
        flow->no_memory) {
        flow->cut = true;
        return false;
    }
    if (flow->part && ++state->length > REACH) {
        return false;
    }
    /* A loop that goes round again does nothing new: not cut off. */
    return ++*visits <= MAX_VISITS;
}

static bool is_conditional(const struct qh_flow *flow, const cs_insn *insn)
{
    return cs_insn_group(flow->capstone, insn, X86_GRP_JUMP) &&
           insn->id != X86_INS_JMP;
}

/* Recursion is bounded by MAX_DEPTH: it is only entered by branch(). */
static void follow(struct qh_flow *flow, struct state *state,
                   const cs_insn *insn)
{
    while (insn && may_go_on(flow, state, insn)) {
        if (insn->id == X86_INS_RET) {
            add_event(flow, state, insn, QH_EVENT_RETURN, constant(0));
            end_path(flow, state, true);
            return;
        }
        if (insn->id == X86_INS_JMP) {
            const cs_insn *to = target_of(flow, insn);

            if (!to) {
                add_call(flow, state, insn);
                end_path(flow, state, true);
                return;
            }
            insn = to;
            continue;
        }
        if (insn->id == X86_INS_CALL && ends_program(flow, insn)) {
            break;
        }
        if (insn->id == X86_INS_CALL) {
            run_call(flow, state, insn);
        } else if (insn->id >= X86_INS_CMOVA && insn->id <= X86_INS_CMOVS) {
            move_or_not(flow, state, insn);
        } else if (is_conditional(flow, insn)) {
            enum meaning meaning = meaning_of(insn->id);

            branch(flow, state, meaning, target_of(flow, insn));
            state->dead = meaning != NEITHER && !learn(state, meaning != EQUAL);
        } else {
            run_one(flow, state, insn);
        }
        if (state->dead) {
            return;
        }
        insn = insn + 1 < flow->code + flow->code_count ? insn + 1 : NULL;
    }
    end_path(flow, state, false);
}

/* --- setting out --- */

static struct qh_error *disassemble(struct qh_flow *flow)
{
    const struct qh_function *function = flow->function;
    size_t there = 0;
    const uint8_t *bytes = qh_image_at(flow->image, function->start, &there);
    size_t length = function->end - function->start;

    if (cs_open(CS_ARCH_X86, CS_MODE_64, &flow->capstone) != CS_ERR_OK) {
        flow->capstone = 0;
        return qh_error_no_memory();
    }
    cs_option(flow->capstone, CS_OPT_DETAIL, CS_OPT_ON);
    cs_option(flow->capstone, CS_OPT_SYNTAX, CS_OPT_SYNTAX_INTEL);
    flow->code_count =
        cs_disasm(flow->capstone, bytes, there < length ? there : length,
                  function->start, MAX_INSTRUCTIONS, &flow->code);
    if (!flow->code_count) {
        return qh_error_at(qh_error_new(QH_ERR_UNREADABLE,
                                        "this function cannot be "
                                        "disassembled"),
                           qh_raddr(function->start));
    }
    return NULL;
}

static struct qh_error *make_states(struct qh_flow *flow)
{
    uint8_t *visits =
        qh_arena_alloc(&flow->arena, (MAX_DEPTH + 1) * flow->code_count);

    flow->states =
        qh_arena_alloc(&flow->arena, (MAX_DEPTH + 1) * sizeof(*flow->states));
    if (!flow->states || !visits) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i <= MAX_DEPTH; i++) {
        flow->states[i].visits = visits + i * flow->code_count;
    }
    return NULL;
}

static const cs_insn *first_instruction(struct qh_flow *flow, uint64_t around)
{
    size_t at = 0;

    if (!flow->part) {
        return flow->code;
    }
    while (at + 1 < flow->code_count && flow->code[at + 1].address <= around) {
        at++;
    }
    return &flow->code[at > LEAD ? at - LEAD : 0];
}

static void start(struct qh_flow *flow, uint64_t around)
{
    struct state *state = &flow->states[0];
    const cs_insn *first = first_instruction(flow, around);

    /* Origin 0 is that of constants. */
    (void)from(flow, QH_FROM_NOTHING, (struct qh_value){ 0, 0 }, 0);
    for (unsigned gpr = 0; gpr < QH_GPRS; gpr++) {
        state->gpr[gpr] = from(flow,
                               gpr == QH_RSP         ? QH_FROM_STACK
                               : first == flow->code ? QH_FROM_ARGUMENT
                                                     : QH_FROM_ELSEWHERE,
                               constant(0), gpr);
    }
    if (!flow->no_memory) {
        follow(flow, state, first);
    }
}

struct qh_error *qh_flow_run(const struct qh_image *image,
                             const struct qh_function *function,
                             uint64_t around, qh_path_fn *fn, void *opaque,
                             bool *ret_whole)
{
    struct qh_flow flow = {
        .image = image,
        .function = function,
        .fn = fn,
        .opaque = opaque,
        .part = around != 0,
    };
    struct qh_error *error = disassemble(&flow);

    if (!error) {
        error = make_states(&flow);
    }
    if (!error) {
        start(&flow, around);
        error = flow.no_memory ? qh_error_no_memory() : NULL;
        *ret_whole = !flow.cut;
    }
    if (flow.code) {
        cs_free(flow.code, flow.code_count);
    }
    if (flow.capstone) {
        cs_close(&flow.capstone);
    }
    qh_arena_deinit(&flow.arena);
    return error;
}
