/* One sample in the making: what the readers of qemu/ share.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Private to qemu/. A sample is read in two halves. While the target stands
 * still: registers, thread-local variables, objects, and a copy of the stacks
 * (in the target's page cache). After it runs on: stacks are walked on the
 * copies, and what only a frame can tell is filled in.
 *
 * A reader returns an error for the first thing that it cannot read;
 * QH_NOTE() turns that into a gap of the snapshot and goes on with the rest.
 */
#ifndef QH_QEMU_READER_H
#define QH_QEMU_READER_H

#include "qemu/layout.h"
#include "qemu/qemu.h"
#include "target/target.h"

/* A coroutine's stack that does not name its CoroutineUContext itself (clang),
 * and where a search through the heap found it. */
struct qh_hint {
    uint64_t stack;        /* start of the stack, its guard page */
    struct raddr ucontext; /* 0: not found */
};

/* A suspended coroutine that nothing was seen to refer to; see references.c. */
struct qh_suspect {
    struct raddr coroutine;
    uint64_t sp, pc; /* where it yielded */
};

/* A frame of a thread that sleeps in its loop's poll; see references_frames.c.
 */
struct qh_poll_frame {
    pid_t tid;
    uint64_t sp, pc; /* the thread's */
    uint64_t start, cfa, return_address;
};

/* A register of its creator's that a coroutine has saved; see there. */
struct qh_stale_word {
    uint64_t at, value;
};

/* Parts of the target's memory, gathered for qh_target_prefetch(). */
struct qh_ranges {
    struct qh_range *items; /* malloc'd; qh_ranges_guard() frees them */
    size_t count, room;
};
struct qh_error *qh_ranges_add(struct qh_ranges *ranges, uint64_t start,
                               uint64_t end) QH_MUST_CHECK;
void qh_ranges_guard(struct qh_ranges *ranges);

struct qh_qemu {
    struct qh_target *target;
    struct qh_debug *debug;
    struct qh_layout layout;
    struct qh_hint *hints; /* sorted by stack; malloc'd */
    size_t hint_count;
    size_t hint_room;
    struct qh_ranges wanted;     /* what the waits of the last sample lie in */
    struct qh_suspect *suspects; /* of the last sample; malloc'd */
    size_t suspect_count, suspect_room;
    struct qh_poll_frame *poll_frames; /* of the last sample; malloc'd */
    size_t poll_frame_count, poll_frame_room;
    struct qh_stale_word *stale_words; /* likewise */
    uint64_t
        start_bytes; /* at a stack's top, of coroutine_trampoline(); or 0 */
    size_t stale_word_count, stale_word_room;
    /* What searches may still read besides heap and arenas, in bytes. */
    uint64_t search_budget;
};

/* A walked stack: several parts, where a thread is inside of coroutines. */
struct qh_walk {
    struct qh_unwound_stack *parts;
    size_t part_count, part_room;
    struct qh_backtrace *lines; /* the lines of all parts, in the snapshot */
    size_t *part_of;            /* for each line, its part */
    size_t line_room, part_of_count, part_of_room;
};

/* What a thread has besides its place in the snapshot. */
struct qh_thread_work {
    const struct qh_task *task;
    struct raddr current;    /* co_tls_current, 0: none */
    struct raddr leader;     /* address of co_tls_leader, 0: not known */
    struct raddr local_pool; /* first batch (or coroutine) of its pool */
    struct qh_walk walk;
};

struct qh_coroutine_work {
    struct raddr ucontext;
    struct qh_walk walk;
};

/* Texts by address, so that what a thousand coroutines share is looked up
 * once: a direct-mapped cache, whose entries live in the snapshot's arena. */
enum { QH_MEMO_SLOTS = 256 };
struct qh_memo {
    struct {
        struct raddr address;
        const char *text;
    } slots[QH_MEMO_SLOTS];
};

/* Guest RAM. `known`: all of it is in `blocks`, or there is none. */
struct qh_ram {
    struct qh_range *blocks;
    size_t count, room;
    bool known;
};

struct qh_reader {
    struct qh_qemu *qemu;
    struct qh_target *target;
    const struct qh_layout *layout;
    struct qh_snapshot *snapshot;
    /* Parallel to snapshot->threads and snapshot->coroutines. */
    struct qh_thread_work *threads;
    struct qh_coroutine_work *coroutines;
    size_t threads_room, coroutines_room;
    uint64_t nodes; /* come to by all walks along links so far */
    struct qh_memo functions, strings;
    struct qh_ram ram;
    uint64_t pointer_guard;
    bool has_pointer_guard;
    /* Stacks whose CoroutineUContext is not known yet, sorted. */
    uint64_t *unresolved;
    size_t unresolved_count, unresolved_room;
};

/* Turns an error into a gap; only what qh_snapshot_gap_error() hands back goes
 * on to the caller. */
#define QH_NOTE(reader, what, expression)                                      \
    QH_TRY(qh_snapshot_gap_error((reader)->snapshot, (what), (expression)))

/* ---- values (value.c) ---- */

bool qh_has_field(const struct qh_reader *reader, enum qh_field_id id);
struct raddr qh_symbol(const struct qh_reader *reader, enum qh_symbol_id id);
/* Address of member `id` of the object at `object`. */
struct raddr qh_field_at(const struct qh_reader *reader, struct raddr object,
                         enum qh_field_id id);
/* An integer or pointer member, sign-extended where its type is signed.
 * ABSENT when the build has no such member. */
struct qh_error *qh_read_field(struct qh_reader *reader, struct raddr object,
                               enum qh_field_id id,
                               uint64_t *ret) QH_MUST_CHECK;
struct qh_error *qh_read_link(struct qh_reader *reader, struct raddr object,
                              enum qh_field_id id,
                              struct raddr *ret) QH_MUST_CHECK;
/*
 * A copy of an object from its start to member `last` and `more` bytes of that,
 * for one of which much is read: a look-up in the page cache for each member
 * adds up when there are 10,000 of them. A member that is not in the image is
 * read from the target.
 */
struct qh_image {
    struct raddr at;
    size_t bytes;
    unsigned char data[512];
};
struct qh_error *qh_read_image(struct qh_reader *reader, struct raddr object,
                               enum qh_field_id last, size_t more,
                               struct qh_image *ret) QH_MUST_CHECK;
struct qh_error *qh_image_field(struct qh_reader *reader,
                                const struct qh_image *image,
                                struct raddr object, enum qh_field_id id,
                                uint64_t *ret) QH_MUST_CHECK;
/* The pointer, or the 32-bit integer, at an address. */
struct qh_error *qh_read_pointer(struct qh_reader *reader, struct raddr address,
                                 struct raddr *ret) QH_MUST_CHECK;
struct qh_error *qh_read_u32(struct qh_reader *reader, struct raddr address,
                             uint32_t *ret) QH_MUST_CHECK;
/* A C string of at most QH_MAX_STRING bytes, in the snapshot's arena; NULL
 * when `address` is 0, unreadable or not terminated within that. */
enum { QH_MAX_STRING = 256 };
const char *qh_read_string(struct qh_reader *reader, struct raddr address);
/* The name of the function at a code address, or NULL. */
const char *qh_function_name(struct qh_reader *reader, struct raddr code);

/*
 * Guards a walk along links: zero-initialise, and ask before each node. A loop
 * is found by Brent's method, so the cost is one comparison a node.
 * INCONSISTENT when the walk came back to a node, or all walks of this sample
 * together have come to more nodes than any QEMU has.
 */
struct qh_loop_guard {
    uint64_t count, power;
    struct raddr anchor;
};
struct qh_error *qh_loop_check(struct qh_reader *reader,
                               struct qh_loop_guard *guard,
                               struct raddr node) QH_MUST_CHECK;

/* ---- before it is stopped ---- */

/* Has the memory ready that a sample of so many stacks takes: to be given
 * memory by the kernel page by page costs more than to read the target. */
struct qh_error *qh_make_room(struct qh_reader *reader) QH_MUST_CHECK;

/* ---- readers: while the target stands still ---- */

struct qh_error *qh_read_ram(struct qh_reader *reader) QH_MUST_CHECK;
/* Whether [start, end) overlaps guest RAM, as far as that is known. */
bool qh_is_ram(const struct qh_reader *reader, uint64_t start, uint64_t end);
struct qh_error *qh_read_threads(struct qh_reader *reader) QH_MUST_CHECK;
struct qh_error *qh_read_contexts(struct qh_reader *reader) QH_MUST_CHECK;
/* The worker threads of a context (pool.c). */
struct qh_error *qh_read_pool(struct qh_reader *reader,
                              struct qh_context *context) QH_MUST_CHECK;
/* Whether the kernel made it, for an io_uring: it never runs code of the
 * program's, and has the fs_base of the thread that submitted, whose
 * thread-local variables are not its own. */
bool qh_is_kernel_worker(const struct qh_task *task);
/* The timers of one QEMUTimerListGroup's array; `context` 0: main loop. */
struct qh_error *qh_read_timer_group(struct qh_reader *reader,
                                     struct raddr lists,
                                     struct raddr context) QH_MUST_CHECK;
struct qh_error *qh_read_coroutines(struct qh_reader *reader) QH_MUST_CHECK;
struct qh_error *qh_read_sleepers(struct qh_reader *reader) QH_MUST_CHECK;
struct qh_error *qh_read_locks(struct qh_reader *reader) QH_MUST_CHECK;
struct qh_error *qh_read_monitors(struct qh_reader *reader) QH_MUST_CHECK;
/* Copies the live part of every stack into the page cache. */
struct qh_error *qh_copy_stacks(struct qh_reader *reader) QH_MUST_CHECK;
/* Copies what the innermost frames of coroutines point to; stacks come first.
 */
struct qh_error *qh_copy_pointees(struct qh_reader *reader) QH_MUST_CHECK;
/* The same of what the waits of the last sample were read from. */
struct qh_error *qh_prefetch_waits(struct qh_reader *reader) QH_MUST_CHECK;
/* Whether anything refers to the suspects of the last sample; comes last. */
struct qh_error *qh_search_suspects(struct qh_reader *reader) QH_MUST_CHECK;
/* The registers that a CoroutineUContext's jmp_buf holds; ABSENT when no
 * thread told the pointer guard. */
struct qh_error *qh_read_env(struct qh_reader *reader, struct raddr ucontext,
                             struct qh_registers *ret) QH_MUST_CHECK;

/* ---- after it runs on ---- */

/* Looks through the heap for the CoroutineUContexts of the unresolved stacks,
 * never through guest RAM, and leaves what it finds in the hints. */
struct qh_error *qh_search_contexts(struct qh_reader *reader) QH_MUST_CHECK;
/* Walks every stack; sets the backtraces and the coroutines' last states. */
struct qh_error *qh_walk_stacks(struct qh_reader *reader) QH_MUST_CHECK;
/* Roles, and what each thread waits in. */
struct qh_error *qh_judge_threads(struct qh_reader *reader) QH_MUST_CHECK;
/* The sleepers that no timer leads to, times left, who waits for whom. */
struct qh_error *qh_finish_sleepers(struct qh_reader *reader) QH_MUST_CHECK;
struct qh_error *qh_finish_locks(struct qh_reader *reader) QH_MUST_CHECK;
/* What each suspended coroutine waits for, into the snapshot's waits. */
struct qh_error *qh_find_co_waits(struct qh_reader *reader) QH_MUST_CHECK;
/* Whether anything refers to those for which no reader has found a waker: of a
 * target that runs on, whom the next sample has to suspect. */
struct qh_error *qh_search_references(struct qh_reader *reader) QH_MUST_CHECK;
/* Notes queues of coroutines that run in a circle. */
struct qh_error *qh_check_queues(struct qh_reader *reader) QH_MUST_CHECK;
struct qh_error *qh_find_qmp_command(struct qh_reader *reader) QH_MUST_CHECK;
/* What each thread waits for: wait.h. */
struct qh_error *qh_read_thread_waits(struct qh_reader *reader) QH_MUST_CHECK;
struct qh_error *qh_measure_blocked(struct qh_reader *reader) QH_MUST_CHECK;

/* ---- stacks (stack.c) ---- */

/* The registers that a thread that is inside of a coroutine will go on with,
 * below it; `known` is 0 when it is inside of none. */
struct qh_error *qh_read_below(struct qh_reader *reader,
                               const struct qh_thread_work *work,
                               struct qh_registers *ret) QH_MUST_CHECK;

/* The value of a parameter or local of the innermost frame of `function` on
 * the walked stack; `function` may be inlined. ABSENT when it can't be told. */
struct qh_error *qh_walk_value(struct qh_reader *reader,
                               const struct qh_walk *walk, const char *function,
                               const char *name, uint64_t *ret) QH_MUST_CHECK;
/* The same, its address; ABSENT for one kept in a register. */
struct qh_error *qh_walk_address(struct qh_reader *reader,
                                 const struct qh_walk *walk,
                                 const char *function, const char *name,
                                 struct raddr *ret) QH_MUST_CHECK;
/* As qh_walk_value(); false instead of an error. */
bool qh_walk_knows(struct qh_reader *reader, const struct qh_walk *walk,
                   const char *function, const char *name, uint64_t *ret);

/* ---- the qcow2 cache cleaner (qcow2.c) ---- */

/* Fills sleeper->cleaner when its coroutine is one; while stopped. */
struct qh_error *qh_read_cleaner(struct qh_reader *reader,
                                 const struct qh_coroutine *coroutine,
                                 struct qh_sleeper *sleeper) QH_MUST_CHECK;
/* Finds the thread that waits for it; after the stop. */
void qh_find_cleaner_waiter(struct qh_reader *reader,
                            struct qh_sleeper *sleeper);

/* The other users of a sleep (sleep_users.c); after the stop. */
struct qh_error *qh_find_sleep_user(struct qh_reader *reader,
                                    const struct qh_coroutine *coroutine,
                                    struct qh_sleeper *sleeper) QH_MUST_CHECK;

/* The coroutine (its index) on whose stack `address` lies, or SIZE_MAX. */
size_t qh_coroutine_by_stack(const struct qh_reader *reader,
                             struct raddr address);
/* The coroutine (its index) at `address`, or SIZE_MAX. */
size_t qh_coroutine_index(const struct qh_reader *reader, struct raddr address);
/* The coroutines waiting in the CoQueue at `queue`, into the arena. */
struct qh_error *qh_read_queue(struct qh_reader *reader, struct raddr queue,
                               struct raddr **ret,
                               size_t *ret_count) QH_MUST_CHECK;

#endif
