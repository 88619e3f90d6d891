/* A function carried out path by path on symbolic values; private to verify/.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Every path is followed from a first instruction to a return, a jump out of
 * the function, or a bound. Values have identities: each comes from one origin
 * (an argument, a load, the result of an exchange, of a call ...) and keeps it
 * through registers and the function's own stack, so that two words can be
 * known to be the same, and where one came from. What is not modelled makes a
 * new value, which is equal to no other.
 *
 * Bounds: an instruction is met at most twice on a path; paths and steps are
 * limited in all. What lies beyond is not seen, and flow says so.
 */
#ifndef QH_FLOW_H
#define QH_FLOW_H

#include "verify/image.h"

enum qh_origin_kind {
    QH_FROM_NOTHING,  /* a constant: the value is its offset */
    QH_FROM_ARGUMENT, /* what a register held at the start */
    QH_FROM_STACK,    /* the stack pointer at the start */
    QH_FROM_LOAD,     /* from `address` */
    QH_FROM_XCHG,     /* what was at `address` before */
    QH_FROM_CMPXCHG,  /* likewise */
    QH_FROM_CALL,     /* what a call returned */
    QH_FROM_ELSEWHERE
};

/* origin + offset. Two values are equal if both are. */
struct qh_value {
    uint32_t origin; /* index into the flow's origins; 0: a constant */
    int64_t offset;
};

struct qh_origin {
    enum qh_origin_kind kind;
    struct qh_value address; /* LOAD, XCHG, CMPXCHG */
    unsigned argument;       /* ARGUMENT: its register, as in enum qh_gpr */
};

/* In the order of the encoding. */
enum qh_gpr {
    QH_RAX,
    QH_RCX,
    QH_RDX,
    QH_RBX,
    QH_RSP,
    QH_RBP,
    QH_RSI,
    QH_RDI,
    QH_R8,
    QH_R15 = 15,
    QH_GPRS
};

enum qh_event_kind {
    QH_EVENT_LOAD,
    QH_EVENT_STORE,
    QH_EVENT_XCHG,
    QH_EVENT_CMPXCHG, /* with a lock prefix */
    QH_EVENT_CALL,    /* or a jump out of the function */
    QH_EVENT_RETURN
};

enum { QH_CALL_ARGUMENTS = 4 };

/* Accesses to the function's own stack are no events. */
struct qh_event {
    enum qh_event_kind kind;
    uint32_t instruction;     /* index into the flow's */
    struct qh_value address;  /* of the word; CALL: of the function */
    struct qh_value value;    /* loaded, stored, or to be exchanged for it */
    struct qh_value expected; /* CMPXCHG */
    struct qh_value arguments[QH_CALL_ARGUMENTS]; /* CALL: rdi, rsi, rdx, rcx */
};

struct qh_flow;

/* Called at the end of each path, with its events in order. `returned`: it
 * ended in a return or a tail call, which is then its last event. */
typedef void qh_path_fn(struct qh_flow *flow, const struct qh_event *events,
                        size_t count, bool returned, void *opaque);

/*
 * Follows the paths of `function` and calls `fn` for each. With `around`, only
 * its part there: paths begin shortly before that address, with all registers
 * unknown, and end some way behind it. `*ret_whole` is false when a bound cut
 * something off.
 * Errors: MEMORY, UNREADABLE (it cannot be disassembled).
 */
struct qh_error *qh_flow_run(const struct qh_image *image,
                             const struct qh_function *function,
                             uint64_t around, qh_path_fn *fn, void *opaque,
                             bool *ret_whole) QH_MUST_CHECK;

/* Valid in the callback. */
const struct qh_origin *qh_flow_origin(const struct qh_flow *flow,
                                       struct qh_value value);
const struct qh_function *qh_flow_function(const struct qh_flow *flow);
uint64_t qh_flow_address(const struct qh_flow *flow,
                         const struct qh_event *event);
/* "17ae23  movq $0, (%rdi)", AT&T syntax; in `arena`, NULL without memory. */
const char *qh_flow_text(const struct qh_flow *flow,
                         const struct qh_event *event, struct qh_arena *arena);

static inline bool qh_value_is(struct qh_value value, uint64_t constant)
{
    return !value.origin && (uint64_t)value.offset == constant;
}

static inline bool qh_value_equal(struct qh_value a, struct qh_value b)
{
    return a.origin == b.origin && a.offset == b.offset;
}

#endif
