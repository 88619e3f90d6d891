/* The programs that `qhang verify` is about; private to cli/.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_PROGRAMS_H
#define QH_PROGRAMS_H

#include "verify/verify.h"

/* Zero-initialise one to begin. */
struct qh_programs {
    struct qh_arena arena;
    struct qh_verification **items;
    const char **run_as; /* of each, the path that the very file has now */
    size_t count;
    size_t capacity;
    size_t run_as_capacity;
};

/* Judges what `path` names: a file, all programs of a QEMU build folder, or,
 * where there is no such file, the program of the process with that PID. */
struct qh_error *qh_programs_judge(const char *path,
                                   struct qh_programs *programs) QH_MUST_CHECK;
void qh_programs_deinit(struct qh_programs *programs);

#endif
