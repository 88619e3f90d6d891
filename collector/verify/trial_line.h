/* The lines of the driver that puts a program on trial; private to verify/.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_TRIAL_LINE_H
#define QH_TRIAL_LINE_H

#include "verify/verify.h"

enum { QH_TRIAL_CHECKS = 4, QH_REFUSED = 64 };

/* A check that the driver is to make. */
struct qh_owed {
    const char *name;
    unsigned rounds;
    unsigned lines; /* of progress, so far */
    bool given;     /* the rest is its result */
    enum qh_safety verdict;
    const char *where;
    const char *why;
    struct qh_verify_trial trial;
};

struct qh_trial_board {
    struct qh_owed owed[QH_TRIAL_CHECKS];
    size_t count;
    struct qh_arena *arena; /* of the results' texts */
    void (*progress)(const char *check, unsigned done, unsigned of);
    char refused[QH_REFUSED]; /* the beginning of a line that is none */
};

/* Takes one line in; `opaque` is the board. False, where it is no message, or
 * one that contradicts itself or what was asked. */
bool qh_trial_take_line(void *opaque, char *line);

#endif
