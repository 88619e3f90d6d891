/* What the dynamic linker will write: pointers and imports.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "verify/image_parts.h"

/* Of a function of another file; C has none so long. */
enum { MAX_NAME_BYTES = 1024 };

static int by_slot(const void *a, const void *b)
{
    const struct qh_pointer *x = a;
    const struct qh_pointer *y = b;

    return (x->slot > y->slot) - (x->slot < y->slot);
}

/* What .dynamic says of itself. */
struct dynamic {
    uint64_t rela, rela_bytes;
    uint64_t jump_slots, jump_slot_bytes;
    uint64_t symbols;
    uint64_t strings, string_bytes;
};

static const char *dynamic_name(const struct qh_image *image,
                                const struct dynamic *dynamic, uint32_t index)
{
    const uint8_t *at = qh_image_whole(
        image, dynamic->symbols + index * sizeof(Elf64_Sym), sizeof(Elf64_Sym));
    const uint8_t *strings =
        qh_image_whole(image, dynamic->strings, dynamic->string_bytes);
    Elf64_Sym symbol;

    if (!at || !strings) {
        return NULL;
    }
    memcpy(&symbol, at, sizeof(symbol));
    if (symbol.st_name >= dynamic->string_bytes) {
        return NULL;
    }
    uint64_t left = dynamic->string_bytes - symbol.st_name;
    return memchr(strings + symbol.st_name, 0,
                  left < MAX_NAME_BYTES ? left : MAX_NAME_BYTES)
               ? (const char *)strings + symbol.st_name
               : NULL;
}

/* Sorts relocations into pointers and imports; there is room for all. */
static void take_relocations(struct qh_image *image,
                             const struct dynamic *dynamic, uint64_t start,
                             uint64_t bytes)
{
    const uint8_t *at = qh_image_whole(image, start, bytes);

    for (; at && bytes >= sizeof(Elf64_Rela);
         at += sizeof(Elf64_Rela), bytes -= sizeof(Elf64_Rela)) {
        Elf64_Rela rela;
        const char *name;

        memcpy(&rela, at, sizeof(rela));
        switch (ELF64_R_TYPE(rela.r_info)) {
        case R_X86_64_RELATIVE:
            image->pointers[image->pointer_count++] = (struct qh_pointer){
                .slot = rela.r_offset,
                .value = (uint64_t)rela.r_addend,
            };
            break;
        case R_X86_64_JUMP_SLOT:
        case R_X86_64_GLOB_DAT:
            name = dynamic_name(image, dynamic, ELF64_R_SYM(rela.r_info));
            if (name) {
                image->imports[image->import_count++] =
                    (struct qh_import){ rela.r_offset, name };
            }
            break;
        default:
            break;
        }
    }
}

static int by_import(const void *a, const void *b)
{
    const struct qh_import *x = a;
    const struct qh_import *y = b;

    return (x->slot > y->slot) - (x->slot < y->slot);
}

static struct qh_error *read_relocations(struct qh_image *image,
                                         const struct dynamic *dynamic)
{
    size_t most;

    if (dynamic->rela_bytes > image->file_bytes ||
        dynamic->jump_slot_bytes > image->file_bytes) {
        return NULL;
    }
    most =
        (dynamic->rela_bytes + dynamic->jump_slot_bytes) / sizeof(Elf64_Rela) +
        1;
    image->pointers =
        qh_arena_alloc(&image->arena, most * sizeof(*image->pointers));
    image->imports =
        qh_arena_alloc(&image->arena, most * sizeof(*image->imports));
    if (!image->pointers || !image->imports) {
        return qh_error_no_memory();
    }
    take_relocations(image, dynamic, dynamic->rela, dynamic->rela_bytes);
    take_relocations(image, dynamic, dynamic->jump_slots,
                     dynamic->jump_slot_bytes);
    qsort(image->pointers, image->pointer_count, sizeof(*image->pointers),
          by_slot);
    qsort(image->imports, image->import_count, sizeof(*image->imports),
          by_import);
    return NULL;
}

struct qh_error *qh_image_read_dynamic(struct qh_image *image, uint64_t start,
                                       uint64_t bytes)
{
    const uint8_t *at = qh_image_whole(image, start, bytes);
    struct dynamic dynamic = { 0 };
    uint64_t *const fields[] = {
        [DT_RELA] = &dynamic.rela,
        [DT_RELASZ] = &dynamic.rela_bytes,
        [DT_JMPREL] = &dynamic.jump_slots,
        [DT_PLTRELSZ] = &dynamic.jump_slot_bytes,
        [DT_SYMTAB] = &dynamic.symbols,
        [DT_STRTAB] = &dynamic.strings,
        [DT_STRSZ] = &dynamic.string_bytes,
    };

    for (; at && bytes >= 16; at += 16, bytes -= 16) {
        uint64_t tag = qh_read_u64(at);

        if (tag < QH_COUNT(fields) && fields[tag]) {
            *fields[tag] = qh_read_u64(at + 8);
        }
    }
    return read_relocations(image, &dynamic);
}

const char *qh_image_import(const struct qh_image *image, uint64_t address)
{
    static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
    const uint8_t *at = qh_image_whole(image, address, 16);
    const uint8_t *from = at;
    struct qh_import wanted = { .name = NULL };
    const struct qh_import *found;

    if (!at || !image->import_count) {
        return NULL;
    }
    at += memcmp(at, endbr64, sizeof(endbr64)) == 0 ? sizeof(endbr64) : 0;
    at += *at == 0xf2; /* bnd */
    /* jmp *slot(%rip) */
    if (at[0] != 0xff || at[1] != 0x25) {
        return NULL;
    }
    wanted.slot = address + (uint64_t)(at + 6 - from) +
                  (uint64_t)(int32_t)qh_read_u32(at + 2);
    found = bsearch(&wanted, image->imports, image->import_count,
                    sizeof(wanted), by_import);
    return found ? found->name : NULL;
}

bool qh_image_pointer(const struct qh_image *image, uint64_t slot,
                      uint64_t *ret)
{
    const struct qh_pointer wanted = { .slot = slot };
    const struct qh_pointer *found;
    const uint8_t *at;

    found = image->pointer_count
                ? bsearch(&wanted, image->pointers, image->pointer_count,
                          sizeof(wanted), by_slot)
                : NULL;
    if (found) {
        *ret = found->value;
        return true;
    }
    /* Without relocations, or with packed ones (DT_RELR), it stands there. */
    at = qh_image_whole(image, slot, 8);
    if (at && qh_image_at(image, qh_read_u64(at), &(size_t){ 0 })) {
        *ret = qh_read_u64(at);
        return true;
    }
    return false;
}
