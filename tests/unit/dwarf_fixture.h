/* What both units of the fixture know.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DWARF_FIXTURE_H
#define DWARF_FIXTURE_H

#include <stddef.h>

/* Only dwarf_fixture_hidden.c knows its body. */
typedef struct hidden hidden_t;

void hidden_describe(void);
/* Called by everybody, inlined nowhere: blocks for good, or until the test
 * closes the other end of `fd`. */
long block(int fd);
/* Comes back with what it was given, which the compiler must not know. */
long opaque(long value);

/* Prints what the compiler itself says of a member. */
#define FIELD(type, name, path)                                                \
    FIELD_AS(type, name, path, path)
#define FIELD_AS(type, name, path, as)                                         \
    printf("field %s %s %zu %zu\n", name, #as, offsetof(type, path),          \
           sizeof(((type *)0)->path))

#endif
