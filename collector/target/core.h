/* A core file: what the files of that kind share.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Two writers are known. The kernel (fs/binfmt_elf.c) puts the notes first and
 * gives every mapping a PT_LOAD, with FileSz 0 (or one page, for the ELF
 * header) where it left the bytes out. gdb's gcore puts the notes last and
 * leaves a mapping out altogether; only NT_FILE then tells that it was there.
 */
#ifndef QH_TARGET_CORE_H
#define QH_TARGET_CORE_H

#include "target/ops.h"

#include <gelf.h>
#include <time.h>

/* One PT_LOAD: where the bytes from `start` on are in the file. */
struct qh_core_piece {
    uint64_t start, end; /* in memory, MemSz and all */
    uint64_t offset;
    uint64_t claimed; /* bytes that were written, should the file be whole */
    uint64_t present; /* of them, those that are there */
};

/* One entry of NT_FILE. */
struct qh_core_file {
    uint64_t start, end;
    uint64_t offset;
    const char *path; /* in the core's image */
};

/* The file of a module, from which read-only memory is taken. */
struct qh_core_image {
    enum { QH_IMAGE_UNTRIED, QH_IMAGE_GOOD, QH_IMAGE_NONE } state;
    Elf *elf;
    const unsigned char *bytes;
    size_t size;
    const Elf64_Phdr *phdrs;
    size_t phdr_count;
};

/* What a capture tells beyond a core; see note.h. */
struct qh_core_capture {
    bool present;
    const char *facts; /* the notes, in the image; NULL for none */
    size_t facts_bytes;
    const char *maps;
    size_t maps_bytes;
    int64_t monotonic_ns, realtime_ns;
    struct qh_range *left_out; /* in order of address */
    size_t left_out_count;
    struct qh_core_eventfd *eventfds;
    size_t eventfd_count;
    /* How many zeros may still be made up: a file that lies about its map has
     * no end of them, and a search would read them all. */
    uint64_t zeros_left;
};

struct qh_core_eventfd {
    int64_t fd;
    uint64_t count;
};

struct qh_core {
    int fd;
    Elf *elf;
    const unsigned char *image; /* the whole file, mapped */
    uint64_t size;
    int64_t written_ns; /* CLOCK_REALTIME when the core was last written */
    const char *exe;    /* as given by the user, else NULL */
    const char *cut;    /* why the unpacked file may be short, or NULL */
    struct qh_core_piece *pieces; /* in order of address */
    size_t piece_count;
    struct qh_core_capture capture;
    struct qh_core_image *images; /* parallel to target->modules, or NULL */
    struct qh_core_file *files;   /* in order of address */
    size_t file_count;
    const void *auxv; /* in `image` */
    size_t auxv_bytes;
    uint64_t damaged_at; /* bytes that should be there; 0 if all are */
};

/* core_notes.c: threads, names, auxiliary vector and mapped files. */
struct qh_error *qh_core_read_notes(struct qh_target *target) QH_MUST_CHECK;
/* core_maps.c: the mappings, from PT_LOAD and NT_FILE. */
struct qh_error *qh_core_read_maps(struct qh_target *target) QH_MUST_CHECK;

/*
 * core_capture.c: what qhang's own notes say of the threads, clocks and
 * eventfds. Notes of another version, or damaged ones, are left alone, and the
 * core is read as any other.
 */
struct qh_error *qh_core_read_facts(struct qh_target *target) QH_MUST_CHECK;
/* Whether an unstored byte of the mapping is known to be zero, or to be as it
 * is in the file; `*ret_end` is where that may change. */
bool qh_core_is_untouched(const struct qh_target *target,
                          const struct qh_mapping *mapping, uint64_t address,
                          uint64_t *ret_end);

/* core_memory.c */
struct qh_error *qh_core_read(struct qh_target *target, uint64_t address,
                              void *buffer, size_t bytes) QH_MUST_CHECK;
struct qh_error *qh_core_read_some(struct qh_target *target, uint64_t address,
                                   void *buffer, size_t bytes,
                                   size_t *ret_bytes) QH_MUST_CHECK;
void qh_core_close_images(struct qh_target *target);

/*
 * unzstd.c: unpacks a zstd stream into an unlinked temporary file (in TMPDIR,
 * else /var/tmp, else /tmp) and hands out its descriptor. A stream that is cut
 * short or damaged gives what comes before; `*ret_cut` then says so, static,
 * else it is NULL. Errors: SYSTEM (no room for it).
 */
struct qh_error *qh_unzstd(int packed, int *ret_fd,
                           const char **ret_cut) QH_MUST_CHECK;

#endif
