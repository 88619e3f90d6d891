/* The ELF file: its bytes by address.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "verify/image_parts.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

/* A QEMU with debug information takes 0.2 GiB. */
#define MAX_FILE_BYTES (UINT64_C(2) << 30)
/* User space ends here (x86-64 with four levels of page tables). Nothing that
 * reads an image need fear that an address wraps around. */
#define MAX_ADDRESS (UINT64_C(1) << 47)

static struct qh_error *read_file(int fd, struct qh_image *image)
{
    struct stat stat;
    size_t done = 0;

    if (fstat(fd, &stat) < 0) {
        return qh_error_errno(QH_ERR_SYSTEM, errno, "cannot read the file");
    }
    if (!S_ISREG(stat.st_mode)) {
        return qh_error_try(
            qh_error_new(QH_ERR_SYSTEM, "it is no regular file"),
            "give an executable, the PID of a running QEMU, or a QEMU build "
            "folder");
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

const uint8_t *qh_image_whole(const struct qh_image *image, uint64_t address,
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

static void read_build_id(struct qh_image *image, const uint8_t *at,
                          size_t left)
{
    static const char digits[] = "0123456789abcdef";

    while (left >= 12) {
        size_t name = (qh_read_u32(at) + 3) & ~UINT64_C(3);
        size_t desc = (qh_read_u32(at + 4) + 3) & ~UINT64_C(3);
        size_t bytes = qh_read_u32(at + 4);

        if (name > left - 12 || desc > left - 12 - name) {
            return;
        }
        if (qh_read_u32(at + 8) == NT_GNU_BUILD_ID && name == 4 &&
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
        const uint8_t *at = qh_image_whole(image, phdr.p_vaddr, phdr.p_filesz);

        if (phdr.p_type == PT_GNU_EH_FRAME) {
            hdr = phdr.p_vaddr;
        } else if (phdr.p_type == PT_DYNAMIC && image->pointers) {
            image->unfit = "it has more than one dynamic section";
            return NULL;
        } else if (phdr.p_type == PT_DYNAMIC) {
            QH_TRY(qh_image_read_dynamic(image, phdr.p_vaddr, phdr.p_filesz));
        } else if (phdr.p_type == PT_NOTE && at) {
            read_build_id(image, at, phdr.p_filesz);
        }
    }
    QH_TRY(qh_image_read_functions(image, hdr));
    if (!image->function_count) {
        image->unfit = "it has no .eh_frame_hdr that tells its functions";
        return NULL;
    }
    qh_image_read_symbols(image, elf, SHT_SYMTAB);
    qh_image_read_symbols(image, elf, SHT_DYNSYM);
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
