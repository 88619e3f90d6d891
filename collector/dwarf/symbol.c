/* Symbols of the executable: by name, by address, thread-local ones.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf/private.h"
#include "target/arch.h"

#include <string.h>

/*
 * What compilers put behind a function's name. The first group names a part or
 * a changed copy of the function; the second is the function or variable
 * itself, renamed so that it can be shared between link-time units.
 */
static const char *const part_suffixes[] = { ".part.", ".isra.",
                                             ".constprop.", ".cold" };
static const char *const renaming_suffixes[] = { ".lto_priv.", ".llvm." };

static const char *first_suffix(const char *name, const char *const *suffixes,
                                size_t count)
{
    const char *first = NULL;

    for (size_t i = 0; i < count; i++) {
        const char *at = strstr(name, suffixes[i]);
        if (at && at != name && (!first || at < first)) {
            first = at;
        }
    }
    return first;
}

static const char *part_suffix(const char *name)
{
    return first_suffix(name, part_suffixes, QH_COUNT(part_suffixes));
}

/* Where the ".3" of "name.3" begins, or NULL: what clang calls the members of
 * a static struct that it took apart, and gcc a function's static variable. */
static const char *number_suffix(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot && dot != name && dot[1] &&
                   dot[1 + strspn(dot + 1, "0123456789")] == '\0' ? dot : NULL;
}

/* Where the suffixes of `name` begin, or NULL. */
static const char *suffix_of(const char *name)
{
    const char *dot = strchr(name, '.');

    if (!dot) {
        return NULL;
    }
    const char *part = part_suffix(name);
    const char *renaming =
        first_suffix(name, renaming_suffixes, QH_COUNT(renaming_suffixes));
    return !part || (renaming && renaming < part) ? renaming : part;
}

/* Enters `index` under `name`; a global symbol goes before a local one. */
static struct qh_error *enter(struct qh_symbols *symbols,
                              struct qh_names *names, const char *name,
                              uint32_t index)
{
    uint32_t *value = NULL;
    bool is_new = false;

    QH_TRY(qh_names_enter(names, name, index, &value, &is_new));
    if (!is_new && symbols->items[*value].local &&
        !symbols->items[index].local) {
        *value = index;
    }
    return NULL;
}

/* Hand-written code (_init) may have no size: at most to its section's end. */
static uint64_t bytes_to_end(Elf *elf, const GElf_Sym *sym)
{
    GElf_Shdr header;
    Elf_Scn *section = elf_getscn(elf, sym->st_shndx);

    return section && gelf_getshdr(section, &header) &&
                   sym->st_value - header.sh_addr < header.sh_size
               ? header.sh_addr + header.sh_size - sym->st_value : 1;
}

static bool is_split(const char *name, int type)
{
    return type == STT_OBJECT && number_suffix(name) && !suffix_of(name);
}

/* The names by which symbol `index` is found. */
static struct qh_error *enter_names(struct qh_symbols *symbols, uint32_t index,
                                    int type)
{
    const struct qh_symbol *symbol = &symbols->items[index];
    struct qh_names *bases =
        is_split(symbol->name, type) ? &symbols->splits : &symbols->bases;

    if (type == STT_TLS) {
        return enter(symbols, &symbols->tls, symbol->base, index);
    }
    QH_TRY(enter(symbols, &symbols->exact, symbol->name, index));
    return symbol->base != symbol->name
               ? enter(symbols, bases, symbol->base, index) : NULL;
}

static struct qh_error *add_symbol(struct qh_debug *debug, Elf *elf,
                                   const char *name, const GElf_Sym *sym,
                                   uint64_t bias, const char *file)
{
    struct qh_symbols *symbols = &debug->symbols;
    int type = GELF_ST_TYPE(sym->st_info);
    const char *suffix = is_split(name, type) ? number_suffix(name)
                                              : suffix_of(name);
    uint32_t index = (uint32_t)symbols->count;

    QH_TRY(qh_array_reserve(&symbols->items, &symbols->capacity, index + 1u,
                            sizeof(*symbols->items)));
    struct qh_symbol *symbol = &symbols->items[index];
    *symbol = (struct qh_symbol){
        .name = name,
        .base = name,
        .file = file,
        .address = sym->st_value + (type == STT_TLS ? 0 : bias),
        .bytes = sym->st_size,
        .local = GELF_ST_BIND(sym->st_info) == STB_LOCAL,
        .function = type == STT_FUNC || type == STT_GNU_IFUNC,
    };
    if (symbol->function && !symbol->bytes) {
        symbol->bytes = bytes_to_end(elf, sym);
    }
    if (suffix) {
        symbol->base = qh_arena_printf(&debug->arena, "%.*s",
                                       (int)(suffix - name), name);
        if (!symbol->base) {
            return qh_error_no_memory();
        }
    }
    symbols->count++;
    return enter_names(symbols, index, type);
}

/* Whether a symbol of the table has a place in the target. */
static bool is_wanted(const GElf_Sym *sym)
{
    switch (GELF_ST_TYPE(sym->st_info)) {
    case STT_NOTYPE:
    case STT_OBJECT:
    case STT_FUNC:
    case STT_TLS:
    case STT_GNU_IFUNC:
        return sym->st_shndx != SHN_UNDEF && sym->st_shndx != SHN_ABS;
    default:
        return false;
    }
}

static struct qh_error *load_table(struct qh_debug *debug, Elf *elf,
                                   Elf_Scn *section, const GElf_Shdr *header,
                                   uint64_t bias)
{
    Elf_Data *data = elf_getdata(section, NULL);
    size_t count = data && header->sh_entsize
                       ? data->d_size / sizeof(Elf64_Sym) : 0;

    QH_TRY(qh_array_reserve(&debug->symbols.items, &debug->symbols.capacity,
                            debug->symbols.count + count,
                            sizeof(struct qh_symbol)));
    QH_TRY(qh_names_reserve(&debug->symbols.exact,
                            debug->symbols.exact.count + count));
    const char *file = NULL; /* STT_FILE goes before the local symbols of it */
    for (size_t i = 1; i < count; i++) {
        GElf_Sym sym;
        if (!gelf_getsym(data, (int)i, &sym)) {
            break;
        }
        const char *name = elf_strptr(elf, header->sh_link, sym.st_name);
        if (GELF_ST_TYPE(sym.st_info) == STT_FILE) {
            file = name;
        } else if (is_wanted(&sym) && name && name[0]) {
            QH_TRY(add_symbol(debug, elf, name, &sym, bias, file));
        }
    }
    return NULL;
}

static struct qh_error *load_tables(struct qh_debug *debug, Elf *elf,
                                    uint64_t bias, GElf_Word type)
{
    Elf_Scn *section = NULL;

    while ((section = elf_nextscn(elf, section))) {
        GElf_Shdr header;
        /* A debug file keeps .dynsym as an empty shell (SHT_NOBITS). */
        if (gelf_getshdr(section, &header) && header.sh_type == type) {
            QH_TRY(load_table(debug, elf, section, &header, bias));
        }
    }
    return NULL;
}

struct qh_error *qh_symbols_load(struct qh_debug *debug)
{
    GElf_Addr bias = 0;
    Elf *elf = dwarf_getelf(debug->dwarf);
    const struct qh_symbol *trampoline = NULL;

    QH_TRY(load_tables(debug, debug->elf, debug->elf_bias, SHT_SYMTAB));
    if (elf != debug->elf && !debug->symbols.count) {
        bias = debug->dwarf_bias;
        QH_TRY(load_tables(debug, elf, bias, SHT_SYMTAB));
    }
    if (!debug->symbols.count) {
        QH_TRY(load_tables(debug, debug->elf, debug->elf_bias, SHT_DYNSYM));
    }
    trampoline = qh_symbol_like(debug, "coroutine_trampoline");
    if (trampoline) {
        debug->trampoline_start = trampoline->address;
        debug->trampoline_end = trampoline->address + trampoline->bytes;
    }
    return NULL;
}

void qh_symbols_deinit(struct qh_symbols *symbols)
{
    free(symbols->items);
    free(symbols->by_address);
    qh_names_deinit(&symbols->exact);
    qh_names_deinit(&symbols->bases);
    qh_names_deinit(&symbols->tls);
    qh_names_deinit(&symbols->splits);
}

const struct qh_symbol *qh_symbol_like(struct qh_debug *debug,
                                       const char *name)
{
    const struct qh_symbols *symbols = &debug->symbols;
    uint32_t index = 0;

    if (qh_names_find(&symbols->exact, name, &index) ||
        qh_names_find(&symbols->bases, name, &index)) {
        return &symbols->items[index];
    }
    return NULL;
}

struct qh_error *qh_debug_symbol(struct qh_debug *debug, const char *name,
                                 struct raddr *ret)
{
    const struct qh_symbol *symbol = qh_symbol_like(debug, name);
    uint32_t index = 0;

    if (symbol &&
        (strcmp(symbol->name, name) == 0 || !part_suffix(symbol->name))) {
        *ret = qh_raddr(symbol->address);
        return NULL;
    }
    if (qh_names_find(&debug->symbols.splits, name, &index)) {
        return qh_split_variable(debug, name, &debug->symbols.items[index],
                                 &ret->value);
    }
    return qh_error_new(QH_ERR_ABSENT, "no symbol `%s` in %s", name,
                        debug->exe_path);
}

struct qh_error *qh_debug_tls(struct qh_debug *debug, const char *name,
                              uint64_t fs_base, struct raddr *ret)
{
    uint32_t index = 0;
    size_t count = 0;

    if (!qh_names_find(&debug->symbols.tls, name, &index)) {
        return qh_error_new(QH_ERR_ABSENT, "no thread-local `%s` in %s", name,
                            debug->exe_path);
    }
    (void)elf_getphdrnum(debug->elf, &count);
    for (size_t i = 0; i < count; i++) {
        GElf_Phdr header;
        if (gelf_getphdr(debug->elf, (int)i, &header) &&
            header.p_type == PT_TLS) {
            uint64_t block = qh_arch_tls_block(fs_base, header.p_memsz,
                                               header.p_align, header.p_vaddr);
            *ret = qh_raddr(block + debug->symbols.items[index].address);
            return NULL;
        }
    }
    return qh_error_new(QH_ERR_ABSENT, "%s has no thread-local storage",
                        debug->exe_path);
}

/* Of symbols at one address the last is taken: a plain global name. */
static int by_address(const void *left, const void *right, void *items)
{
    const struct qh_symbol *all = items;
    const struct qh_symbol *a = &all[*(const uint32_t *)left];
    const struct qh_symbol *b = &all[*(const uint32_t *)right];

    if (a->address != b->address) {
        return a->address < b->address ? -1 : 1;
    }
    if (a->local != b->local) {
        return a->local ? -1 : 1;
    }
    return (a->base == a->name) - (b->base == b->name);
}

static bool sort_functions(struct qh_symbols *symbols)
{
    if (symbols->by_address) {
        return true;
    }
    symbols->by_address = calloc(symbols->count + 1, sizeof(uint32_t));
    if (!symbols->by_address) {
        return false;
    }
    for (size_t i = 0; i < symbols->count; i++) {
        if (symbols->items[i].function) {
            symbols->by_address[symbols->function_count++] = (uint32_t)i;
        }
    }
    qsort_r(symbols->by_address, symbols->function_count, sizeof(uint32_t),
            by_address, symbols->items);
    return true;
}

static const char *own_function_at(struct qh_debug *debug, uint64_t address)
{
    struct qh_symbols *symbols = &debug->symbols;
    size_t low = 0;

    if (!sort_functions(symbols)) {
        return NULL;
    }
    size_t high = symbols->function_count;
    while (low < high) { /* the first that begins behind the address */
        size_t middle = low + (high - low) / 2;
        if (symbols->items[symbols->by_address[middle]].address <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (!low) {
        return NULL;
    }
    const struct qh_symbol *found =
        &symbols->items[symbols->by_address[low - 1]];
    return address - found->address < found->bytes ? found->base : NULL;
}

const char *qh_debug_function_at(struct qh_debug *debug, struct raddr code)
{
    Dwfl_Module *module = dwfl_addrmodule(debug->dwfl, code.value);
    GElf_Off offset = 0;
    GElf_Sym sym;

    if (!module) {
        return NULL;
    }
    if (module == debug->exe) {
        return own_function_at(debug, code.value);
    }
    const char *name = dwfl_module_addrinfo(module, code.value, &offset, &sym,
                                            NULL, NULL, NULL);
    /* A name that ends before the address is another function's. */
    if (!name || (sym.st_size && offset >= sym.st_size)) {
        return NULL;
    }
    const char *end = suffix_of(name);
    end = end ? end : strchr(name, '@'); /* a symbol version */
    return end ? qh_arena_printf(&debug->arena, "%.*s", (int)(end - name), name)
               : name;
}
