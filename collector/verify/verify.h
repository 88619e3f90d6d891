/* Judges whether a QEMU can lose these wake-ups, from its machine code first.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * For that nothing is run. What decides is what the code does, never a version,
 * never a byte pattern:
 *
 *   image   the ELF file: its bytes by address, functions, strings, pointers
 *   flow    a function's instructions, carried out path by path on symbolic
 *           values: which word a value came out of, and by what access
 *   sleep   all copies of the sleep and of the wake in the program, inlined
 *           ones too, found by the claim that both lay on a coroutine: a
 *           compare-and-swap with the address of "qemu_co_sleep_ns"
 *           (util/qemu-coroutine-sleep.c). Is the word to_wake changed by
 *           single atomic steps?
 *   graph   bdrv_graph_co_rdunlock (block/graph-lock.c): does every path from
 *           the count to the return kick?
 *
 * Only trial, where it is asked for, runs the program: it is raced and stressed
 * by a driver in Python, whose results it takes in as further checks.
 *
 * A file is hostile: nothing of it is followed beyond its bounds, and what is
 * not understood is "undetermined", never "safe".
 */
#ifndef QH_VERIFY_H
#define QH_VERIFY_H

#include "base/base.h"

enum qh_safety {
    QH_SAFE,
    QH_VULNERABLE,
    QH_UNDETERMINED,
    QH_NOT_THERE /* the build has no such thing: neither safe nor vulnerable */
};

enum {
    QH_VERIFY_CHECKS = 3, /* of the machine code; they come first */
    QH_VERIFY_MOST_CHECKS = 7,
    QH_VERIFY_LINES = 4
};

/* What became of a check that ran the program. */
struct qh_verify_trial {
    unsigned rounds;
    unsigned hung;
    unsigned agreed; /* so many of them were diagnosed as what was expected */
    unsigned late;   /* rounds that do not count, for answers came late */
    double seconds;  /* all of it */
    /* The share of rounds that hang is below this, at 95 %; negative: that
     * was not asked. */
    double at_most;
};

struct qh_verify_check {
    /* "sleep-wake", "sleep-arm", "graph-unlock"; "race.wake-before-arm",
     * "race.erased", "race.graph-unlock", "stress" */
    const char *name;
    enum qh_safety verdict;
    const char *where; /* "qemu_co_sleep_wake+0x3 (0x17ae23)", or NULL */
    const char *why;   /* a sentence */
    unsigned copies;   /* how many of them were judged */
    /* The instructions that decide, "17ae23  movq $0, (%rdi)"; or NULL. */
    const char *code[QH_VERIFY_LINES];
    const struct qh_verify_trial *trial; /* NULL: the program was not run */
};

/* Whoever wakes sleepers in this build, and so may hang. */
struct qh_verify_user {
    const char *function; /* NULL: it has no name */
    uint64_t address;
    const char *what; /* "qcow2 cache cleaner", or NULL: not known */
};

struct qh_verification {
    struct qh_arena arena; /* owns all that is pointed to here */
    const char *path;
    const char *build_id; /* lower-case hex, "" if there is none */
    enum qh_safety verdict;
    const char *unfit; /* why it is no program for x86-64, or NULL */
    struct qh_verify_check checks[QH_VERIFY_MOST_CHECKS];
    unsigned check_count;
    struct qh_verify_user *users;
    size_t user_count;
};

/*
 * Judges the ELF file that `fd` reads; `path` is what it is called. The verdict
 * is VULNERABLE if a check is, else UNDETERMINED if one is, else SAFE. A file
 * that is no QEMU for x86-64 is UNDETERMINED, and each check says why. Errors:
 * SYSTEM (cannot be read), MEMORY.
 */
struct qh_error *qh_verify(int fd, const char *path,
                           struct qh_verification **ret) QH_MUST_CHECK;
void qh_verification_destroy(struct qh_verification *verification);

/* Adds a check, and lets it count in the verdict. */
void qh_verification_add(struct qh_verification *verification,
                         const struct qh_verify_check *check);

/* "safe", "vulnerable", "undetermined", "absent". */
const char *qh_safety_name(enum qh_safety safety);
/* Of several, the one with the highest rank decides. */
int qh_safety_rank(enum qh_safety safety);

#endif
