/* Fuzzing: bytes that nobody can trust in, and out again without a scratch.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each fuzz_NAME.c reads one kind of hostile input and defines libFuzzer's
 * LLVMFuzzerTestOneInput(). With -Dfuzz=true it is linked with libFuzzer; in
 * every build it is linked with replay.c as well, which runs what is kept
 * below corpus/NAME, so that the suite "fuzz" needs neither clang nor time. A
 * sanitizer's complaint, a crash, an abort of fuzz_require() or a run without
 * end is a bug in qhang; an error that is handed back is not.
 */
#ifndef QH_FUZZ_H
#define QH_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Aborts, which libFuzzer and the suite both take for a failure. */
#define fuzz_require(condition)                                                \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__,         \
                    #condition);                                               \
            abort();                                                           \
        }                                                                      \
    } while (0)

/* A regular file in memory with these bytes, and a path that opens it for as
 * long as the descriptor is open. The caller closes it. */
enum { FUZZ_PATH_BYTES = 32 };
int fuzz_file(const uint8_t *data, size_t bytes,
              char ret_path[FUZZ_PATH_BYTES]);

/* What is printed must be: UTF-8 that steers no terminal, JSON that parses. */
void fuzz_check_text(const char *text);
void fuzz_check_json(const char *text);

#endif
