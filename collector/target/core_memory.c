/* Reading the memory that a core holds, or that the mapped files still hold.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/core.h"

#include <string.h>
#include <unistd.h>

static void open_image(struct qh_target *target, const struct qh_module *module,
                       struct qh_core_image *image)
{
    QH_CLEANUP(qh_close_guard) int fd = -1;

    image->state = QH_IMAGE_NONE;
    /* Without a build-id nothing says that the file is the one that ran. */
    if (!module->build_id[0]) {
        return;
    }
    struct qh_error *error = qh_target_open_module(target, module, &fd);
    if (error) {
        qh_error_destroy(error);
        return;
    }
    image->elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
    if (!image->elf || elf_getphdrnum(image->elf, &image->phdr_count) < 0) {
        return;
    }
    image->phdrs = elf64_getphdr(image->elf);
    image->bytes = (const unsigned char *)elf_rawfile(image->elf, &image->size);
    if (image->phdrs && image->bytes) {
        image->state = QH_IMAGE_GOOD;
    }
}

void qh_core_close_images(struct qh_target *target)
{
    for (size_t i = 0; target->core->images && i < target->module_count; i++) {
        elf_end(target->core->images[i].elf);
    }
}

static struct qh_core_image *image_at(struct qh_target *target,
                                      uint64_t address,
                                      const struct qh_module **ret_module)
{
    const struct qh_module *module = qh_module_at(target, address);

    if (!module || !target->core->images) {
        return NULL;
    }
    struct qh_core_image *image =
        &target->core->images[module - target->modules];
    if (image->state == QH_IMAGE_UNTRIED) {
        open_image(target, module, image);
    }
    *ret_module = module;
    return image->state == QH_IMAGE_GOOD ? image : NULL;
}

/* Whether the program may write to this page. That goes by the file's own
 * table, not by the map: what the dynamic linker has relocated is read-only in
 * the map and still not what is in the file. */
static bool is_written(const struct qh_core_image *image,
                       const struct qh_module *module, uint64_t address)
{
    const uint64_t page = -(uint64_t)QH_PAGE_BYTES;
    uint64_t bias = 0;
    bool first = true;

    for (size_t i = 0; i < image->phdr_count; i++) {
        const Elf64_Phdr *phdr = &image->phdrs[i];
        if (phdr->p_type != PT_LOAD) {
            continue;
        }
        if (first) {
            bias = module->start - (phdr->p_vaddr & page);
            first = false;
        }
        uint64_t offset = address - bias - (phdr->p_vaddr & page);
        uint64_t bytes = phdr->p_memsz + (phdr->p_vaddr & ~page);
        if (offset < ((bytes + QH_PAGE_BYTES - 1) & page)) {
            return phdr->p_flags & PF_W;
        }
    }
    return true;
}

/* As many bytes as the mapped file has for [address, address + bytes), all of
 * which lie in `mapping`. `untouched`: they are known to be as in the file. */
static size_t read_file(struct qh_target *target,
                        const struct qh_mapping *mapping, uint64_t address,
                        void *buffer, size_t bytes, bool untouched)
{
    const struct qh_module *module;
    uint64_t at = mapping->file_offset + (address - mapping->start);
    size_t to_page_end = QH_PAGE_BYTES - address % QH_PAGE_BYTES;

    if (mapping->path[0] != '/' || (mapping->writable && !untouched)) {
        return 0;
    }
    struct qh_core_image *image = image_at(target, address, &module);
    if (!image || at >= image->size ||
        (!untouched && is_written(image, module, address))) {
        return 0;
    }
    if (bytes > to_page_end) {
        bytes = to_page_end;
    }
    if (bytes > image->size - at) {
        bytes = image->size - at;
    }
    memcpy(buffer, image->bytes + at, bytes);
    return bytes;
}

/* The first piece that ends behind `address`, or the end of the table. */
static const struct qh_core_piece *piece_from(const struct qh_core *core,
                                              uint64_t address)
{
    size_t low = 0, high = core->piece_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (core->pieces[middle].start + core->pieces[middle].claimed <=
            address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return &core->pieces[low];
}

/* [address, address + bytes) lies in `mapping`, and no piece has it. */
static size_t read_unstored(struct qh_target *target,
                            const struct qh_mapping *mapping, uint64_t address,
                            void *buffer, size_t bytes)
{
    uint64_t end = address + bytes;
    bool untouched = qh_core_is_untouched(target, mapping, address, &end);

    bytes = (size_t)(end - address);
    if (untouched && mapping->path[0] != '/') {
        uint64_t *left = &target->core->capture.zeros_left;
        bytes = bytes < *left ? bytes : (size_t)*left;
        *left -= bytes;
        memset(buffer, 0, bytes);
        return bytes;
    }
    return read_file(target, mapping, address, buffer, bytes, untouched);
}

/* Reads on until the mapping ends or changes from core to file; 0 when there
 * is nothing. */
static size_t read_piece(struct qh_target *target, uint64_t address,
                         void *buffer, size_t bytes)
{
    const struct qh_core *core = target->core;
    const struct qh_mapping *mapping =
        qh_target_mapping_at(target, qh_raddr(address));

    if (!mapping) {
        return 0;
    }
    const struct qh_core_piece *piece = piece_from(core, address);
    bool last = piece == core->pieces + core->piece_count;
    if (bytes > mapping->end - address) {
        bytes = mapping->end - address;
    }
    if (!last && piece->start <= address) {
        uint64_t offset = address - piece->start;
        if (offset >= piece->present) {
            return 0; /* what was written and is cut off */
        }
        if (bytes > piece->present - offset) {
            bytes = piece->present - offset;
        }
        memcpy(buffer, core->image + piece->offset + offset, bytes);
        target->bytes_read += bytes;
        return bytes;
    }
    if (!last && bytes > piece->start - address) {
        bytes = piece->start - address;
    }
    return read_unstored(target, mapping, address, buffer, bytes);
}

struct qh_error *qh_core_read_some(struct qh_target *target, uint64_t address,
                                   void *buffer, size_t bytes,
                                   size_t *ret_bytes)
{
    unsigned char *out = buffer;
    size_t have = 0, got;

    while (have < bytes && (got = read_piece(target, address + have, out + have,
                                             bytes - have)) > 0) {
        have += got;
    }
    *ret_bytes = have;
    return NULL;
}

struct qh_error *qh_core_read(struct qh_target *target, uint64_t address,
                              void *buffer, size_t bytes)
{
    size_t have = 0;

    QH_TRY(qh_core_read_some(target, address, buffer, bytes, &have));
    return have == bytes ? NULL : qh_unreadable(address + have);
}
