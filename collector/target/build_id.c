/* Build-ids, from memory and from files.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/ops.h"

#include <elf.h>
#include <elfutils/libdwelf.h>
#include <gelf.h>
#include <string.h>
#include <sys/auxv.h>

/* Sizes that no honest file needs; the target's memory may say anything. */
enum { MAX_PHDRS = 128, MAX_NOTE_BYTES = 65536, MAX_ID_BYTES = 64 };

static void to_hex(const unsigned char *id, size_t bytes,
                   char ret_hex[QH_BUILD_ID_HEX])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < bytes; i++) {
        ret_hex[2 * i] = digits[id[i] >> 4];
        ret_hex[2 * i + 1] = digits[id[i] & 15];
    }
    ret_hex[2 * bytes] = '\0';
}

/* Finds NT_GNU_BUILD_ID among notes that are aligned to 4 (gABI, "Note
 * Section"; binutils and lld write this note so). */
static bool id_in_notes(const unsigned char *notes, size_t bytes,
                        char ret_hex[QH_BUILD_ID_HEX])
{
    Elf64_Nhdr note;

    for (size_t at = 0; bytes - at >= sizeof(note);) {
        memcpy(&note, notes + at, sizeof(note));
        at += sizeof(note);
        uint64_t name_bytes = ((uint64_t)note.n_namesz + 3) & ~UINT64_C(3);
        uint64_t desc_bytes = ((uint64_t)note.n_descsz + 3) & ~UINT64_C(3);
        if (name_bytes > bytes - at || desc_bytes > bytes - at - name_bytes) {
            return false;
        }
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
            memcmp(notes + at, "GNU", 4) == 0 && note.n_descsz &&
            note.n_descsz <= MAX_ID_BYTES) {
            to_hex(notes + at + name_bytes, note.n_descsz, ret_hex);
            return true;
        }
        at += name_bytes + desc_bytes;
    }
    return false;
}

/* Reads a piece of the mapped file; false when it is not in [start, end). */
static bool read_piece(struct qh_target *target, uint64_t start, uint64_t end,
                       uint64_t address, void *buffer, size_t bytes)
{
    if (address < start || address > end || bytes > end - address) {
        return false;
    }
    struct qh_error *error =
        qh_target_read(target, qh_raddr(address), buffer, bytes);
    bool done = !error;
    qh_error_destroy(error);
    return done;
}

static bool usable_header(const Elf64_Ehdr *header)
{
    return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
           header->e_ident[EI_CLASS] == ELFCLASS64 &&
           header->e_ident[EI_DATA] == ELFDATA2LSB &&
           header->e_phentsize == sizeof(Elf64_Phdr) &&
           header->e_phnum <= MAX_PHDRS;
}

void qh_build_id_of_memory(struct qh_target *target, uint64_t start,
                           uint64_t end, char ret_hex[QH_BUILD_ID_HEX])
{
    Elf64_Ehdr header;
    Elf64_Phdr phdrs[MAX_PHDRS];
    uint64_t bias = start;

    ret_hex[0] = '\0';
    if (!read_piece(target, start, end, start, &header, sizeof(header)) ||
        !usable_header(&header) ||
        !read_piece(target, start, end, start + header.e_phoff, phdrs,
                    header.e_phnum * sizeof(phdrs[0]))) {
        return;
    }
    for (unsigned i = 0; i < header.e_phnum; i++) {
        if (phdrs[i].p_type == PT_LOAD) {
            bias = start - (phdrs[i].p_vaddr & -(uint64_t)QH_PAGE_BYTES);
            break;
        }
    }
    for (unsigned i = 0; i < header.e_phnum; i++) {
        const Elf64_Phdr *phdr = &phdrs[i];
        if (phdr->p_type != PT_NOTE || phdr->p_filesz > MAX_NOTE_BYTES) {
            continue;
        }
        QH_CLEANUP(qh_free_guard)
        unsigned char *notes = malloc(phdr->p_filesz ? phdr->p_filesz : 1);
        if (notes &&
            read_piece(target, start, end, bias + phdr->p_vaddr, notes,
                       phdr->p_filesz) &&
            id_in_notes(notes, phdr->p_filesz, ret_hex)) {
            return;
        }
    }
}

void qh_build_id_of_fd(int fd, char ret_hex[QH_BUILD_ID_HEX])
{
    const void *id = NULL;

    ret_hex[0] = '\0';
    elf_version(EV_CURRENT);
    Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
    if (!elf) {
        return;
    }
    ssize_t bytes = dwelf_elf_gnu_build_id(elf, &id);
    if (bytes > 0 && bytes <= MAX_ID_BYTES) {
        to_hex(id, (size_t)bytes, ret_hex);
    }
    elf_end(elf);
}

/* The vdso is one piece of memory that looks like the file. */
void qh_build_id_of_own_vdso(char ret_hex[QH_BUILD_ID_HEX])
{
    const unsigned char *vdso =
        (const unsigned char *)(uintptr_t)getauxval(AT_SYSINFO_EHDR);

    ret_hex[0] = '\0';
    if (!vdso) {
        return;
    }
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)vdso;
    const Elf64_Phdr *phdrs = (const Elf64_Phdr *)(vdso + header->e_phoff);
    for (unsigned i = 0; i < header->e_phnum; i++) {
        if (phdrs[i].p_type == PT_NOTE &&
            id_in_notes(vdso + phdrs[i].p_offset, phdrs[i].p_filesz, ret_hex)) {
            return;
        }
    }
}
