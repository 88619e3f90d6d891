/* The paths through a function, each followed to its end.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "verify/flow_parts.h"

#include <inttypes.h>
#include <string.h>

enum {
    MAX_INSTRUCTIONS = 20000,
    LEAD = 48,   /* a part begins so many instructions before what matters */
    REACH = 192, /* and a path through it has so many */
    MAX_VISITS = 2,
    MAX_DEPTH = 64,
    MAX_PATHS = 4096,
    MAX_STEPS = 400000
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

static void end_path(struct qh_flow *flow, struct qh_flow_state *state,
                     bool returned)
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

static void follow(struct qh_flow *flow, struct qh_flow_state *state,
                   const cs_insn *insn);

/* From here on `from` is known to be `to`. */
static void substitute(struct qh_flow_state *state, struct qh_value from,
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
static bool learn(struct qh_flow_state *state, bool equal)
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
static struct qh_flow_state *fork_state(struct qh_flow *flow,
                                        const struct qh_flow_state *state)
{
    struct qh_flow_state *other;
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
static void branch(struct qh_flow *flow, const struct qh_flow_state *state,
                   enum meaning meaning, const cs_insn *to)
{
    struct qh_flow_state *other = to ? fork_state(flow, state) : NULL;

    if (!other) {
        return;
    }
    if (meaning == NEITHER || learn(other, meaning == EQUAL)) {
        follow(flow, other, to);
    }
    flow->depth--;
}

/* A conditional move: both ways, each to its end. */
static void move_or_not(struct qh_flow *flow, struct qh_flow_state *state,
                        const cs_insn *insn)
{
    const cs_x86_op *ops = insn->detail->x86.operands;
    enum meaning meaning = meaning_of(insn->id);
    struct qh_flow_state *other = fork_state(flow, state);
    struct qh_value value;

    if (!other) {
        qh_flow_run_other(flow, state, insn);
        return;
    }
    value = qh_flow_read_operand(flow, other, insn, &ops[1]);
    if (meaning == NEITHER || learn(other, meaning == EQUAL)) {
        qh_flow_write_operand(flow, other, insn, &ops[0], value);
        follow(flow, other,
               insn + 1 < flow->code + flow->code_count ? insn + 1 : NULL);
    }
    flow->depth--;
    if (meaning != NEITHER && !learn(state, meaning != EQUAL)) {
        /* It is always moved, and that way was followed. */
        state->dead = true;
    }
}

static bool may_go_on(struct qh_flow *flow, struct qh_flow_state *state,
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
static void follow(struct qh_flow *flow, struct qh_flow_state *state,
                   const cs_insn *insn)
{
    while (insn && may_go_on(flow, state, insn)) {
        if (insn->id == X86_INS_RET) {
            qh_flow_add_event(flow, state, insn, QH_EVENT_RETURN,
                              qh_flow_constant(0));
            end_path(flow, state, true);
            return;
        }
        if (insn->id == X86_INS_JMP) {
            const cs_insn *to = target_of(flow, insn);

            if (!to) {
                qh_flow_add_call(flow, state, insn);
                end_path(flow, state, true);
                return;
            }
            insn = to;
            continue;
        }
        if (insn->id == X86_INS_CALL && qh_flow_ends_program(flow, insn)) {
            break;
        }
        if (insn->id == X86_INS_CALL) {
            qh_flow_run_call(flow, state, insn);
        } else if (insn->id >= X86_INS_CMOVA && insn->id <= X86_INS_CMOVS) {
            move_or_not(flow, state, insn);
        } else if (is_conditional(flow, insn)) {
            enum meaning meaning = meaning_of(insn->id);

            branch(flow, state, meaning, target_of(flow, insn));
            state->dead = meaning != NEITHER && !learn(state, meaning != EQUAL);
        } else {
            qh_flow_run_one(flow, state, insn);
        }
        if (state->dead) {
            return;
        }
        insn = insn + 1 < flow->code + flow->code_count ? insn + 1 : NULL;
    }
    end_path(flow, state, false);
}

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
    struct qh_flow_state *state = &flow->states[0];
    const cs_insn *first = first_instruction(flow, around);

    /* Origin 0 is that of constants. */
    (void)qh_flow_from(flow, QH_FROM_NOTHING, (struct qh_value){ 0, 0 }, 0);
    for (unsigned gpr = 0; gpr < QH_GPRS; gpr++) {
        state->gpr[gpr] =
            qh_flow_from(flow,
                         gpr == QH_RSP         ? QH_FROM_STACK
                         : first == flow->code ? QH_FROM_ARGUMENT
                                               : QH_FROM_ELSEWHERE,
                         qh_flow_constant(0), gpr);
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
