/* Bytes of the target made safe to show; private to report/.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Names in a snapshot are raw bytes that a guest, a management tool or a
 * corrupt heap chose. A terminal must not be driven by them.
 */
#ifndef QH_ESCAPE_H
#define QH_ESCAPE_H

#include "base/base.h"

#include <stdio.h>

/* One piece of a string: a character, or a byte that is none. */
struct qh_rune {
    uint32_t code;  /* the character, or the byte's value */
    unsigned bytes; /* how many it takes up; 0 at the end of the string */
    bool broken;    /* no UTF-8: `code` is the bare byte */
};

/* The piece that `text` begins with. Overlong forms, surrogates and what is
 * beyond U+10FFFF are broken. */
struct qh_rune qh_rune_at(const char *text);
/*
 * Whether a terminal may see it: no control character (C0, DEL, C1), none that
 * turns the writing direction or that has no width, nothing broken.
 */
bool qh_rune_is_plain(struct qh_rune rune);

/* Columns that qh_print_rune() takes on a terminal. */
unsigned qh_rune_columns(struct qh_rune rune);
/* Prints one piece of `text` as it is, or each byte as \xNN. */
void qh_print_rune(const char *text, struct qh_rune rune, FILE *out);

/* Columns of the whole string, printed that way. */
size_t qh_text_columns(const char *text);

/*
 * `text` as valid UTF-8 for json-c, in `arena`: broken bytes and whatever a
 * terminal must not see become U+FFFD, but for C0, which json-c escapes. NULL
 * when memory is short.
 */
char *qh_valid_utf8(struct qh_arena *arena, const char *text);

#endif
