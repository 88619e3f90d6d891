/* What every room of the collector needs: errors, addresses, guards, memory.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Errors. A function that can fail returns `struct qh_error *`: NULL is
 * success, anything else is owned by the caller, who returns it, reports it or
 * destroys it. Its results are its last parameters, named `ret...`, and are
 * written only on success. An error carries what failed (code and message),
 * where (path, tid, address, errno: as far as they are known) and what to try
 * next. Running out of memory is one static object, so that reporting it needs
 * none; every function here accepts it.
 *
 * Addresses. An address in the target is a `struct raddr`, so that it can
 * neither be dereferenced here nor be mixed up with a number.
 *
 * Memory. What lives as long as one sample comes from an arena and dies with
 * it at once; the rest is plain malloc with a scope guard.
 */
#ifndef QH_BASE_H
#define QH_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

#define QH_MUST_CHECK __attribute__((warn_unused_result))
#define QH_PRINTF(f, a) __attribute__((format(printf, f, a)))
/* Runs `fn(&variable)` when the variable leaves its scope. */
#define QH_CLEANUP(fn) __attribute__((cleanup(fn)))
#define QH_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* One line an error code: code, name in JSON, and the text that is printed
 * when the error itself brings no better advice. */
#define QH_ERROR_CODES(X)                                                      \
    X(QH_ERR_MEMORY, "memory", "free some memory and run qhang again")         \
    X(QH_ERR_USAGE, "usage", "see `qhang --help`")                             \
    X(QH_ERR_NO_PROCESS, "no-process", "check the pid with `ps -e`")           \
    X(QH_ERR_EXITED, "exited", "nothing is left to examine; look for a core")  \
    X(QH_ERR_NOT_QEMU, "not-qemu",                                             \
      "give the pid of a qemu-system-*, qemu-storage-daemon or qemu-nbd")      \
    X(QH_ERR_TRACED, "traced", "detach the other tracer, or use its core")     \
    X(QH_ERR_NOT_HELD, "not-held", "stop all of its threads first")            \
    X(QH_ERR_BAD_REGISTERS, "bad-registers",                                   \
      "see qhang-diagnose(1) for what --registers reads")                      \
    X(QH_ERR_PERMISSION, "permission",                                         \
      "run it with sudo, or give qhang CAP_SYS_PTRACE")                        \
    X(QH_ERR_UNREADABLE, "unreadable", "the memory is not there to be read")   \
    X(QH_ERR_INCONSISTENT, "inconsistent",                                     \
      "the memory contradicts itself; run it again, or on a core")             \
    X(QH_ERR_ABSENT, "absent", "this build of QEMU has no such thing")         \
    X(QH_ERR_NO_DEBUGINFO, "no-debuginfo",                                     \
      "install the debug symbols of exactly this build")                       \
    X(QH_ERR_BAD_DEBUGINFO, "bad-debuginfo",                                   \
      "reinstall the debug symbols of exactly this build")                     \
    X(QH_ERR_BAD_CORE, "bad-core", "take a new core with gcore")               \
    X(QH_ERR_WRONG_EXE, "wrong-exe",                                           \
      "give the very executable that made the core with --exe")                \
    X(QH_ERR_ARCH, "architecture", "qhang reads x86-64 processes and cores")   \
    X(QH_ERR_REFUSED, "refused",                                               \
      "nothing was written; keep a core with `qhang capture`, and look there") \
    X(QH_ERR_SYSTEM, "system", "see the error of the system above")

enum qh_error_code {
#define QH_ERROR_CODE(code, name, advice) code,
    QH_ERROR_CODES(QH_ERROR_CODE)
#undef QH_ERROR_CODE
};

/* An address in the target; value 0 is "none". */
struct raddr {
    uint64_t value;
};

static inline struct raddr qh_raddr(uint64_t value)
{
    return (struct raddr){ value };
}

static inline struct raddr qh_raddr_add(struct raddr base, uint64_t bytes)
{
    return (struct raddr){ base.value + bytes };
}

static inline bool qh_raddr_equal(struct raddr a, struct raddr b)
{
    return a.value == b.value;
}

struct qh_error {
    enum qh_error_code code;
    int errnum;           /* errno of the call that failed, or 0 */
    pid_t tid;            /* thread or process it is about, or 0 */
    bool has_address;     /* whether `address` says anything */
    struct raddr address; /* address in the target */
    bool passing;         /* what it tells of may be over in a moment */
    char *path;           /* owned; file it is about, or NULL */
    char *message;        /* owned; one line, no full stop */
    char *advice;         /* owned; what to try next, or NULL */
};

/* A new error with a printf-style message; never NULL. */
struct qh_error *qh_error_new(enum qh_error_code code, const char *format,
                              ...) QH_MUST_CHECK QH_PRINTF(2, 3);
/* The same with errno's value and its text behind the message. */
struct qh_error *qh_error_errno(enum qh_error_code code, int errnum,
                                const char *format, ...) QH_MUST_CHECK
    QH_PRINTF(3, 4);
struct qh_error *qh_error_no_memory(void) QH_MUST_CHECK;

/* Each adds one fact to `error` and returns it; strings are copied. */
struct qh_error *qh_error_at(struct qh_error *error,
                             struct raddr address) QH_MUST_CHECK;
struct qh_error *qh_error_tid(struct qh_error *error, pid_t tid) QH_MUST_CHECK;
struct qh_error *qh_error_passing(struct qh_error *error) QH_MUST_CHECK;
struct qh_error *qh_error_path(struct qh_error *error,
                               const char *path) QH_MUST_CHECK;
struct qh_error *qh_error_try(struct qh_error *error, const char *format,
                              ...) QH_MUST_CHECK QH_PRINTF(2, 3);

/* The error's own advice, else its code's; never NULL. */
const char *qh_error_advice(const struct qh_error *error);
const char *qh_error_code_name(enum qh_error_code code);

/* Whether it says that the process is gone; NULL is fine. */
bool qh_error_is_gone(const struct qh_error *error);

/* Frees `error`; NULL is fine. The second form is a scope guard. */
void qh_error_destroy(struct qh_error *error);
void qh_error_guard(struct qh_error **error);

/* Hands an error on to the caller. */
#define QH_TRY(expression)                                                     \
    do {                                                                       \
        struct qh_error *qh_try_error_ = (expression);                         \
        if (qh_try_error_) {                                                   \
            return qh_try_error_;                                              \
        }                                                                      \
    } while (0)

/* Scope guards for what the C library hands out. */
void qh_free_guard(void *pointer_to_pointer);
void qh_close_guard(int *fd); /* closes unless negative */

/*
 * Makes room in a malloc'd array for `count` items of `item_bytes` each.
 * `*items` and `*capacity` start as NULL and 0; the caller frees `*items`.
 */
struct qh_error *qh_array_reserve(void *items, size_t *capacity, size_t count,
                                  size_t item_bytes) QH_MUST_CHECK;

/*
 * The kernel gives memory page by page, as it is first touched, at a cost that
 * a stopped target should not wait for. The first has it give all of
 * [memory, memory + bytes) now; what is in there stays. The second has malloc
 * hold `bytes` of such memory for the calls to come, as far as there is any,
 * and from then on keep what is freed.
 */
void qh_memory_touch(void *memory, size_t bytes);
void qh_memory_warm(size_t bytes);
/* Whether all of it is zeros; so is memory of no bytes. */
bool qh_memory_is_zero(const void *memory, size_t bytes);

/* Memory that is freed all at once; zero-initialise one to begin. */
struct qh_arena {
    struct qh_arena_block *blocks;
};

/* Zeroed memory, aligned for any type, or NULL when there is none. */
void *qh_arena_alloc(struct qh_arena *arena, size_t bytes);
/* A copy of `text`, or NULL when `text` is NULL or memory is short. */
char *qh_arena_strdup(struct qh_arena *arena, const char *text);
char *qh_arena_printf(struct qh_arena *arena, const char *format, ...)
    QH_PRINTF(2, 3);
void qh_arena_deinit(struct qh_arena *arena);

/*
 * An array in an arena: `count` items at `items`, room for `capacity`.
 * qh_list_add() makes room for one more, zeroed, raises `count` and gives it
 * back; NULL when memory is short. Earlier items may move.
 */
void *qh_list_add(struct qh_arena *arena, void *items, size_t *count,
                  size_t *capacity, size_t item_bytes);

#endif
