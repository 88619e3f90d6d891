/* Lines of at most 80 columns, under a label.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/wrap.h"
#include "report/escape.h"

#include <stdarg.h>
#include <string.h>

static void pad_to(struct qh_wrap *wrap, size_t column)
{
    while (wrap->column < column) {
        fputc(' ', wrap->out);
        wrap->column++;
    }
}

void qh_wrap_begin(struct qh_wrap *wrap, FILE *out, const char *label)
{
    *wrap =
        (struct qh_wrap){ .out = out, .indent = QH_BODY_COLUMN, .lines = 1 };
    if (*label) {
        pad_to(wrap, QH_LABEL_COLUMN);
        fputs(label, out);
        wrap->column += strlen(label);
    }
    pad_to(wrap, wrap->indent);
}

void qh_wrap_begin_flush(struct qh_wrap *wrap, FILE *out, size_t indent)
{
    *wrap = (struct qh_wrap){ .out = out, .indent = indent, .lines = 1 };
}

bool qh_wrap_would_break(const struct qh_wrap *wrap, size_t columns)
{
    return wrap->begun &&
           wrap->column + 1 + wrap->gap + columns > QH_LINE_COLUMNS;
}

void qh_wrap_break(struct qh_wrap *wrap)
{
    fputc('\n', wrap->out);
    wrap->column = 0;
    wrap->lines++;
    wrap->begun = false;
    pad_to(wrap, wrap->indent);
}

void qh_wrap_piece(struct qh_wrap *wrap, const char *text)
{
    struct qh_rune rune;

    if (qh_wrap_would_break(wrap, qh_text_columns(text))) {
        qh_wrap_break(wrap);
    } else if (wrap->begun) {
        pad_to(wrap, wrap->column + 1 + wrap->gap);
    }
    wrap->gap = 0;
    while ((rune = qh_rune_at(text)).bytes) {
        if (wrap->column + qh_rune_columns(rune) > QH_LINE_COLUMNS) {
            qh_wrap_break(wrap);
        }
        qh_print_rune(text, rune, wrap->out);
        wrap->column += qh_rune_columns(rune);
        wrap->begun = true;
        text += rune.bytes;
    }
}

void qh_wrap_gap(struct qh_wrap *wrap)
{
    wrap->gap = 1;
}

void qh_wrap_words(struct qh_wrap *wrap, const char *text)
{
    char word[1024];

    while (*text) {
        size_t bytes = strcspn(text, " ");
        size_t kept = bytes < sizeof(word) ? bytes : sizeof(word) - 1;
        if (kept) {
            memcpy(word, text, kept);
            word[kept] = '\0';
            qh_wrap_piece(wrap, word);
        }
        text += bytes;
        text += strspn(text, " ");
    }
}

void qh_wrap_printf(struct qh_wrap *wrap, const char *format, ...)
{
    char text[4096];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    qh_wrap_piece(wrap, text);
}

void qh_wrap_right(struct qh_wrap *wrap, const char *text)
{
    size_t columns = qh_text_columns(text);
    size_t margin = wrap->column + 1 + columns > QH_MARGIN_COLUMN
                        ? QH_LINE_COLUMNS
                        : QH_MARGIN_COLUMN;

    if (wrap->column + 1 + columns > margin) {
        qh_wrap_break(wrap);
        margin = QH_MARGIN_COLUMN;
    }
    if (columns < margin) {
        pad_to(wrap, margin - columns);
    }
    wrap->begun = false; /* the blanks are there already */
    qh_wrap_piece(wrap, text);
}

void qh_wrap_end(struct qh_wrap *wrap)
{
    fputc('\n', wrap->out);
}
