/* The version that the executable calls itself by.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Every program of QEMU prints "... version X.Y.Z" and its package version in
 * brackets for --version; compilers keep that as one string (QEMU_FULL_VERSION
 * in version.h: system/vl.c, storage-daemon/qemu-storage-daemon.c).
 */
#include "dwarf/private.h"

#include <ctype.h>
#include <string.h>

/* How long "X.Y.Z" at `text` is, 0 when it is none; `end` bounds it. */
static size_t version_length(const char *text, const char *end)
{
    size_t dots = 0;
    const char *at = text;

    while (at < end && (isdigit((unsigned char)*at) ||
                        (*at == '.' && at > text && at[-1] != '.'))) {
        dots += *at == '.';
        at++;
    }
    return dots == 2 && at[-1] != '.' ? (size_t)(at - text) : 0;
}

/* Whether the string that `at` stands in speaks of a program of QEMU. */
static bool is_qemu(const char *start, const char *at)
{
    const char *first = at;

    while (first > start && first[-1]) {
        first--;
    }
    size_t bytes = (size_t)(at - first);
    return memmem(first, bytes, "QEMU", 4) || memmem(first, bytes, "qemu", 4);
}

static const char *search(struct qh_arena *arena, const char *start,
                          size_t bytes)
{
    static const char word[] = " version ";
    const char *end = start + bytes;
    const char *at = start;

    while ((at = memmem(at, (size_t)(end - at), word, sizeof(word) - 1))) {
        const char *text = at + sizeof(word) - 1;
        size_t length = version_length(text, end);
        if (length && is_qemu(start, at)) {
            return qh_arena_printf(arena, "%.*s", (int)length, text);
        }
        at = text;
    }
    return NULL;
}

const char *qh_debug_qemu_version(struct qh_debug *debug,
                                  struct qh_arena *arena)
{
    size_t names = 0;
    Elf_Scn *section = NULL;

    if (elf_getshdrstrndx(debug->elf, &names) != 0) {
        return NULL;
    }
    while ((section = elf_nextscn(debug->elf, section))) {
        GElf_Shdr header;
        const char *name = gelf_getshdr(section, &header)
                               ? elf_strptr(debug->elf, names, header.sh_name)
                               : NULL;
        if (name && strcmp(name, ".rodata") == 0) {
            Elf_Data *data = elf_rawdata(section, NULL);
            return data && data->d_buf
                       ? search(arena, data->d_buf, data->d_size) : NULL;
        }
    }
    return NULL;
}
