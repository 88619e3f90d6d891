/* What the bytes mean: symbols, struct layouts, stacks, variables.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Built on elfutils' libdwfl and libdw. Everything is found by name: a layout
 * comes from the DWARF of the very build that runs, never from a table by
 * version. Loading happens before the target is stopped; after it, lookups
 * touch files only, except for the stacks that are unwound, whose pages come
 * from the target's page cache.
 *
 * A struct is looked for first in the compilation unit of a function that is
 * known to use it (its anchor), which costs one unit instead of thousands,
 * then in all of them. Declarations without a body are passed over.
 */
#ifndef QH_DWARF_H
#define QH_DWARF_H

#include "base/base.h"
#include "target/target.h"

struct qh_debug;

struct qh_debug_options {
    /* Another folder to look for debug files in (`--debuginfo`), or NULL. */
    const char *debuginfo_dir;
};

/*
 * Opens the ELF files of the target and the debug information of its main
 * executable: in the file itself, by build-id or .gnu_debuglink in the usual
 * places, or from debuginfod when DEBUGINFOD_URLS is set (within a time
 * limit). `target` must outlive `*ret`. Errors: NO_DEBUGINFO (names the
 * build-id, every place that was looked in, and what to install or set),
 * BAD_DEBUGINFO, WRONG_EXE.
 */
struct qh_error *qh_debug_open(struct qh_target *target,
                               const struct qh_debug_options *options,
                               struct qh_debug **ret) QH_MUST_CHECK;
void qh_debug_destroy(struct qh_debug *debug); /* NULL is fine */
void qh_debug_guard(struct qh_debug **debug);

/*
 * The address of the object or function `name` of the main executable, from
 * .symtab (its own or its debug file's), else .dynsym; local symbols too. A
 * part or clone that a compiler made of it (.part.0, .constprop.0, .cold) is
 * not `name`; what link-time optimisation only renamed (.lto_priv.0, .llvm.1)
 * is. Where several are called `name`, a global one. ABSENT when there is none:
 * also where every copy was inlined, or lives on in a clone alone.
 */
struct qh_error *qh_debug_symbol(struct qh_debug *debug, const char *name,
                                 struct raddr *ret) QH_MUST_CHECK;

/* Where a thread with this fs_base keeps the main executable's thread-local
 * variable `name` (TLS variant II, System V ABI). ABSENT when there is none. */
struct qh_error *qh_debug_tls(struct qh_debug *debug, const char *name,
                              uint64_t fs_base, struct raddr *ret)
    QH_MUST_CHECK;

/*
 * The name of the function that holds the code address, any module; compiler
 * suffixes and symbol versions taken off. From ELF symbols alone, so inlined
 * functions do not show, and of a stripped library only what it exports.
 * Owned by `debug`. NULL when it is not known.
 */
const char *qh_debug_function_at(struct qh_debug *debug, struct raddr code);

/* A member of a struct, reached by name through any depth. */
struct qh_field {
    uint64_t offset;      /* bytes from the start of the struct */
    uint64_t bytes;       /* size of the member, all elements of an array */
    uint64_t item_bytes;  /* size of one element, for no array the same */
    bool is_signed;
    /* For a bit field: its width, else 0; shift from bit 0 of the `bytes` at
     * `offset`, read as one little-endian number. */
    unsigned bit_width;
    unsigned bit_shift;
};

/*
 * Finds `path` ("tlg.tl", "tlg.tl[2]", "env.__jmpbuf") in struct, union or
 * typedef `type`. Anonymous members are seen through; an array of one needs no
 * index; pointers are not followed. `anchor` is a function in whose
 * compilation unit the full type stands, or NULL; a clone of it serves, and so
 * does a wrong one, at the price of looking through all units (a tenth of a
 * second for a qemu-system). ABSENT when the struct has no such member (the
 * message tells which part of the path), NO_DEBUGINFO when the type itself is
 * nowhere.
 */
struct qh_error *qh_debug_field(struct qh_debug *debug, const char *type,
                                const char *path, const char *anchor,
                                struct qh_field *ret) QH_MUST_CHECK;
struct qh_error *qh_debug_sizeof(struct qh_debug *debug, const char *type,
                                 const char *anchor, uint64_t *ret_bytes)
    QH_MUST_CHECK;
/* The value of enumerator `name` in the anchor's unit, else in any. */
struct qh_error *qh_debug_enumerator(struct qh_debug *debug, const char *name,
                                     const char *anchor, int64_t *ret)
    QH_MUST_CHECK;

/*
 * One physical frame of a stack: plain data, valid without the target.
 * `regs` are those of the frame itself (its rsp, its rip); callee-saved ones
 * that the CFI between does not mention are carried outward, rbx among them,
 * which libdw (0.188) takes for undefined: its x86_64 ABI table marks DWARF
 * register 0 where 3 is meant.
 */
struct qh_unwound {
    struct qh_registers regs;
    uint64_t cfa;       /* 0 when not known (the outermost frame) */
    bool is_activation; /* pc is exact (innermost, signal frame), else after
                           the call */
};

struct qh_unwound_stack {
    struct qh_unwound *frames; /* innermost first; owned by the arena */
    size_t count;
    /* NULL: walked to its natural end (start of thread or coroutine);
     * else why the walk ended early. Owned by the arena or static. */
    const char *cut;
};

enum { QH_MAX_FRAMES = 256 };

/*
 * Walks the stack that begins with `regs`: at least rip and rsp known. It ends
 * naturally at the outermost function of a thread (clone, _start) or of a
 * coroutine (coroutine_trampoline). Never fails for what the target's memory
 * holds: a bad stack is a cut one. At most QH_MAX_FRAMES.
 */
struct qh_error *qh_unwind(struct qh_debug *debug,
                           const struct qh_registers *regs,
                           struct qh_arena *arena,
                           struct qh_unwound_stack *ret) QH_MUST_CHECK;

/* One line of a backtrace. */
struct qh_frame {
    struct raddr pc;
    struct raddr sp;      /* the stack pointer in its frame; 0: not known */
    const char *function; /* suffixes off; NULL when not known */
    const char *file;     /* path as DWARF has it; NULL when not known */
    int line;             /* 0 when not known */
    bool is_inline;       /* inlined into the next line of the backtrace */
    size_t unwound;       /* index of its frame in the qh_unwound_stack */
};

/*
 * Names the frames and unfolds the inlined functions, innermost first, into
 * an array in `arena`.
 */
struct qh_error *qh_symbolise(struct qh_debug *debug,
                              const struct qh_unwound_stack *stack,
                              struct qh_arena *arena, struct qh_frame **ret,
                              size_t *ret_count) QH_MUST_CHECK;

/* Where a variable of a frame is. */
struct qh_variable {
    bool in_memory;
    struct raddr address; /* in_memory: where it stands in the target */
    uint64_t value;       /* else its value, zero-extended */
    uint64_t bytes;       /* its size by its type */
};

/*
 * Finds parameter or local `name` of `function` (inlined or not) whose frame
 * is frame `index` of `stack`, by the DWARF location at its pc; of blocks
 * within each other the innermost. A parameter of which only the value on
 * entry was kept is worked out from the caller's call site, where that is told.
 * ABSENT when there is no such variable or it can no longer be had: the
 * message says which.
 */
struct qh_error *qh_frame_variable(struct qh_debug *debug,
                                   const struct qh_unwound_stack *stack,
                                   size_t index, const char *function,
                                   const char *name, struct qh_variable *ret)
    QH_MUST_CHECK;
/* The same, its value read as an unsigned integer or pointer (<= 8 bytes). */
struct qh_error *qh_frame_value(struct qh_debug *debug,
                                const struct qh_unwound_stack *stack,
                                size_t index, const char *function,
                                const char *name, uint64_t *ret) QH_MUST_CHECK;

/* The version that the executable calls itself by ("10.2.2"), from the
 * strings of its read-only data; for showing only. In `arena`, or NULL. */
const char *qh_debug_qemu_version(struct qh_debug *debug,
                                  struct qh_arena *arena);

/* Build-id of the main executable in hex, "" when it has none. */
const char *qh_debug_build_id(const struct qh_debug *debug);

#endif
