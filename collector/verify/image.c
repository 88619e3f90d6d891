/* The ELF file: its bytes by address, what is a function, who refers to what.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "verify/image.h"

#include <errno.h>
#include <gelf.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A QEMU with debug information takes 0.2 GiB. */
#define MAX_FILE_BYTES (UINT64_C(2) << 30)
/* User space ends here (x86-64 with four levels of page tables). Nothing in
 * this file need fear that an address wraps around. */
#define MAX_ADDRESS (UINT64_C(1) << 47)
/* Of a function of another file; C has none so long. */
enum { MAX_NAME_BYTES = 1024 };

static uint32_t read_u32(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

static uint64_t read_u64(const uint8_t *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

static struct qh_error *read_file(int fd, struct qh_image *image)
{
    struct stat stat;
    size_t done = 0;

    if (fstat(fd, &stat) < 0) {
        return qh_error_errno(QH_ERR_SYSTEM, errno, "cannot read the file");
    }
    if (!S_ISREG(stat.st_mode)) {
        return qh_error_new(QH_ERR_SYSTEM, "no regular file");
    }
    if ((uint64_t)stat.st_size > MAX_FILE_BYTES) {
        return qh_error_new(QH_ERR_SYSTEM, "a file of more than 2 GiB");
    }
    image->file = malloc((size_t)stat.st_size + 1);
    if (!image->file) {
        return qh_error_no_memory();
    }
    while (done < (size_t)stat.st_size) {
        ssize_t got = pread(fd, image->file + done, (size_t)stat.st_size - done,
                            (off_t)done);
        if (got < 0 && errno != EINTR) {
            return qh_error_errno(QH_ERR_SYSTEM, errno, "cannot read the file");
        }
        if (got == 0) {
            break;
        }
        done += got > 0 ? (size_t)got : 0;
    }
    image->file_bytes = done;
    return NULL;
}

const uint8_t *qh_image_at(const struct qh_image *image, uint64_t address,
                           size_t *ret_bytes)
{
    for (size_t i = 0; i < image->segment_count; i++) {
        const struct qh_segment *segment = &image->segments[i];

        if (address >= segment->start && address < segment->end) {
            *ret_bytes = segment->end - address;
            return segment->bytes + (address - segment->start);
        }
    }
    return NULL;
}

/* `bytes` at `address`, or NULL. */
static const uint8_t *whole_at(const struct qh_image *image, uint64_t address,
                               size_t bytes)
{
    size_t there;
    const uint8_t *at = qh_image_at(image, address, &there);

    return at && there >= bytes ? at : NULL;
}

static struct qh_error *add_segment(struct qh_image *image,
                                    const GElf_Phdr *phdr, size_t *capacity)
{
    struct qh_segment *segment;

    if (phdr->p_offset > image->file_bytes ||
        phdr->p_filesz > image->file_bytes - phdr->p_offset ||
        phdr->p_vaddr > MAX_ADDRESS - phdr->p_filesz) {
        image->unfit = "the file is cut short or damaged";
        return NULL;
    }
    segment = qh_list_add(&image->arena, &image->segments,
                          &image->segment_count, capacity, sizeof(*segment));
    if (!segment) {
        return qh_error_no_memory();
    }
    *segment = (struct qh_segment){
        .start = phdr->p_vaddr,
        .end = phdr->p_vaddr + phdr->p_filesz,
        .bytes = image->file + phdr->p_offset,
        .executable = phdr->p_flags & PF_X,
    };
    return NULL;
}

/* --- functions --- */

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

static struct qh_error *read_functions(struct qh_image *image, uint64_t hdr)
{
    const uint8_t *at = whole_at(image, hdr, HDR_BYTES);
    uint32_t count;

    if (!at || at[0] != 1 || at[1] != PTR_PCREL_S4 || at[2] != COUNT_U4 ||
        at[3] != TABLE_DATAREL_S4) {
        return NULL;
    }
    count = read_u32(at + 8);
    at = whole_at(image, hdr + HDR_BYTES, (size_t)count * 8);
    if (!at || !count) {
        return NULL;
    }
    image->functions =
        qh_arena_alloc(&image->arena, count * sizeof(*image->functions));
    if (!image->functions) {
        return qh_error_no_memory();
    }
    for (uint32_t i = 0; i < count; i++, at += 8) {
        uint64_t start = hdr + (uint64_t)(int32_t)read_u32(at);
        uint64_t fde = hdr + (uint64_t)(int32_t)read_u32(at + 4);
        const uint8_t *entry = whole_at(image, fde, FDE_BYTES);

        if (entry &&
            fde + FDE_BEGIN + (uint64_t)(int32_t)read_u32(entry + FDE_BEGIN) ==
                start) {
            image->functions[image->function_count++] = (struct qh_function){
                .start = start,
                .end = start + read_u32(entry + FDE_RANGE),
            };
        }
    }
    return NULL;
}

static int by_start(const void *a, const void *b)
{
    const struct qh_function *x = a;
    const struct qh_function *y = b;

    return (x->start > y->start) - (x->start < y->start);
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

static void read_symbols(struct qh_image *image, Elf *elf, GElf_Word type)
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

/* --- pointers --- */

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
    const uint8_t *at = whole_at(
        image, dynamic->symbols + index * sizeof(Elf64_Sym), sizeof(Elf64_Sym));
    const uint8_t *strings =
        whole_at(image, dynamic->strings, dynamic->string_bytes);
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
    const uint8_t *at = whole_at(image, start, bytes);

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

static struct qh_error *read_dynamic(struct qh_image *image, uint64_t start,
                                     uint64_t bytes)
{
    const uint8_t *at = whole_at(image, start, bytes);
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
        uint64_t tag = read_u64(at);

        if (tag < QH_COUNT(fields) && fields[tag]) {
            *fields[tag] = read_u64(at + 8);
        }
    }
    return read_relocations(image, &dynamic);
}

const char *qh_image_import(const struct qh_image *image, uint64_t address)
{
    static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
    const uint8_t *at = whole_at(image, address, 16);
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
                  (uint64_t)(int32_t)read_u32(at + 2);
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
    at = whole_at(image, slot, 8);
    if (at && qh_image_at(image, read_u64(at), &(size_t){ 0 })) {
        *ret = read_u64(at);
        return true;
    }
    return false;
}

/* --- strings --- */

size_t qh_image_strings(const struct qh_image *image, const char *text,
                        uint64_t *ret, size_t most)
{
    size_t length = strlen(text) + 1;
    size_t count = 0;

    for (size_t i = 0; i < image->segment_count; i++) {
        const struct qh_segment *segment = &image->segments[i];
        const uint8_t *at = segment->bytes;
        size_t left = segment->end - segment->start;
        const uint8_t *hit;

        while (count < most && (hit = memmem(at, left, text, length))) {
            ret[count++] = segment->start + (uint64_t)(hit - segment->bytes);
            left -= (size_t)(hit + 1 - at);
            at = hit + 1;
        }
    }
    return count;
}

const char *qh_image_text(const struct qh_image *image, const char *text)
{
    for (size_t i = 0; i < image->segment_count; i++) {
        const struct qh_segment *segment = &image->segments[i];
        const void *hit = memmem(segment->bytes, segment->end - segment->start,
                                 text, strlen(text));
        if (hit) {
            return hit;
        }
    }
    return NULL;
}

/* --- who refers to what --- */

/* More than there are copies of anything that is looked for. */
enum { MAX_TARGETS = 32 };

struct targets {
    uint64_t addresses[MAX_TARGETS];
    size_t count;
};

static void add_target(struct targets *targets, uint64_t address)
{
    if (targets->count < MAX_TARGETS) {
        targets->addresses[targets->count++] = address;
    }
}

/* The pointers that hold an address are referred to in its place. */
static void add_pointers_to(const struct qh_image *image,
                            struct targets *targets, uint64_t address)
{
    for (size_t i = 0; i < image->pointer_count; i++) {
        if (image->pointers[i].value == address) {
            add_target(targets, image->pointers[i].slot);
        }
    }
    for (size_t i = 0; !image->pointer_count && i < image->segment_count; i++) {
        const struct qh_segment *segment = &image->segments[i];

        for (uint64_t at = (segment->start + 7) & ~UINT64_C(7);
             !segment->executable && at + 8 <= segment->end; at += 8) {
            if (read_u64(segment->bytes + (at - segment->start)) == address) {
                add_target(targets, at);
            }
        }
    }
}

static bool is_target(const struct targets *targets, uint64_t address)
{
    for (size_t i = 0; i < targets->count; i++) {
        if (targets->addresses[i] == address) {
            return true;
        }
    }
    return false;
}

/*
 * Whether an instruction's operand may begin at `operand`, `before` bytes into
 * its segment: that of a call, a jump, or what is relative to the program
 * counter (AMD's manual, volume 3, appendix A). Asked only where no function
 * is known that could be decoded; elsewhere a wrong guess is followed and does
 * no harm.
 */
static bool may_be_operand(const uint8_t *operand, uint64_t before)
{
    return (before >= 1 && (operand[-1] == 0xe8 || operand[-1] == 0xe9 ||
                            (operand[-1] & 0xc7) == 0x05)) ||
           (before >= 2 && operand[-2] == 0x0f && (operand[-1] >> 4) == 8);
}

static struct qh_error *scan(const struct qh_image *image,
                             const struct qh_segment *segment,
                             const struct targets *targets,
                             struct qh_arena *arena, struct qh_reference **list,
                             size_t *count, size_t *capacity)
{
    for (uint64_t at = segment->start; at + 4 <= segment->end; at++) {
        const uint8_t *bytes = segment->bytes + (at - segment->start);
        uint32_t word = read_u32(bytes);
        bool relative = is_target(targets, at + 4 + (uint64_t)(int32_t)word);
        const struct qh_function *function;
        struct qh_reference *added;

        if (!relative && !(image->fixed_address && is_target(targets, word))) {
            continue;
        }
        function = qh_image_function(image, at);
        if (!function && relative &&
            !may_be_operand(bytes, at - segment->start)) {
            continue;
        }
        added = qh_list_add(arena, list, count, capacity, sizeof(*added));
        if (!added) {
            return qh_error_no_memory();
        }
        *added = (struct qh_reference){ function, at };
    }
    return NULL;
}

struct qh_error *qh_image_references(const struct qh_image *image,
                                     struct qh_arena *arena,
                                     const uint64_t *addresses, size_t count,
                                     struct qh_reference **ret,
                                     size_t *ret_count)
{
    struct targets targets = { .count = 0 };
    struct qh_reference *list = NULL;
    size_t found = 0;
    size_t capacity = 0;

    for (size_t i = 0; i < count; i++) {
        add_target(&targets, addresses[i]);
        add_pointers_to(image, &targets, addresses[i]);
    }
    for (size_t i = 0; targets.count && i < image->segment_count; i++) {
        if (image->segments[i].executable) {
            QH_TRY(scan(image, &image->segments[i], &targets, arena, &list,
                        &found, &capacity));
        }
    }
    *ret = list;
    *ret_count = found;
    return NULL;
}

/* --- reading it --- */

static void read_build_id(struct qh_image *image, const uint8_t *at,
                          size_t left)
{
    static const char digits[] = "0123456789abcdef";

    while (left >= 12) {
        size_t name = (read_u32(at) + 3) & ~UINT64_C(3);
        size_t desc = (read_u32(at + 4) + 3) & ~UINT64_C(3);
        size_t bytes = read_u32(at + 4);

        if (name > left - 12 || desc > left - 12 - name) {
            return;
        }
        if (read_u32(at + 8) == NT_GNU_BUILD_ID && name == 4 &&
            memcmp(at + 12, "GNU", 4) == 0 &&
            bytes * 2 < sizeof(image->build_id)) {
            for (size_t i = 0; i < bytes; i++) {
                image->build_id[2 * i] = digits[at[16 + i] >> 4];
                image->build_id[2 * i + 1] = digits[at[16 + i] & 15];
            }
            image->build_id[2 * bytes] = 0;
            return;
        }
        at += 12 + name + desc;
        left -= 12 + name + desc;
    }
}

static struct qh_error *read_program(struct qh_image *image, Elf *elf,
                                     size_t count)
{
    uint64_t hdr = 0;
    size_t capacity = 0;
    GElf_Phdr phdr;

    for (size_t i = 0; i < count && gelf_getphdr(elf, (int)i, &phdr); i++) {
        if (phdr.p_type == PT_LOAD) {
            QH_TRY(add_segment(image, &phdr, &capacity));
        }
    }
    for (size_t i = 0; i < count && gelf_getphdr(elf, (int)i, &phdr); i++) {
        const uint8_t *at = whole_at(image, phdr.p_vaddr, phdr.p_filesz);

        if (phdr.p_type == PT_GNU_EH_FRAME) {
            hdr = phdr.p_vaddr;
        } else if (phdr.p_type == PT_DYNAMIC && image->pointers) {
            image->unfit = "it has more than one dynamic section";
            return NULL;
        } else if (phdr.p_type == PT_DYNAMIC) {
            QH_TRY(read_dynamic(image, phdr.p_vaddr, phdr.p_filesz));
        } else if (phdr.p_type == PT_NOTE && at) {
            read_build_id(image, at, phdr.p_filesz);
        }
    }
    QH_TRY(read_functions(image, hdr));
    if (!image->function_count) {
        image->unfit = "it has no .eh_frame_hdr that tells its functions";
        return NULL;
    }
    qsort(image->functions, image->function_count, sizeof(*image->functions),
          by_start);
    read_symbols(image, elf, SHT_SYMTAB);
    read_symbols(image, elf, SHT_DYNSYM);
    return NULL;
}

static struct qh_error *read_elf(struct qh_image *image, Elf *elf)
{
    GElf_Ehdr header;
    size_t count;

    if (!elf || elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &header)) {
        image->unfit = "it is no ELF file";
    } else if (header.e_machine != EM_X86_64 ||
               gelf_getclass(elf) != ELFCLASS64) {
        image->unfit = "it is not for x86-64";
    } else if (header.e_type != ET_EXEC && header.e_type != ET_DYN) {
        image->unfit = "it is no executable";
    } else if (elf_getphdrnum(elf, &count) < 0) {
        image->unfit = "the file is cut short or damaged";
    } else {
        image->fixed_address = header.e_type == ET_EXEC;
        return read_program(image, elf, count);
    }
    return NULL;
}

struct qh_error *qh_image_read(int fd, struct qh_image *ret)
{
    struct qh_error *error;
    Elf *elf = NULL;

    *ret = (struct qh_image){ .file = NULL };
    error = read_file(fd, ret);
    if (!error) {
        elf_version(EV_CURRENT);
        elf = elf_memory((char *)ret->file, ret->file_bytes);
        error = read_elf(ret, elf);
        elf_end(elf);
    }
    if (error) {
        qh_image_deinit(ret);
    }
    return error;
}

void qh_image_deinit(struct qh_image *image)
{
    free(image->file);
    qh_arena_deinit(&image->arena);
    *image = (struct qh_image){ .file = NULL };
}
