/* What the files of this room share; nobody else includes it.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Addresses. Three kinds meet here: addresses of the target; those of the
 * executable's own ELF file (target minus `elf_bias`); those of its DWARF,
 * which may stand in another file (target minus `dwarf_bias`). A function says
 * which kind it takes; `struct raddr` and "address" alone are the target's.
 */
#ifndef QH_DWARF_PRIVATE_H
#define QH_DWARF_PRIVATE_H

#include "dwarf/dwarf.h"
#include "dwarf/names.h"

#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <gelf.h>

/* A module whose file could not be had: its code has neither names nor CFI. */
struct qh_missing {
    uint64_t start;
    uint64_t end;
    const char *path;
    const char *why;
};

/* One symbol of the executable. */
struct qh_symbol {
    const char *name; /* as the table has it; owned by the ELF */
    const char *base; /* without compiler suffixes; in debug->arena, or name */
    const char *file; /* source file of a local one, without folder; or NULL */
    uint64_t address; /* target's; STT_TLS: offset in the TLS block */
    uint64_t bytes;
    bool local;
    bool function;
};

struct qh_symbols {
    struct qh_symbol *items;
    size_t count;
    size_t capacity;
    struct qh_names exact; /* name -> index in `items` */
    struct qh_names bases; /* name without suffix -> index; suffixed only */
    struct qh_names tls;   /* name -> index */
    struct qh_names splits; /* name of what became name.N -> index */
    uint32_t *by_address;  /* functions in order of address; built when asked */
    size_t function_count;
};

/* Addresses [low, high) of the DWARF, and whose they are. */
struct qh_code {
    uint64_t low;
    uint64_t high;
    Dwarf_Die die;
};

/* What stands at the top level of one compilation unit, or of all. */
struct qh_unit {
    Dwarf_Die cu;
    Dwarf_Die *dies; /* what the two name tables point into */
    size_t die_count, die_capacity;
    struct qh_names tags;     /* complete struct, union, enum -> index */
    struct qh_names typedefs; /* -> index */
    Dwarf_Die *enums;
    size_t enum_count, enum_capacity;
    struct qh_code *code; /* its functions, in order of `low` */
    size_t code_count, code_capacity;
    Dwarf_Off *imports; /* partial units already taken in (dwz, LTO) */
    size_t import_count, import_capacity;
};

struct qh_units {
    struct qh_unit **items; /* units indexed so far */
    size_t count;
    size_t capacity;
    struct qh_unit all;  /* grows unit by unit while types are not found */
    Dwarf_CU *cursor;    /* last unit that went into `all` */
    bool exhausted;      /* all units did */
    struct qh_code *map; /* address -> CU, for units without .debug_aranges */
    size_t map_count, map_capacity;
    bool map_built;
};

/* How an address reads in a backtrace; kept, since many stacks share it. */
struct qh_place {
    uint64_t address;
    struct qh_frame *frames; /* innermost first; pc and unwound not set */
    size_t count;
};

struct qh_places {
    struct qh_place *slots; /* open addressing by address; 0 is free */
    size_t count;
    size_t capacity;
};

struct qh_walk;

struct qh_debug {
    struct qh_target *target;
    struct qh_arena arena;
    const char *debuginfo_dir; /* or NULL */

    Dwfl_Callbacks callbacks;
    Dwfl *dwfl;
    Dwfl_Module *exe;
    const char *exe_path;
    char build_id[129];
    Elf *elf;
    uint64_t elf_bias;
    Dwarf *dwarf;
    uint64_t dwarf_bias;

    const char *debug_file; /* the separate one that was opened, or NULL */
    const char *bad_file;   /* one that was there but no good, or NULL */
    const char *places;     /* where was looked, for people; or NULL */

    struct qh_missing *missing;
    size_t missing_count, missing_capacity;

    struct qh_symbols symbols;
    struct qh_units units;
    struct qh_places by_pc;

    struct qh_walk *walk;      /* the unwinding in progress, or NULL */
    uint64_t trampoline_start; /* code of coroutine_trampoline() */
    uint64_t trampoline_end;
};

/* find.c: libdwfl's callback; looks for the executable's debug file only. */
int qh_find_debuginfo(Dwfl_Module *module, void **userdata,
                      const char *module_name, Dwarf_Addr base,
                      const char *file_name, const char *debuglink,
                      GElf_Word debuglink_crc, char **ret_file_name);
/* The build-id in an ELF file as hex, "" when it has none. */
void qh_elf_build_id(Elf *elf, char ret[129]);
/* Why there is no DWARF to be had: NO_DEBUGINFO or BAD_DEBUGINFO. */
struct qh_error *qh_find_failed(struct qh_debug *debug, const char *why)
    QH_MUST_CHECK;

/* symbol.c */
struct qh_error *qh_symbols_load(struct qh_debug *debug) QH_MUST_CHECK;
void qh_symbols_deinit(struct qh_symbols *symbols);
/* The symbol `name`, else one that a compiler derived from it (name.part.0);
 * NULL when there is neither. Says in which unit to look, not where it is. */
const struct qh_symbol *qh_symbol_like(struct qh_debug *debug,
                                       const char *name);

/* split.c: the address of the variable `name` that the compiler took apart and
 * of which `part` is a symbol; ABSENT when nothing stands for all of it. */
struct qh_error *qh_split_variable(struct qh_debug *debug, const char *name,
                                   const struct qh_symbol *part,
                                   uint64_t *ret) QH_MUST_CHECK;

/* unit.c */
void qh_units_deinit(struct qh_units *units);
/* The unit whose code holds the address, indexed; `*ret` NULL when none. */
struct qh_error *qh_unit_at(struct qh_debug *debug, uint64_t address,
                            struct qh_unit **ret) QH_MUST_CHECK;
/* The indexed form of the unit that `die` stands in. */
struct qh_error *qh_unit_of(struct qh_debug *debug, Dwarf_Die *die,
                            struct qh_unit **ret) QH_MUST_CHECK;
/* Takes the next unit into `units.all`; `units.exhausted` after the last. */
struct qh_error *qh_unit_next(struct qh_debug *debug) QH_MUST_CHECK;
/* The function that holds the DWARF's address `pc`, or false. */
bool qh_unit_function(const struct qh_unit *unit, uint64_t pc, Dwarf_Die *ret);
/* A libdw failure as an error; BAD_DEBUGINFO. */
struct qh_error *qh_dwarf_error(struct qh_debug *debug, const char *doing)
    QH_MUST_CHECK;

/* type.c: the type that a DIE has, typedefs and qualifiers taken off. */
bool qh_type_of(Dwarf_Die *die, Dwarf_Die *ret);
/* The type `name`, complete, typedefs taken off; see qh_debug_field(). */
struct qh_error *qh_type_find(struct qh_debug *debug, const char *name,
                              const char *anchor, Dwarf_Die *ret) QH_MUST_CHECK;
/* Puts its body in the place of a struct that is only declared here. */
struct qh_error *qh_type_complete(struct qh_debug *debug, Dwarf_Die *type)
    QH_MUST_CHECK;
/* Bytes of a type that qh_type_of() gave, and of one item if it is an array
 * (else the same). 0 for what has no size: an open array, void. */
struct qh_error *qh_type_size(struct qh_debug *debug, const Dwarf_Die *type,
                              uint64_t *ret_bytes, uint64_t *ret_item_bytes)
    QH_MUST_CHECK;
/* The lengths of an array, outermost first, 0 for an open one; how many. */
enum { QH_MAX_DIMENSIONS = 4 };
size_t qh_type_dimensions(Dwarf_Die *array,
                          uint64_t ret_lengths[QH_MAX_DIMENSIONS]);
/* The attribute `name` of a DIE, or of what it is an instance of. */
bool qh_die_unsigned(Dwarf_Die *die, unsigned name, uint64_t *ret);

/* scope.c: the function at an address and the blocks and inlined functions in
 * it that hold the address, outermost first. */
enum { QH_MAX_SCOPES = 64 };
struct qh_scopes {
    struct qh_unit *unit; /* NULL: the address is in none, count is 0 */
    Dwarf_Die dies[QH_MAX_SCOPES];
    size_t count;
};
struct qh_error *qh_scopes_at(struct qh_debug *debug, uint64_t address,
                              struct qh_scopes *ret) QH_MUST_CHECK;
/* The address by which a frame's code is looked up: of the call, not of the
 * instruction after it, which may be another function's. */
uint64_t qh_lookup_pc(const struct qh_unwound *frame);

/* unwind.c: makes the modules' unwinder ready; false with dwfl_errno() set. */
bool qh_unwind_attach(struct qh_debug *debug);

/* expr.c: what a DWARF expression yields. */
enum qh_expr_kind { QH_EXPR_MEMORY, QH_EXPR_VALUE };
struct qh_expr_result {
    enum qh_expr_kind kind;
    uint64_t value; /* the address or the value */
};
struct qh_expr_frame {
    struct qh_debug *debug;
    const struct qh_unwound_stack *stack;
    size_t index;
    const struct qh_scopes *scopes; /* at that frame */
    unsigned depth;                 /* of frame bases and entry values */
};
/* Evaluates `ops`, taken from `attribute`. ABSENT when it cannot be done. */
struct qh_error *qh_expr_eval(const struct qh_expr_frame *frame,
                              Dwarf_Attribute *attribute, const Dwarf_Op *ops,
                              size_t count, struct qh_expr_result *ret)
    QH_MUST_CHECK;
/* Evaluates the location in `attribute` at the frame's pc. */
struct qh_error *qh_expr_attribute(const struct qh_expr_frame *frame,
                                   Dwarf_Attribute *attribute,
                                   struct qh_expr_result *ret) QH_MUST_CHECK;

/* entry.c: the value that register `reg` had on entry to the frame's function,
 * from what its caller's call site says. ABSENT when that says nothing. */
struct qh_error *qh_entry_value(const struct qh_expr_frame *frame, unsigned reg,
                                uint64_t *ret) QH_MUST_CHECK;

#endif
