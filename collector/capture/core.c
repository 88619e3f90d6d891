/* The ELF file: headers, notes, then the memory.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Every mapping has its PT_LOADs, one for each piece that is stored; what
 * follows a piece up to the next one belongs to it as MemSz beyond FileSz,
 * which tools know as "not in the core" from the kernel's cores. Notes come
 * first, so that a file that was cut short still tells its threads. From 65535
 * segments on their number stands in the first section header (ELF gABI,
 * PN_XNUM). */
#include "capture/private.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { WRITE_BYTES = 4 << 20 };

struct segments {
    Elf64_Phdr *items; /* malloc'd */
    size_t count, room;
};

static void segments_deinit(struct segments *segments)
{
    free(segments->items);
}

static struct qh_error *add(struct segments *segments, Elf64_Phdr phdr)
{
    QH_TRY(qh_array_reserve(&segments->items, &segments->room,
                            segments->count + 1, sizeof(*segments->items)));
    segments->items[segments->count++] = phdr;
    return NULL;
}

static uint32_t flags_of(const struct qh_mapping *mapping)
{
    return (mapping->readable ? PF_R : 0u) | (mapping->writable ? PF_W : 0u) |
           (mapping->executable ? PF_X : 0u);
}

/* Nothing of [start, end) is stored. Neighbours without a file go together. */
static struct qh_error *add_absent(struct segments *segments,
                                   const struct qh_mapping *mapping,
                                   uint64_t start, uint64_t end)
{
    Elf64_Phdr *last =
        segments->count ? &segments->items[segments->count - 1] : NULL;

    if (last && !mapping->path[0] && !last->p_filesz &&
        last->p_vaddr + last->p_memsz == start &&
        last->p_flags == flags_of(mapping)) {
        last->p_memsz += end - start;
        return NULL;
    }
    return add(segments, (Elf64_Phdr){
                             .p_type = PT_LOAD,
                             .p_flags = flags_of(mapping),
                             .p_vaddr = start,
                             .p_memsz = end - start,
                             .p_align = QH_CAPTURE_PAGE,
                         });
}

/* The runs from `*at` on that lie in the mapping. A run of two mappings, which
 * were next to each other, is cut in two. */
static struct qh_error *add_mapping(const struct qh_capture *capture,
                                    const struct qh_mapping *mapping,
                                    struct segments *segments, size_t *at)
{
    uint64_t reached = mapping->start;

    while (*at < capture->run_count &&
           capture->runs[*at].start < mapping->end) {
        const struct qh_run *run = &capture->runs[*at];
        uint64_t end = run->start + run->bytes;
        uint64_t start = run->start > reached ? run->start : reached;
        uint64_t until = end < mapping->end ? end : mapping->end;
        if (start > reached && reached == mapping->start) {
            QH_TRY(add_absent(segments, mapping, reached, start));
        } else if (start > reached) {
            segments->items[segments->count - 1].p_memsz += start - reached;
        }
        if (until > start) {
            QH_TRY(add(segments,
                       (Elf64_Phdr){
                           .p_type = PT_LOAD,
                           .p_flags = flags_of(mapping),
                           .p_offset = run->offset + (start - run->start),
                           .p_vaddr = start,
                           .p_filesz = until - start,
                           .p_memsz = until - start,
                           .p_align = QH_CAPTURE_PAGE,
                       }));
            reached = until;
        }
        if (end > mapping->end) {
            return NULL; /* goes on in the next mapping */
        }
        (*at)++;
    }
    if (reached == mapping->start) {
        return add_absent(segments, mapping, reached, mapping->end);
    }
    segments->items[segments->count - 1].p_memsz += mapping->end - reached;
    return NULL;
}

static struct qh_error *make_segments(const struct qh_capture *capture,
                                      struct segments *segments)
{
    size_t count, at = 0;
    const struct qh_mapping *maps = qh_target_mappings(capture->target, &count);

    QH_TRY(add(segments, (Elf64_Phdr){ .p_type = PT_NOTE, .p_align = 4 }));
    for (size_t i = 0; i < count; i++) {
        QH_TRY(add_mapping(capture, &maps[i], segments, &at));
    }
    return NULL;
}

/* Until here p_offset is the place in the buffer. Gives the file's size. */
static uint64_t lay_out(struct segments *segments, uint64_t notes_at,
                        size_t notes_bytes)
{
    uint64_t at = notes_at + notes_bytes + QH_CAPTURE_PAGE - 1;

    at -= at % QH_CAPTURE_PAGE;
    segments->items[0].p_offset = notes_at;
    segments->items[0].p_filesz = notes_bytes;
    for (size_t i = 1; i < segments->count; i++) {
        segments->items[i].p_offset = at;
        at += segments->items[i].p_filesz;
    }
    return at;
}

static Elf64_Ehdr make_header(size_t phnum, uint64_t shoff)
{
    Elf64_Ehdr header = {
        .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
                     ELFDATA2LSB, EV_CURRENT },
        .e_type = ET_CORE,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_phoff = sizeof(header),
        .e_ehsize = sizeof(header),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = phnum < PN_XNUM ? (Elf64_Half)phnum : PN_XNUM,
    };

    if (phnum >= PN_XNUM) {
        header.e_shoff = shoff;
        header.e_shentsize = sizeof(Elf64_Shdr);
        header.e_shnum = 1;
    }
    return header;
}

/* Where the writing has come to. */
struct writer {
    const struct qh_capture *capture;
    const struct qh_new_file *file;
    uint64_t done, total;
};

static struct qh_error *write_all(struct writer *writer, const void *bytes,
                                  uint64_t count)
{
    const struct qh_capture_options *options = writer->capture->options;
    const char *at = bytes;

    while (count) {
        ssize_t got = write(writer->file->fd, at,
                            count < WRITE_BYTES ? count : WRITE_BYTES);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return qh_new_file_failed(writer->file, got ? errno : ENOSPC,
                                      "cannot write");
        }
        at += got;
        count -= (uint64_t)got;
        writer->done += (uint64_t)got;
        if (options->progress) {
            options->progress(options->opaque, writer->done, writer->total);
        }
    }
    return NULL;
}

static struct qh_error *write_head(struct writer *writer,
                                   const struct segments *segments,
                                   uint64_t notes_at)
{
    uint64_t shoff = sizeof(Elf64_Ehdr) + segments->count * sizeof(Elf64_Phdr);
    Elf64_Ehdr header = make_header(segments->count, shoff);
    Elf64_Shdr number = { .sh_info = (Elf64_Word)segments->count };

    QH_TRY(write_all(writer, &header, sizeof(header)));
    QH_TRY(write_all(writer, segments->items,
                     segments->count * sizeof(Elf64_Phdr)));
    return notes_at > shoff ? write_all(writer, &number, sizeof(number)) : NULL;
}

/* The runs are in the order of the segments, and so is the file. */
static struct qh_error *write_memory(struct writer *writer)
{
    const struct qh_capture *capture = writer->capture;

    for (size_t i = 0; i < capture->run_count; i++) {
        const struct qh_run *run = &capture->runs[i];
        QH_TRY(write_all(writer, capture->buffer + run->offset, run->bytes));
    }
    return NULL;
}

struct qh_error *qh_core_write(struct qh_capture *capture,
                               const struct qh_new_file *file,
                               uint64_t *ret_bytes)
{
    static const char padding[QH_CAPTURE_PAGE];
    QH_CLEANUP(segments_deinit) struct segments segments = { 0 };
    struct writer writer = { .capture = capture, .file = file };
    void *notes;
    size_t notes_bytes;

    QH_TRY(qh_notes_make(capture, &notes, &notes_bytes));
    QH_TRY(make_segments(capture, &segments));
    uint64_t notes_at = sizeof(Elf64_Ehdr) +
                        segments.count * sizeof(Elf64_Phdr) +
                        (segments.count >= PN_XNUM ? sizeof(Elf64_Shdr) : 0);
    writer.total = lay_out(&segments, notes_at, notes_bytes);
    QH_TRY(write_head(&writer, &segments, notes_at));
    QH_TRY(write_all(&writer, notes, notes_bytes));
    QH_TRY(write_all(&writer, padding, -writer.done % QH_CAPTURE_PAGE));
    QH_TRY(write_memory(&writer));
    *ret_bytes = writer.done;
    return NULL;
}
