/* Which memory is worth keeping, and which must not be: by the map alone.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Guest RAM. QEMU asks of every block of it, ROMs and video memory included,
 * not to be copied into children (ram_block_add() of system/physmem.c,
 * MADV_DONTFORK), which smaps shows as "dc". Malloc's memory, stacks and
 * program data never have that. What is shared with others (memfd, files,
 * vhost-user) may be RAM as well, and is never anything else that counts but
 * for the rings of an io_uring. As a second fence, should a QEMU not ask: what
 * is large or was asked to be of huge pages or mergeable, and holds no stack,
 * no thread-local variables and no arena of malloc's. */
#include "capture/private.h"

#include <elf.h>
#include <string.h>

#define LARGE_BYTES (UINT64_C(64) << 20)
/* Where glibc lays its arenas: HEAP_MAX_SIZE of malloc/arena.c. */
#define ARENA_ALIGN (UINT64_C(64) << 20)
/* Holes in the map up to here are scanned across: fewer system calls. */
#define HOLE_BYTES (UINT64_C(16) << 20)

enum { MAX_PHDRS = 64, MAX_NOTE_BYTES = 1 << 16 };

/* What of a mapping is kept. */
enum keep {
    KEEP_NOTHING,
    KEEP_TOUCHED, /* pages that were written to */
    KEEP_COPIED,  /* pages that are no longer the file's */
    KEEP_ALL
};

static bool is_named(const struct qh_mapping *mapping, const char *name)
{
    return strcmp(mapping->path, name) == 0;
}

/* ---- what a mapping is ---- */

/* A thread's stack, or the thread-local variables at its top. */
static bool holds_thread(const struct qh_capture *capture,
                         const struct qh_mapping *mapping)
{
    size_t count;
    const struct qh_task *tasks = qh_target_tasks(capture->target, &count);

    for (size_t i = 0; i < count; i++) {
        uint64_t sp = tasks[i].regs.dwarf[QH_REG_RSP];
        uint64_t tls = tasks[i].fs_base;
        if (tasks[i].stop == QH_TASK_STOPPED &&
            ((sp >= mapping->start && sp < mapping->end) ||
             (tls >= mapping->start && tls < mapping->end))) {
            return true;
        }
    }
    return false;
}

/* struct heap_info of malloc/arena.c: ar_ptr, prev, size, mprotect_size. */
static bool is_arena(const struct qh_capture *capture,
                     const struct qh_mapping *mapping)
{
    uint64_t words[4], bytes = mapping->end - mapping->start;

    if (mapping->start % ARENA_ALIGN) {
        return false;
    }
    struct qh_error *error = qh_target_read(
        capture->target, qh_raddr(mapping->start), words, sizeof(words));
    bool is = !error && words[0] % ARENA_ALIGN < 256 && words[0] && words[2] &&
              words[2] <= words[3] && words[3] % QH_CAPTURE_PAGE == 0 &&
              words[3] <= bytes;
    qh_error_destroy(error);
    return is;
}

enum qh_reason qh_choose_forbids(const struct qh_capture *capture,
                                 const struct qh_mapping *mapping)
{
    unsigned flags;

    if (is_named(mapping, "[heap]") || is_named(mapping, "[stack]")) {
        return QH_OUT_NOT;
    }
    flags = qh_vm_flags(capture, mapping->start, mapping->end);
    if (flags & QH_VM_DONTFORK) {
        return QH_OUT_RAM;
    }
    return flags & QH_VM_DONTDUMP ? QH_OUT_UNDUMPED : QH_OUT_NOT;
}

/* The second fence; see above. */
static bool is_doubtful(const struct qh_capture *capture,
                        const struct qh_mapping *mapping)
{
    bool large = mapping->end - mapping->start >= LARGE_BYTES;
    bool special = qh_vm_flags(capture, mapping->start, mapping->end) &
                   (QH_VM_MERGEABLE | QH_VM_HUGE);

    return (large || special) && mapping->writable &&
           !is_named(mapping, "[heap]") && !is_named(mapping, "[stack]") &&
           !holds_thread(capture, mapping) && !is_arena(capture, mapping);
}

static enum qh_reason judge(const struct qh_capture *capture,
                            const struct qh_mapping *mapping)
{
    enum qh_reason forbids = qh_choose_forbids(capture, mapping);

    if (is_named(mapping, "[vdso]") ||
        is_named(mapping, "anon_inode:[io_uring]")) {
        return QH_OUT_NOT;
    }
    if (mapping->shared) {
        return QH_OUT_SHARED;
    }
    if (forbids) {
        return forbids;
    }
    if (mapping->executable && mapping->path[0] != '/') {
        return QH_OUT_CODE;
    }
    return is_doubtful(capture, mapping) ? QH_OUT_LARGE : QH_OUT_NOT;
}

/* Of a mapping that is not left out. */
static enum keep keep_of(const struct qh_mapping *mapping)
{
    if (is_named(mapping, "[vdso]") || mapping->shared) {
        return KEEP_ALL;
    }
    if (mapping->path[0] != '/') {
        return KEEP_TOUCHED;
    }
    return mapping->writable ? KEEP_ALL : KEEP_COPIED;
}

/* ---- the pages ---- */

struct qh_error *qh_choose_leave_out(struct qh_capture *capture, uint64_t start,
                                     uint64_t end, enum qh_reason why)
{
    QH_TRY(qh_array_reserve(&capture->left_out, &capture->left_out_room,
                            capture->left_out_count + 1,
                            sizeof(*capture->left_out)));
    capture->left_out[capture->left_out_count++] =
        (struct qh_left_out){ start, end, why };
    return NULL;
}

/* What nobody can read is nothing: neither kept nor left out. */
static struct qh_error *sort_out(struct qh_capture *capture,
                                 const struct qh_mapping *maps, size_t count,
                                 unsigned char *keeps)
{
    for (size_t i = 0; i < count; i++) {
        enum qh_reason why =
            maps[i].present_bytes ? judge(capture, &maps[i]) : QH_OUT_NOT;
        if (why) {
            QH_TRY(
                qh_choose_leave_out(capture, maps[i].start, maps[i].end, why));
        } else if (maps[i].present_bytes) {
            keeps[i] = (unsigned char)keep_of(&maps[i]);
        }
    }
    return NULL;
}

static struct qh_error *want(struct qh_capture *capture, uint64_t start,
                             uint64_t end)
{
    struct qh_touched_list *list = &capture->wanted;

    QH_TRY(qh_array_reserve(&list->items, &list->capacity, list->count + 1,
                            sizeof(*list->items)));
    list->items[list->count++] = (struct qh_touched){ start, end, false };
    return NULL;
}

static int by_address(const void *a, const void *b)
{
    const struct qh_touched *left = a, *right = b;

    return (left->start > right->start) - (left->start < right->start);
}

/* A file's first page may have been asked for twice. */
static void put_in_order(struct qh_touched_list *list)
{
    size_t kept = 0;

    if (list->count) {
        qsort(list->items, list->count, sizeof(*list->items), by_address);
    }
    for (size_t i = 0; i < list->count; i++) {
        struct qh_touched item = list->items[i];
        struct qh_touched *last = kept ? &list->items[kept - 1] : NULL;
        if (last && item.start < last->end) {
            last->end = item.end > last->end ? item.end : last->end;
        } else {
            list->items[kept++] = item;
        }
    }
    list->count = kept;
}

/* The first page of each mapped file: it may be an ELF header, without which
 * no debugger knows what is mapped. And the build-id, should it lie
 * elsewhere. */
static struct qh_error *want_of_file(struct qh_capture *capture,
                                     const struct qh_mapping *mapping)
{
    if (mapping->path[0] == '/' && !mapping->file_offset) {
        QH_TRY(want(capture, mapping->start, mapping->start + QH_CAPTURE_PAGE));
    }
    for (size_t i = 0; i < capture->extra_count; i++) {
        const struct qh_range *extra = &capture->extra[i];
        if (extra->start >= mapping->start && extra->end <= mapping->end) {
            QH_TRY(want(capture, extra->start, extra->end));
        }
    }
    return NULL;
}

/* What of the touched pages from `*at` on lies in the mapping. */
static struct qh_error *want_touched(struct qh_capture *capture,
                                     const struct qh_mapping *mapping,
                                     enum keep keep, size_t *at)
{
    const struct qh_touched_list *touched = &capture->touched;

    while (*at < touched->count && touched->items[*at].end <= mapping->start) {
        (*at)++;
    }
    for (size_t i = *at;
         i < touched->count && touched->items[i].start < mapping->end; i++) {
        const struct qh_touched *item = &touched->items[i];
        uint64_t start =
            item->start > mapping->start ? item->start : mapping->start;
        uint64_t end = item->end < mapping->end ? item->end : mapping->end;
        if (keep == KEEP_TOUCHED || !item->is_file) {
            QH_TRY(want(capture, start, end));
        }
    }
    return NULL;
}

/* Asks which pages are there, in few calls, never across what is left out. */
static struct qh_error *scan(struct qh_capture *capture,
                             const struct qh_mapping *maps, size_t count,
                             const unsigned char *keeps)
{
    struct qh_touched_list *touched = &capture->touched;
    struct qh_range span = { 0, 0 };

    touched->count = 0;
    for (size_t i = 0; i <= count; i++) {
        bool scanned =
            i < count && (keeps[i] == KEEP_TOUCHED || keeps[i] == KEEP_COPIED);
        bool breaks = i == count || maps[i].start - span.end > HOLE_BYTES ||
                      (!scanned && maps[i].present_bytes);
        if (breaks && span.end) {
            QH_TRY(
                qh_raw_touched(capture->target, span.start, span.end, touched));
            span = (struct qh_range){ 0, 0 };
        }
        if (scanned) {
            span.start = span.end ? span.start : maps[i].start;
            span.end = maps[i].end;
        }
    }
    return NULL;
}

struct qh_error *qh_choose(struct qh_capture *capture)
{
    size_t count, at = 0;
    const struct qh_mapping *maps = qh_target_mappings(capture->target, &count);
    QH_CLEANUP(qh_free_guard) unsigned char *keeps = calloc(count + 1, 1);

    if (!keeps) {
        return qh_error_no_memory();
    }
    capture->left_out_count = 0;
    capture->wanted.count = 0;
    QH_TRY(sort_out(capture, maps, count, keeps));
    QH_TRY(scan(capture, maps, count, keeps));
    for (size_t i = 0; i < count; i++) {
        if (keeps[i] == KEEP_ALL) {
            QH_TRY(want(capture, maps[i].start, maps[i].end));
        } else if (keeps[i] == KEEP_COPIED) {
            QH_TRY(want_of_file(capture, &maps[i]));
            QH_TRY(want_touched(capture, &maps[i], KEEP_COPIED, &at));
        } else if (keeps[i] == KEEP_TOUCHED) {
            QH_TRY(want_touched(capture, &maps[i], KEEP_TOUCHED, &at));
        }
    }
    put_in_order(&capture->wanted);
    return NULL;
}

/* ---- build-ids ---- */

static struct qh_error *add_extra(struct qh_capture *capture, uint64_t start,
                                  uint64_t end)
{
    QH_TRY(qh_array_reserve(&capture->extra, &capture->extra_room,
                            capture->extra_count + 1, sizeof(*capture->extra)));
    capture->extra[capture->extra_count++] = (struct qh_range){ start, end };
    return NULL;
}

/* Pages with notes, but for the first one, which is kept anyway. What cannot be
 * read has no build-id to be kept. */
static struct qh_error *find_notes(struct qh_capture *capture,
                                   const struct qh_module *module)
{
    const uint64_t page = -(uint64_t)QH_CAPTURE_PAGE;
    Elf64_Phdr phdrs[MAX_PHDRS];
    Elf64_Ehdr header;
    uint64_t bias = module->start;
    struct qh_error *error = qh_target_read(
        capture->target, qh_raddr(module->start), &header, sizeof(header));

    if (!error && memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
        header.e_phentsize == sizeof(phdrs[0]) && header.e_phnum <= MAX_PHDRS) {
        error = qh_target_read(capture->target,
                               qh_raddr(module->start + header.e_phoff), phdrs,
                               header.e_phnum * sizeof(phdrs[0]));
    } else {
        header.e_phnum = 0;
    }
    for (unsigned i = 0; !error && i < header.e_phnum; i++) {
        if (phdrs[i].p_type == PT_LOAD) {
            bias -= phdrs[i].p_vaddr & page;
            break;
        }
    }
    for (unsigned i = 0; !error && i < header.e_phnum; i++) {
        uint64_t start = (bias + phdrs[i].p_vaddr) & page;
        uint64_t end = bias + phdrs[i].p_vaddr + phdrs[i].p_memsz;
        if (phdrs[i].p_type == PT_NOTE && phdrs[i].p_memsz <= MAX_NOTE_BYTES &&
            start > module->start) {
            QH_TRY(
                add_extra(capture, start, (end + QH_CAPTURE_PAGE - 1) & page));
        }
    }
    qh_error_destroy(error);
    return NULL;
}

struct qh_error *qh_choose_build_ids(struct qh_capture *capture)
{
    size_t count;
    const struct qh_module *modules =
        qh_target_modules(capture->target, &count);

    for (size_t i = 0; i < count; i++) {
        QH_TRY(find_notes(capture, &modules[i]));
    }
    return NULL;
}
