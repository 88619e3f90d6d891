/* Backtraces: functions, inlined ones, files and lines.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf/private.h"

#include <dwarf.h>
#include <string.h>

static void set_source(struct qh_debug *debug, struct qh_unit *unit,
                       uint64_t address, struct qh_frame *frame)
{
    Dwarf_Line *line =
        dwarf_getsrc_die(&unit->cu, address - debug->dwarf_bias);
    int number = 0;

    if (!line) {
        return;
    }
    frame->file = dwarf_linesrc(line, NULL, NULL);
    frame->line = dwarf_lineno(line, &number) == 0 ? number : 0;
}

/* Where an inlined function was called from. */
static void set_call_site(struct qh_unit *unit, Dwarf_Die *inlined,
                          struct qh_frame *frame)
{
    Dwarf_Attribute attribute;
    Dwarf_Files *files = NULL;
    Dwarf_Word value = 0;

    if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_file, &attribute),
                        &value) == 0 &&
        dwarf_getsrcfiles(&unit->cu, &files, NULL) == 0) {
        frame->file = dwarf_filesrc(files, value, NULL, NULL);
    }
    if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_line, &attribute),
                        &value) == 0) {
        frame->line = (int)value;
    }
}

static struct qh_error *add_frame(struct qh_debug *debug,
                                  struct qh_place *place,
                                  const struct qh_frame *frame, size_t room)
{
    if (!place->frames) {
        place->frames = qh_arena_alloc(&debug->arena, room * sizeof(*frame));
        if (!place->frames) {
            return qh_error_no_memory();
        }
    }
    place->frames[place->count++] = *frame;
    return NULL;
}

/* Names what stands at an address of the executable, from its DWARF. */
static struct qh_error *name_by_dwarf(struct qh_debug *debug,
                                      struct qh_place *place)
{
    struct qh_scopes scopes;
    struct qh_frame frame = { 0 };

    QH_TRY(qh_scopes_at(debug, place->address, &scopes));
    if (!scopes.unit) {
        return NULL;
    }
    set_source(debug, scopes.unit, place->address, &frame);
    for (size_t i = scopes.count; i > 0; i--) {
        Dwarf_Die *die = &scopes.dies[i - 1];
        int tag = dwarf_tag(die);
        if (tag == DW_TAG_lexical_block) {
            continue;
        }
        frame.function = dwarf_diename(die);
        frame.is_inline = tag == DW_TAG_inlined_subroutine;
        QH_TRY(add_frame(debug, place, &frame, scopes.count));
        if (!frame.is_inline) {
            break; /* a nested function's own parent is not on the stack */
        }
        frame = (struct qh_frame){ 0 };
        set_call_site(scopes.unit, die, &frame);
    }
    return NULL;
}

static struct qh_error *name_place(struct qh_debug *debug,
                                   struct qh_place *place)
{
    struct qh_frame frame = { 0 };
    struct qh_error *error = name_by_dwarf(debug, place);

    /* A unit that does not parse costs its lines, not the backtrace. */
    if (error && error->code == QH_ERR_MEMORY) {
        return error;
    }
    qh_error_destroy(error);
    if (place->count) {
        return NULL;
    }
    frame.function = qh_debug_function_at(debug, qh_raddr(place->address));
    return add_frame(debug, place, &frame, 1);
}

static size_t slot_of(const struct qh_places *places, uint64_t address)
{
    size_t i = (size_t)((address * 0x9e3779b97f4a7c15u) >> 32) &
               (places->capacity - 1);

    while (places->slots[i].address && places->slots[i].address != address) {
        i = (i + 1) & (places->capacity - 1);
    }
    return i;
}

static struct qh_error *grow(struct qh_places *places)
{
    struct qh_places grown = {
        .capacity = places->capacity ? places->capacity * 2 : 256,
        .count = places->count,
    };

    if (places->count < places->capacity / 2) {
        return NULL;
    }
    grown.slots = calloc(grown.capacity, sizeof(*grown.slots));
    if (!grown.slots) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < places->capacity; i++) {
        if (places->slots[i].address) {
            grown.slots[slot_of(&grown, places->slots[i].address)] =
                places->slots[i];
        }
    }
    free(places->slots);
    *places = grown;
    return NULL;
}

static struct qh_error *place_at(struct qh_debug *debug, uint64_t address,
                                 const struct qh_place **ret)
{
    struct qh_places *places = &debug->by_pc;
    struct qh_place place = { .address = address ? address : 1 };

    QH_TRY(grow(places));
    size_t slot = slot_of(places, place.address);
    if (!places->slots[slot].address) {
        QH_TRY(name_place(debug, &place));
        places->slots[slot] = place;
        places->count++;
    }
    *ret = &places->slots[slot];
    return NULL;
}

/* Copies one line of a backtrace, strings and all. */
static struct qh_error *copy_line(struct qh_arena *arena,
                                  const struct qh_frame *from,
                                  struct qh_frame *to)
{
    *to = *from;
    to->function = qh_arena_strdup(arena, from->function);
    to->file = qh_arena_strdup(arena, from->file);
    bool whole = !to->function == !from->function && !to->file == !from->file;
    return whole ? NULL : qh_error_no_memory();
}

struct qh_error *qh_symbolise(struct qh_debug *debug,
                              const struct qh_unwound_stack *stack,
                              struct qh_arena *arena, struct qh_frame **ret,
                              size_t *ret_count)
{
    struct qh_frame *lines = NULL;
    size_t count = 0;
    size_t capacity = 0;

    for (size_t i = 0; i < stack->count; i++) {
        const struct qh_unwound *frame = &stack->frames[i];
        const struct qh_place *place = NULL;
        QH_TRY(place_at(debug, qh_lookup_pc(frame), &place));
        for (size_t j = 0; j < place->count; j++) {
            struct qh_frame *line = qh_list_add(arena, &lines, &count,
                                                &capacity, sizeof(*lines));
            if (!line) {
                return qh_error_no_memory();
            }
            QH_TRY(copy_line(arena, &place->frames[j], line));
            line->pc = qh_raddr(frame->regs.dwarf[QH_REG_RIP]);
            line->sp = qh_raddr(frame->regs.dwarf[QH_REG_RSP]);
            line->unwound = i;
        }
    }
    *ret = lines;
    *ret_count = count;
    return NULL;
}
