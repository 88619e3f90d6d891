/* What is a function, by .eh_frame_hdr and the symbols.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "verify/image_parts.h"

/* The encodings that .eh_frame_hdr has on x86-64 with every compiler: see the
 * LSB core specification, exception frames. */
enum {
    HDR_BYTES = 12,
    PTR_PCREL_S4 = 0x1b,
    COUNT_U4 = 0x03,
    TABLE_DATAREL_S4 = 0x3b,
    FDE_BEGIN = 8,
    FDE_RANGE = 12,
    FDE_BYTES = 16
};

static int by_start(const void *a, const void *b)
{
    const struct qh_function *x = a;
    const struct qh_function *y = b;

    return (x->start > y->start) - (x->start < y->start);
}

struct qh_error *qh_image_read_functions(struct qh_image *image, uint64_t hdr)
{
    const uint8_t *at = qh_image_whole(image, hdr, HDR_BYTES);
    uint32_t count;

    if (!at || at[0] != 1 || at[1] != PTR_PCREL_S4 || at[2] != COUNT_U4 ||
        at[3] != TABLE_DATAREL_S4) {
        return NULL;
    }
    count = qh_read_u32(at + 8);
    at = qh_image_whole(image, hdr + HDR_BYTES, (size_t)count * 8);
    if (!at || !count) {
        return NULL;
    }
    image->functions =
        qh_arena_alloc(&image->arena, count * sizeof(*image->functions));
    if (!image->functions) {
        return qh_error_no_memory();
    }
    for (uint32_t i = 0; i < count; i++, at += 8) {
        uint64_t start = hdr + (uint64_t)(int32_t)qh_read_u32(at);
        uint64_t fde = hdr + (uint64_t)(int32_t)qh_read_u32(at + 4);
        const uint8_t *entry = qh_image_whole(image, fde, FDE_BYTES);

        if (entry &&
            fde + FDE_BEGIN +
                    (uint64_t)(int32_t)qh_read_u32(entry + FDE_BEGIN) ==
                start) {
            image->functions[image->function_count++] = (struct qh_function){
                .start = start,
                .end = start + qh_read_u32(entry + FDE_RANGE),
            };
        }
    }
    qsort(image->functions, image->function_count, sizeof(*image->functions),
          by_start);
    return NULL;
}

const struct qh_function *qh_image_function(const struct qh_image *image,
                                            uint64_t address)
{
    size_t low = 0;
    size_t high = image->function_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (image->functions[middle].start <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low && address < image->functions[low - 1].end
               ? &image->functions[low - 1]
               : NULL;
}

static void name_function(struct qh_image *image, const GElf_Sym *symbol,
                          const char *name)
{
    struct qh_function *function;

    if (GELF_ST_TYPE(symbol->st_info) != STT_FUNC || !name || !*name ||
        symbol->st_shndx == SHN_UNDEF) {
        return;
    }
    function = (struct qh_function *)qh_image_function(image, symbol->st_value);
    if (function && function->start == symbol->st_value && !function->name) {
        /* Without memory for it, it stays nameless. */
        function->name = qh_arena_strdup(&image->arena, name);
    }
}

void qh_image_read_symbols(struct qh_image *image, Elf *elf, GElf_Word type)
{
    Elf_Scn *section = NULL;

    while ((section = elf_nextscn(elf, section))) {
        GElf_Shdr header;
        Elf_Data *data;

        if (!gelf_getshdr(section, &header) || header.sh_type != type ||
            !header.sh_entsize || !(data = elf_getdata(section, NULL))) {
            continue;
        }
        for (size_t i = 0; i < data->d_size / header.sh_entsize; i++) {
            GElf_Sym symbol;

            if (gelf_getsym(data, (int)i, &symbol)) {
                name_function(image, &symbol,
                              elf_strptr(elf, header.sh_link, symbol.st_name));
            }
        }
    }
}

/* "name", "name.part.0", "name.lto_priv.3": all the same function's. */
static bool is_named(const char *name, const char *wanted)
{
    size_t length = strlen(wanted);

    return name && strncmp(name, wanted, length) == 0 &&
           (!name[length] || name[length] == '.');
}

const struct qh_function *qh_image_named(const struct qh_image *image,
                                         const char *name, size_t nth)
{
    for (size_t i = 0; i < image->function_count; i++) {
        if (is_named(image->functions[i].name, name) && nth-- == 0) {
            return &image->functions[i];
        }
    }
    return NULL;
}
