/* The small core: all that a later diagnosis needs, and never guest RAM.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Needs no debug information: what is worth keeping is told from the memory
 * map, from which pages were ever touched, and from where the stacks and the
 * thread-local variables lie (choose.c). The memory is read twice: once while
 * the target runs, so that the buffer is faulted in and swapped pages are back,
 * and once, fast, while it stands still (pages.c). Everything else, zeros
 * dropped, notes made and the file written, happens after it runs on.
 *
 * The file is an ELF core as gdb and elfutils read it, with two notes of
 * qhang's own (target/note.h) by which a diagnosis of it comes to the very
 * findings that one of the process would have come to at that instant. It has
 * mode 0600, takes no other file's place, and is there as a whole, on stable
 * storage, or not at all (file.c).
 */
#ifndef QH_CAPTURE_H
#define QH_CAPTURE_H

#include "target/target.h"

struct qh_capture_options {
    const char *tool_version;
    /* Called while the target runs, as the work goes on; may be NULL. */
    void (*progress)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
};

struct qh_capture_result {
    uint64_t file_bytes;
    int64_t pause_ns;       /* the longest stop */
    size_t thread_count;    /* in the core */
    size_t unstopped_count; /* of them, without all registers */
    uint64_t ram_bytes;     /* left out: guest RAM, and what may be that */
    uint64_t unreadable_bytes;
};

/*
 * Captures the live `target` into the new file `path`. Errors: those of the
 * stop; SYSTEM with the path (it exists, no room, no right to write there), a
 * kernel that does not tell which memory is the guest's. Whatever the error,
 * the target runs and there is no file.
 */
struct qh_error *qh_capture(struct qh_target *target, const char *path,
                            const struct qh_capture_options *options,
                            struct qh_capture_result *ret) QH_MUST_CHECK;

/*
 * A handle on the very process of `target`, to be signalled later: whatever
 * process gets its pid then is not meant. The caller closes it. Errors: EXITED,
 * SYSTEM.
 */
struct qh_error *qh_kill_prepare(struct qh_target *target,
                                 int *ret_fd) QH_MUST_CHECK;
/* Sends `signal`. Errors: EXITED, PERMISSION. */
struct qh_error *qh_kill(int fd, pid_t pid, int signal) QH_MUST_CHECK;

#endif
