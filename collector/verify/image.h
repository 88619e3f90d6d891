/* The ELF file of a program: bytes, functions, strings; private to verify/.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Addresses are those of the file. Nothing here needs section headers but the
 * symbols, so that a stripped file will do.
 */
#ifndef QH_IMAGE_H
#define QH_IMAGE_H

#include "base/base.h"

struct qh_function {
    uint64_t start;
    uint64_t end;     /* exclusive */
    const char *name; /* NULL where there is no symbol */
};

/* R_X86_64_RELATIVE: the word at `slot` will hold `value`. */
struct qh_pointer {
    uint64_t slot;
    uint64_t value;
};

/* The word at `slot` will hold the address of another file's `name`. */
struct qh_import {
    uint64_t slot;
    const char *name;
};

struct qh_segment {
    uint64_t start;
    uint64_t end; /* of what the file holds */
    const uint8_t *bytes;
    bool executable;
};

struct qh_image {
    struct qh_arena arena;
    uint8_t *file;
    size_t file_bytes;
    struct qh_segment *segments;
    size_t segment_count;
    /* In order of address; from .eh_frame_hdr, named by the symbols. */
    struct qh_function *functions;
    size_t function_count;
    struct qh_pointer *pointers; /* in order of slot */
    size_t pointer_count;
    struct qh_import *imports;
    size_t import_count;
    char build_id[129];
    bool fixed_address; /* no PIE: its code may hold absolute addresses */
    const char *unfit;  /* why nothing can be said of it, or NULL */
};

/* Reads all of `fd`. What is wrong with the file stands in `unfit`; only
 * reading it and running out of memory are errors. */
struct qh_error *qh_image_read(int fd, struct qh_image *ret) QH_MUST_CHECK;
void qh_image_deinit(struct qh_image *image);

/* The bytes from `address` on, `*ret_bytes` of them in one piece; NULL when
 * the file has none there. */
const uint8_t *qh_image_at(const struct qh_image *image, uint64_t address,
                           size_t *ret_bytes);
/* What the pointer at `slot` is set to when the program is loaded. */
bool qh_image_pointer(const struct qh_image *image, uint64_t slot,
                      uint64_t *ret);

const struct qh_function *qh_image_function(const struct qh_image *image,
                                            uint64_t address);
/* The function of another file that a call of `address`, a stub of the
 * procedure linkage table, ends in; or NULL. */
const char *qh_image_import(const struct qh_image *image, uint64_t address);
/* By name, compiler suffixes (.part.0) not counted; the `nth` of them. */
const struct qh_function *qh_image_named(const struct qh_image *image,
                                         const char *name, size_t nth);

/* Addresses where `text` and its NUL stand, also as the end of a longer
 * string; at most `most` of them; how many. */
size_t qh_image_strings(const struct qh_image *image, const char *text,
                        uint64_t *ret, size_t most);
/* Whether `text` stands anywhere as part of a string. */
const char *qh_image_text(const struct qh_image *image, const char *text);

/* Where a function refers to something. */
struct qh_reference {
    const struct qh_function *function; /* NULL: in none that is known */
    uint64_t address; /* within it, near the instruction's end */
};

/* Whatever refers to one of the addresses, relative to the program counter or
 * as an immediate, or to a pointer that holds it: calls and jumps too. In
 * order of address; *ret is in `arena`. */
struct qh_error *qh_image_references(const struct qh_image *image,
                                     struct qh_arena *arena,
                                     const uint64_t *addresses, size_t count,
                                     struct qh_reference **ret,
                                     size_t *ret_count) QH_MUST_CHECK;

#endif
