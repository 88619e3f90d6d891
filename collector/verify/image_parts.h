/* The parts that read an image; private to the image_*.c files.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_IMAGE_PARTS_H
#define QH_IMAGE_PARTS_H

#include "verify/image.h"

#include <gelf.h>
#include <string.h>

static inline uint32_t qh_read_u32(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

static inline uint64_t qh_read_u64(const uint8_t *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

/* `bytes` at `address`, or NULL. */
const uint8_t *qh_image_whole(const struct qh_image *image, uint64_t address,
                              size_t bytes);

/* Fills `functions`, in order of address, from the .eh_frame_hdr at `hdr`;
 * none where there is no such thing. */
struct qh_error *qh_image_read_functions(struct qh_image *image,
                                         uint64_t hdr) QH_MUST_CHECK;
/* Names them after the symbols of all sections of `type`. */
void qh_image_read_symbols(struct qh_image *image, Elf *elf, GElf_Word type);
/* Fills `pointers` and `imports` from the .dynamic section at `start`. */
struct qh_error *qh_image_read_dynamic(struct qh_image *image, uint64_t start,
                                       uint64_t bytes) QH_MUST_CHECK;

#endif
