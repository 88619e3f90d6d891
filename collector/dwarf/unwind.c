/* Stacks: libdwfl's unwinder on registers of our own.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf/private.h"
#include "target/arch.h"

#include <dwarf.h>
#include <inttypes.h>
#include <string.h>

/* rbx, rbp, r12 to r15: what a function gives back as it found it. */
#define CALLEE_SAVED                                                           \
    (1u << QH_REG_RBX | 1u << QH_REG_RBP | 0xfu << QH_REG_R12)
#define POINTERS (1u << QH_REG_RSP | 1u << QH_REG_RIP)

/* The walk that libdwfl's callbacks are working for. */
struct qh_walk {
    struct qh_debug *debug;
    struct qh_registers start; /* what the next run begins with */
    bool resumed;              /* its first frame is already there */
    bool carried;              /* a register was carried ... */
    size_t carried_at;         /* ... last to this frame */
    bool step_failed;          /* memory that a step wanted was unreadable */
    uint64_t failed_at;        /* where, last; 0: never */
    bool ended;                /* found to be at the natural end */
    const char *cut;           /* static, or NULL */
    size_t count;
    struct qh_unwound frames[QH_MAX_FRAMES]; /* `count` are set */
};

static bool in_trampoline(const struct qh_walk *walk, size_t index)
{
    uint64_t pc = qh_lookup_pc(&walk->frames[index]);

    return pc >= walk->debug->trampoline_start &&
           pc < walk->debug->trampoline_end;
}

static pid_t next_thread(Dwfl *dwfl, void *arg, void **thread_arg)
{
    return 0; /* threads are asked for one by one */
}

static bool get_thread(Dwfl *dwfl, pid_t tid, void *arg, void **thread_arg)
{
    *thread_arg = arg;
    return true;
}

static bool memory_read(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *ret,
                        void *arg)
{
    struct qh_debug *debug = arg;
    uint64_t word = 0;
    struct qh_error *error = qh_target_read(debug->target, qh_raddr(address),
                                            &word, sizeof(word));

    if (error) {
        debug->walk->step_failed = true;
        debug->walk->failed_at = address;
        qh_error_destroy(error);
        return false;
    }
    *ret = word;
    return true;
}

static bool set_registers(Dwfl_Thread *thread, void *arg)
{
    const struct qh_registers *regs = &((struct qh_debug *)arg)->walk->start;

    for (unsigned i = 0; i < QH_REG_COUNT; i++) {
        Dwarf_Word value = regs->dwarf[i];
        if ((regs->known & (1u << i)) &&
            !dwfl_thread_state_registers(thread, (int)i, 1, &value)) {
            return false;
        }
    }
    dwfl_thread_state_register_pc(thread, regs->dwarf[QH_REG_RIP]);
    return true;
}

static const Dwfl_Thread_Callbacks callbacks = {
    .next_thread = next_thread,
    .get_thread = get_thread,
    .memory_read = memory_read,
    .set_initial_registers = set_registers,
};

/* The registers of a frame as libdwfl has them. */
static void take_registers(Dwfl_Frame *state, bool interrupted,
                           struct qh_registers *ret)
{
    *ret = (struct qh_registers){ 0 };
    for (unsigned i = 0; i < QH_REG_RIP; i++) {
        Dwarf_Word value = 0;
        if (dwfl_frame_reg(state, i, &value) == 0) {
            ret->dwarf[i] = value;
            ret->known |= 1u << i;
        }
    }
    /* libdw's mistake makes rax look as if calls preserved it; a signal frame
     * does restore it, as it does all others. */
    if (!interrupted) {
        ret->known &= ~(1u << QH_REG_RAX);
    }
}

/*
 * Hands callee-saved registers that no CFI mentioned on from the inner frame.
 * One whose saved copy could not be read looks the same to us: then it is not
 * known.
 */
static void carry(struct qh_walk *walk, const struct qh_unwound *inner,
                  bool step_failed, struct qh_unwound *frame)
{
    uint32_t lacking =
        CALLEE_SAVED & inner->regs.known & ~frame->regs.known;

    if (step_failed || !lacking) {
        return;
    }
    for (unsigned i = 0; i < QH_REG_COUNT; i++) {
        if (lacking & (1u << i)) {
            frame->regs.dwarf[i] = inner->regs.dwarf[i];
        }
    }
    frame->regs.known |= lacking;
    walk->carried = true;
    walk->carried_at = walk->count;
}

/* The call frame information for code at `pc`, the caller's to free; NULL. */
static Dwarf_Frame *cfi_at(const struct qh_walk *walk, uint64_t pc)
{
    Dwfl_Module *module = dwfl_addrmodule(walk->debug->dwfl, pc);
    Dwarf_Frame *frame = NULL;
    Dwarf_Addr bias = 0;
    Dwarf_CFI *cfi = module ? dwfl_module_eh_cfi(module, &bias) : NULL;

    if (cfi && dwarf_cfi_addrframe(cfi, pc - bias, &frame) == 0) {
        return frame;
    }
    cfi = module == walk->debug->exe ? dwfl_module_dwarf_cfi(module, &bias)
                                     : NULL;
    return cfi && dwarf_cfi_addrframe(cfi, pc - bias, &frame) == 0 ? frame
                                                                   : NULL;
}

/*
 * Whether the step outward from `inner` was a guess. Where there is no CFI,
 * libdwfl takes rbp for a frame pointer, which in code of TCG or without frame
 * pointers leads anywhere.
 */
static bool is_guess(const struct qh_walk *walk, const struct qh_unwound *inner,
                     const struct qh_unwound *frame)
{
    Dwarf_Frame *cfi = NULL;

    if (frame->regs.dwarf[QH_REG_RSP] != inner->regs.dwarf[QH_REG_RBP] + 16) {
        return false;
    }
    cfi = cfi_at(walk, qh_lookup_pc(inner));
    bool guess = !cfi;
    free(cfi);
    return guess;
}

/* What keeps an outer frame off the stack, or NULL. */
static const char *refuse(const struct qh_walk *walk,
                          const struct qh_unwound *frame)
{
    const struct qh_unwound *inner = &walk->frames[walk->count - 1];
    const struct qh_mapping *mapping =
        qh_target_mapping_at(walk->debug->target,
                             qh_raddr(frame->regs.dwarf[QH_REG_RIP]));

    if (walk->count == QH_MAX_FRAMES) {
        return "more frames than qhang follows";
    }
    if (!mapping || !mapping->executable) {
        return "a return address is no address of code";
    }
    /* Only a signal handler may stand on a stack of its own. */
    if (!frame->is_activation && frame->regs.dwarf[QH_REG_RSP] <=
                                     inner->regs.dwarf[QH_REG_RSP]) {
        return "the stack turns back on itself";
    }
    return NULL;
}

/* Adds a frame that libdwfl came to; false when the walk is over. */
static bool add_frame(struct qh_walk *walk, const struct qh_unwound *frame)
{
    if (walk->count == 0) {
        walk->frames[0] = *frame;
        walk->frames[0].regs = walk->start; /* all of them, as they are */
        walk->count = 1;
        return true;
    }
    struct qh_unwound *inner = &walk->frames[walk->count - 1];
    if (is_guess(walk, inner, frame)) {
        return false;
    }
    if (in_trampoline(walk, walk->count - 1)) {
        inner->cfa = frame->regs.dwarf[QH_REG_RSP];
        walk->ended = true;
        return false;
    }
    walk->cut = refuse(walk, frame);
    if (walk->cut) {
        return false;
    }
    inner->cfa = frame->regs.dwarf[QH_REG_RSP];
    walk->frames[walk->count++] = *frame;
    return true;
}

static int on_frame(Dwfl_Frame *state, void *arg)
{
    struct qh_walk *walk = arg;
    struct qh_unwound frame = { 0 };
    const struct qh_unwound *inner =
        walk->count ? &walk->frames[walk->count - 1] : NULL;
    bool step_failed = walk->step_failed;
    Dwarf_Addr pc = 0;

    if (walk->resumed) {
        walk->resumed = false;
        return DWARF_CB_OK;
    }
    /* This takes the next step already, to see whether it meets a signal. */
    walk->step_failed = false;
    if (!dwfl_frame_pc(state, &pc, &frame.is_activation)) {
        return DWARF_CB_ABORT;
    }
    take_registers(state, frame.is_activation && inner && inner->is_activation,
                   &frame.regs);
    frame.regs.dwarf[QH_REG_RIP] = pc;
    frame.regs.known |= 1u << QH_REG_RIP;
    if (inner) {
        carry(walk, inner, step_failed, &frame);
    }
    return add_frame(walk, &frame) ? DWARF_CB_OK : DWARF_CB_ABORT;
}

/* Whether the CFI of the last frame says that it returns nowhere. libdwfl ends
 * a walk in the same way when a register or memory was not to be had. */
static bool returns_nowhere(const struct qh_walk *walk)
{
    uint64_t pc = qh_lookup_pc(&walk->frames[walk->count - 1]);
    Dwarf_Frame *cfi = cfi_at(walk, pc);
    Dwarf_Op memory[3];
    Dwarf_Op *ops = NULL;
    size_t count = 0;
    bool nowhere = false;

    if (cfi) {
        int column = dwarf_frame_info(cfi, NULL, NULL, NULL);
        nowhere = column >= 0 &&
                  dwarf_frame_register(cfi, column, memory, &ops, &count) ==
                      0 &&
                  count == 0 && ops == memory;
    }
    free(cfi);
    return nowhere;
}

/* Whether nothing calls the function of the last frame. */
static bool is_outermost(const struct qh_walk *walk)
{
    static const char *const names[] = { "clone3", "clone", "__clone",
                                         "__clone3", "start_thread", "_start",
                                         "__start_context" };
    const struct qh_unwound *last = &walk->frames[walk->count - 1];

    /* Names of libraries are slow to find: only when nothing else tells. */
    if (in_trampoline(walk, walk->count - 1) || returns_nowhere(walk)) {
        return true;
    }
    const char *name =
        qh_debug_function_at(walk->debug, qh_raddr(qh_lookup_pc(last)));
    for (size_t i = 0; name && i < QH_COUNT(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* A register that the step outward from the last frame begins with, and that is
 * not known; or -1. */
static int lacking_register(const struct qh_walk *walk)
{
    const struct qh_unwound *last = &walk->frames[walk->count - 1];
    Dwarf_Frame *cfi = cfi_at(walk, qh_lookup_pc(last));
    Dwarf_Op *ops = NULL;
    size_t count = 0;
    int lacking = -1;

    if (!cfi || dwarf_frame_cfa(cfi, &ops, &count) != 0) {
        count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t reg = QH_REG_COUNT;
        if (ops[i].atom >= DW_OP_breg0 && ops[i].atom <= DW_OP_breg31) {
            reg = ops[i].atom - DW_OP_breg0;
        } else if (ops[i].atom == DW_OP_bregx) {
            reg = ops[i].number;
        }
        if (reg < QH_REG_COUNT && !(last->regs.known & 1u << reg)) {
            lacking = (int)reg;
        }
    }
    free(cfi);
    return lacking;
}

static const char *explain(const struct qh_walk *walk, struct qh_arena *arena,
                           const char *why)
{
    const struct qh_debug *debug = walk->debug;
    uint64_t pc = walk->frames[walk->count - 1].regs.dwarf[QH_REG_RIP];
    int lacking = lacking_register(walk);

    for (size_t i = 0; i < debug->missing_count; i++) {
        const struct qh_missing *missing = &debug->missing[i];
        if (pc >= missing->start && pc < missing->end) {
            return qh_arena_printf(arena, "pc 0x%" PRIx64 " is in %s: %s", pc,
                                   missing->path, missing->why);
        }
    }
    if (!dwfl_addrmodule(debug->dwfl, pc)) {
        return qh_arena_printf(arena, "pc 0x%" PRIx64 " is in no known file",
                               pc);
    }
    if (walk->failed_at) {
        return qh_arena_printf(
            arena, "stack memory at 0x%" PRIx64 " cannot be read",
            walk->failed_at);
    }
    if (lacking >= 0) {
        return qh_arena_printf(arena,
                               "pc 0x%" PRIx64 ": its caller is found by %s, "
                               "which is not known",
                               pc, qh_arch_register_name((unsigned)lacking));
    }
    return qh_arena_printf(arena, "pc 0x%" PRIx64 ": %s", pc, why);
}

/*
 * Runs libdwfl from `walk->start`, once more from the last frame when it gave
 * up there for want of a register that was carried to it.
 */
static const char *run(struct qh_walk *walk)
{
    for (;;) {
        size_t last = walk->count - 1;
        int result = dwfl_getthread_frames(walk->debug->dwfl, 1, on_frame,
                                           walk);
        const char *why = result < 0 ? dwfl_errmsg(-1) : NULL;
        size_t reached = walk->count - 1;

        if (result > 0 || !walk->count || reached == last ||
            !walk->carried || walk->carried_at != reached ||
            is_outermost(walk)) {
            return why;
        }
        walk->start = walk->frames[reached].regs;
        walk->start.dwarf[QH_REG_RIP] = qh_lookup_pc(&walk->frames[reached]);
        walk->resumed = true;
        walk->step_failed = false;
    }
}

struct qh_error *qh_unwind(struct qh_debug *debug,
                           const struct qh_registers *regs,
                           struct qh_arena *arena,
                           struct qh_unwound_stack *ret)
{
    struct qh_walk walk;
    struct qh_unwound_stack stack = { 0 };

    memset(&walk, 0, offsetof(struct qh_walk, frames));
    walk.debug = debug;
    walk.start = *regs;
    debug->walk = &walk;
    const char *why = run(&walk);
    debug->walk = NULL;
    if (!walk.count) { /* not even the registers were taken */
        walk.frames[0] = (struct qh_unwound){ .regs = *regs };
        walk.frames[0].is_activation = true;
        walk.count = 1;
    }
    stack.count = walk.count;
    stack.frames = qh_arena_alloc(arena, walk.count * sizeof(*stack.frames));
    if (!stack.frames) {
        return qh_error_no_memory();
    }
    memcpy(stack.frames, walk.frames, walk.count * sizeof(*stack.frames));
    if (!walk.ended && walk.cut) {
        stack.cut = walk.cut;
    } else if (!walk.ended && !is_outermost(&walk)) {
        stack.cut = explain(&walk, arena, why ? why : "no way outward");
        stack.cut = stack.cut ? stack.cut : "no more frames";
    }
    *ret = stack;
    return NULL;
}

bool qh_unwind_attach(struct qh_debug *debug)
{
    return dwfl_attach_state(debug->dwfl, debug->elf, 1, &callbacks, debug);
}
