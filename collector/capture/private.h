/* One capture in the making: what the files of this room share.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_CAPTURE_PRIVATE_H
#define QH_CAPTURE_PRIVATE_H

#include "capture/capture.h"
#include "target/raw.h"

#include <stdio.h>

enum { QH_CAPTURE_PAGE = 4096 };

/* Of VmFlags in /proc/PID/smaps, what matters here. */
enum {
    QH_VM_DONTFORK = 1,  /* "dc": QEMU's guest RAM, and nearly nothing else */
    QH_VM_DONTDUMP = 2,  /* "dd": nobody wants it in a core */
    QH_VM_MERGEABLE = 4, /* "mg" */
    QH_VM_HUGE = 8,      /* "hg" */
};

struct qh_vm {
    uint64_t start, end;
    unsigned flags;
};

/* Memory that was read: `bytes` at `start`, lying at `offset` of the buffer. */
struct qh_run {
    uint64_t start;
    uint64_t bytes;
    uint64_t offset;
};

/* Why memory is left out; X(constant, text in the facts) */
#define QH_REASONS(X)                                                          \
    X(QH_OUT_RAM, "guest RAM")                                                 \
    X(QH_OUT_LARGE, "large, may be guest RAM")                                 \
    X(QH_OUT_SHARED, "shared memory")                                          \
    X(QH_OUT_CODE, "generated code")                                           \
    X(QH_OUT_UNDUMPED, "not to be dumped")                                     \
    X(QH_OUT_UNREADABLE, "unreadable") /* was meant to be kept */

enum qh_reason {
    QH_OUT_NOT,
#define QH_REASON(constant, text) constant,
    QH_REASONS(QH_REASON)
#undef QH_REASON
};

struct qh_left_out {
    uint64_t start, end;
    enum qh_reason why;
};

struct qh_capture {
    struct qh_target *target;
    const struct qh_capture_options *options;
    struct qh_arena arena;

    struct qh_vm *vms; /* malloc'd, in order of address */
    size_t vm_count, vm_room;
    /* What to read besides: build-ids outside of a file's first page. */
    struct qh_range *extra;
    size_t extra_count, extra_room;
    struct qh_touched_list touched; /* what the kernel tells is there */
    struct qh_touched_list wanted;  /* what is to be read */

    unsigned char *buffer; /* mmap'd */
    uint64_t buffer_bytes;
    uint64_t used_bytes;
    struct qh_run *runs; /* malloc'd, in order of address */
    size_t run_count, run_room;
    struct qh_left_out *left_out; /* malloc'd, in order of address */
    size_t left_out_count, left_out_room;

    struct qh_eventfd *eventfds;
    size_t eventfd_count;
    const char *maps_before; /* text, from before the stop */
    const char *maps;        /* as of the stop */
    /* Files of /proc/PID, read before the stop: it may be the end of it. */
    char *status, *arguments, *auxv;
    size_t arguments_bytes, auxv_bytes;
    int64_t monotonic_ns, realtime_ns;
    int64_t pause_ns;
};

/* vmflags.c: reads VmFlags anew, on top of what is known. SYSTEM where the
 * kernel does not tell them. */
struct qh_error *qh_vm_learn(struct qh_capture *capture) QH_MUST_CHECK;
/* The flags of all areas that [start, end) overlaps, as far as known. */
unsigned qh_vm_flags(const struct qh_capture *capture, uint64_t start,
                     uint64_t end);

/* choose.c: finds the pages with build-ids; the target may run. */
struct qh_error *qh_choose_build_ids(struct qh_capture *capture) QH_MUST_CHECK;
/* Sets `wanted` and `left_out` for the memory map as it is now. */
struct qh_error *qh_choose(struct qh_capture *capture) QH_MUST_CHECK;
/* Why a mapping must not be kept, whatever is in it, if it must not. */
enum qh_reason qh_choose_forbids(const struct qh_capture *capture,
                                 const struct qh_mapping *mapping);
struct qh_error *qh_choose_leave_out(struct qh_capture *capture, uint64_t start,
                                     uint64_t end,
                                     enum qh_reason why) QH_MUST_CHECK;

/* pages.c: reads `wanted` into the buffer, making `runs`. */
struct qh_error *qh_pages_read(struct qh_capture *capture) QH_MUST_CHECK;
/* Takes off pages of zeros, and what has turned out not to be kept. */
struct qh_error *qh_pages_prune(struct qh_capture *capture) QH_MUST_CHECK;
uint64_t qh_pages_total(const struct qh_capture *capture);

/* notes.c: reads what of the notes is known before the stop. */
struct qh_error *qh_notes_prepare(struct qh_capture *capture) QH_MUST_CHECK;
/* The notes, in the arena. */
struct qh_error *qh_notes_make(struct qh_capture *capture, void **ret,
                               size_t *ret_bytes) QH_MUST_CHECK;
/* facts.c: the text of the note of facts, in the arena. */
struct qh_error *qh_facts_make(struct qh_capture *capture,
                               const char **ret) QH_MUST_CHECK;

/*
 * file.c: a new file that has no name until it is whole. Opened in the folder
 * of `path`; where the file system has no O_TMPFILE it has a name of its own
 * meanwhile, beginning with a dot.
 */
struct qh_new_file {
    const char *path;
    int folder;
    int fd;
    char temporary[64]; /* "" for none */
};
struct qh_error *qh_new_file_open(const char *path,
                                  struct qh_new_file *ret) QH_MUST_CHECK;
/* An error when the file system has not so much room. */
struct qh_error *qh_new_file_room(const struct qh_new_file *file,
                                  uint64_t bytes) QH_MUST_CHECK;
/* Brings it to stable storage and gives it its name. */
struct qh_error *qh_new_file_commit(struct qh_new_file *file) QH_MUST_CHECK;
void qh_new_file_guard(struct qh_new_file *file);
/* "WHAT PATH: text of `errnum`", with what to try. */
struct qh_error *qh_new_file_failed(const struct qh_new_file *file, int errnum,
                                    const char *what) QH_MUST_CHECK;

/* core.c: writes it all to the file; `*ret_bytes` is the file's size. */
struct qh_error *qh_core_write(struct qh_capture *capture,
                               const struct qh_new_file *file,
                               uint64_t *ret_bytes) QH_MUST_CHECK;

#endif
