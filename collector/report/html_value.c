/* Values in the HTML report: escaped text, addresses, names, backtraces.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/html.h"
#include "report/escape.h"

#include <inttypes.h>

static void print_rune(const char *text, struct qh_rune rune, FILE *out)
{
    switch (rune.broken ? 0 : rune.code) {
    case '&':
        fputs("&amp;", out);
        return;
    case '<':
        fputs("&lt;", out);
        return;
    case '>':
        fputs("&gt;", out);
        return;
    case '"':
        fputs("&quot;", out);
        return;
    case '\'':
        fputs("&#39;", out);
        return;
    default:
        qh_print_rune(text, rune, out);
    }
}

void qh_html_text(FILE *out, const char *text)
{
    struct qh_rune rune;

    for (; text && (rune = qh_rune_at(text)).bytes; text += rune.bytes) {
        print_rune(text, rune, out);
    }
}

void qh_html_element(FILE *out, const char *tag, const char *class,
                     const char *text)
{
    if (class) {
        fprintf(out, "<%s class=\"%s\">", tag, class);
    } else {
        fprintf(out, "<%s>", tag);
    }
    qh_html_text(out, text);
    fprintf(out, "</%s>\n", tag);
}

void qh_html_begin_fact(FILE *out, const char *name)
{
    fputs("<li>", out);
    qh_html_element(out, "span", "name", name);
}

void qh_html_fact(FILE *out, const char *class, const char *name,
                  const char *text)
{
    if (text) {
        qh_html_begin_fact(out, name);
        qh_html_element(out, "span", class, text);
        fputs("</li>\n", out);
    }
}

void qh_html_address(FILE *out, struct raddr address)
{
    if (address.value) {
        fprintf(out, "<code>0x%" PRIx64 "</code>", address.value);
    } else {
        fputs("-", out);
    }
}

void qh_html_thread_name(FILE *out, const struct qh_thread *thread)
{
    if (thread->role == QH_ROLE_MAIN) {
        fprintf(out, "main thread %d", (int)thread->tid);
    } else if (thread->role == QH_ROLE_IOTHREAD && thread->iothread) {
        fputs("iothread ", out);
        qh_html_text(out, thread->iothread);
        fprintf(out, " (%d)", (int)thread->tid);
    } else {
        fprintf(out, "%s thread %d (", qh_role_name(thread->role),
                (int)thread->tid);
        qh_html_text(out, thread->name ? thread->name : "?");
        fputs(")", out);
    }
}

void qh_html_frames(FILE *out, const struct qh_backtrace *stack)
{
    if (!stack->count && !stack->cut) {
        return;
    }
    fputs("<ol class=\"frames\">\n", out);
    for (size_t i = 0; i < stack->count; i++) {
        const struct qh_frame *frame = &stack->frames[i];
        fputs("<li><code>", out);
        qh_html_text(out, frame->function ? frame->function : "?");
        fputs("</code>", out);
        if (frame->file) {
            fputs(" <span class=\"file\">", out);
            qh_html_text(out, frame->file);
            if (frame->line) {
                fprintf(out, ":%d", frame->line);
            }
            fputs("</span>", out);
        }
        fputs("</li>\n", out);
    }
    if (stack->cut) {
        fputs("<li class=\"note\">cut: ", out);
        qh_html_text(out, stack->cut);
        fputs("</li>\n", out);
    }
    fputs("</ol>\n", out);
}

void qh_html_section(FILE *out, const char *title, size_t count)
{
    fputs("<section>\n<h2>", out);
    qh_html_text(out, title);
    if (count) {
        fprintf(out, " <span class=\"count\">%zu</span>", count);
    }
    fputs("</h2>\n", out);
}
