/* Lines of at most 80 columns, under a label; private to report/.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A paragraph is a label in column 2 and pieces of text that flow from column
 * 12 on, one blank between them. A piece stays whole when it fits in a line of
 * its own; only one that does not is broken, at the edge. Everything printed
 * is escaped on the way.
 */
#ifndef QH_WRAP_H
#define QH_WRAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum {
    QH_LINE_COLUMNS = 80,
    QH_LABEL_COLUMN = 2,
    QH_BODY_COLUMN = 12,
    QH_MARGIN_COLUMN = 76 /* where right-aligned text ends */
};

struct qh_wrap {
    FILE *out;
    size_t indent; /* column that a wrapped line begins at */
    size_t column; /* where the next byte goes */
    size_t lines;  /* lines begun in this paragraph */
    size_t gap;    /* blanks that the next piece gets on top of its one */
    bool begun;    /* whether this line has text behind the indent */
};

/* Begins a paragraph. `label` may be "" for one that goes on without. */
void qh_wrap_begin(struct qh_wrap *wrap, FILE *out, const char *label);
/* Begins one at the left edge, wrapped lines indented to `indent`. */
void qh_wrap_begin_flush(struct qh_wrap *wrap, FILE *out, size_t indent);
void qh_wrap_piece(struct qh_wrap *wrap, const char *text);
/* The same, word by word. */
void qh_wrap_words(struct qh_wrap *wrap, const char *text);
/* printf of one piece; what is longer than 4 KiB is cut. */
void qh_wrap_printf(struct qh_wrap *wrap, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Sets the next piece off by one more blank, if it stays on this line. */
void qh_wrap_gap(struct qh_wrap *wrap);
/* Puts `text` at the right margin, on a line of its own if need be. */
void qh_wrap_right(struct qh_wrap *wrap, const char *text);
/* Whether a piece of so many columns would begin a new line. */
bool qh_wrap_would_break(const struct qh_wrap *wrap, size_t columns);
/* Goes on in a new line. */
void qh_wrap_break(struct qh_wrap *wrap);
void qh_wrap_end(struct qh_wrap *wrap);

#endif
