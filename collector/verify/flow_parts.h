/* Where a path stands, and what an instruction does to it; private to the
 * flow*.c files.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A lack of memory and a bound that is reached are noted in the flow, which
 * goes on with a value that is equal to no other.
 */
#ifndef QH_FLOW_PARTS_H
#define QH_FLOW_PARTS_H

#include "verify/flow.h"

#include <capstone/capstone.h>

enum {
    MAX_EVENTS = 256, /* of a path */
    MAX_SLOTS = 96    /* words of the function's own stack */
};

struct qh_flow_slot {
    int64_t offset; /* from the stack pointer at the start */
    struct qh_value value;
};

/* Where one path stands. */
struct qh_flow_state {
    struct qh_value gpr[QH_GPRS];
    struct qh_flow_slot slots[MAX_SLOTS];
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
    struct qh_flow_state *states; /* one a level of branching */
    size_t depth;
    bool part; /* not the whole function */
    size_t paths;
    size_t steps;
    bool cut;
    bool no_memory;
};

/* --- values: flow_values.c --- */

struct qh_value qh_flow_constant(uint64_t value);
/* A new value of that origin. */
struct qh_value qh_flow_from(struct qh_flow *flow, enum qh_origin_kind kind,
                             struct qh_value address, unsigned argument);
struct qh_value qh_flow_unknown(struct qh_flow *flow);
/* As the processor adds: what does not fit is lost. */
struct qh_value qh_flow_moved(struct qh_value value, uint64_t bytes);

/* `reg` as capstone numbers it, of any width. */
void qh_flow_set_register(struct qh_flow *flow, struct qh_flow_state *state,
                          unsigned reg, struct qh_value value);
struct qh_value qh_flow_register(struct qh_flow *flow,
                                 const struct qh_flow_state *state,
                                 unsigned reg);
struct qh_value qh_flow_address_of(struct qh_flow *flow,
                                   const struct qh_flow_state *state,
                                   const cs_insn *insn, const cs_x86_op *op);

/* Memory other than the function's own stack makes an event of it. */
struct qh_value qh_flow_load(struct qh_flow *flow, struct qh_flow_state *state,
                             const cs_insn *insn, struct qh_value address,
                             unsigned bytes);
void qh_flow_store(struct qh_flow *flow, struct qh_flow_state *state,
                   const cs_insn *insn, struct qh_value address,
                   struct qh_value value);
struct qh_value qh_flow_read_operand(struct qh_flow *flow,
                                     struct qh_flow_state *state,
                                     const cs_insn *insn, const cs_x86_op *op);
void qh_flow_write_operand(struct qh_flow *flow, struct qh_flow_state *state,
                           const cs_insn *insn, const cs_x86_op *op,
                           struct qh_value value);
/* The next event of the path, to be filled; never NULL. */
struct qh_event *qh_flow_add_event(struct qh_flow *flow,
                                   struct qh_flow_state *state,
                                   const cs_insn *insn, enum qh_event_kind kind,
                                   struct qh_value address);

/* --- instructions: flow_instructions.c --- */

/* Any that goes on with the next one. */
void qh_flow_run_one(struct qh_flow *flow, struct qh_flow_state *state,
                     const cs_insn *insn);
/* What is not modelled: whatever it writes is new. */
void qh_flow_run_other(struct qh_flow *flow, struct qh_flow_state *state,
                       const cs_insn *insn);
void qh_flow_run_call(struct qh_flow *flow, struct qh_flow_state *state,
                      const cs_insn *insn);
/* A call or a jump out of the function, as an event. */
void qh_flow_add_call(struct qh_flow *flow, struct qh_flow_state *state,
                      const cs_insn *insn);
/* Whether it calls what never comes back. */
bool qh_flow_ends_program(const struct qh_flow *flow, const cs_insn *insn);

#endif
