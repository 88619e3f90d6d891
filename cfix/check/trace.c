/* An execution as people read it: one line a step, a column a thread.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/world.h"

#define COLUMN 18
#define VALUE_BYTES 48

struct trace {
    FILE *stream;
    char *text;
    size_t text_bytes;
    unsigned steps;
};

struct trace *trace_create(void)
{
    struct trace *trace = calloc(1, sizeof(*trace));

    if (trace) {
        trace->stream = open_memstream(&trace->text, &trace->text_bytes);
    }
    if (!trace || !trace->stream) {
        perror("cfix-check: a trace");
        abort();
    }
    return trace;
}

char *trace_finish(struct trace *trace)
{
    char *text;

    fputc('\n', trace->stream);
    fclose(trace->stream);
    text = trace->text;
    free(trace);
    return text;
}

/* "&w->to_wake" is w->to_wake. */
static const char *object(const char *text)
{
    return text[0] == '&' ? text + 1 : text;
}

static void put_header(struct trace *trace)
{
    fprintf(trace->stream, "%4s ", "");
    for (int i = 0; i < world.n_threads; i++) {
        int width = i + 1 < world.n_threads ? COLUMN : 0;

        fprintf(trace->stream, "%-*s", width, world.threads[i].name);
    }
}

static void put_cmpxchg(struct trace *trace, const struct check_access *access,
                        uint64_t found)
{
    char expected[VALUE_BYTES];
    char other[VALUE_BYTES];
    uint64_t wanted = 0;

    memcpy(&wanted, &access->expected, access->size);
    fprintf(trace->stream, "%s: %s", object(access->text),
            world_value(wanted, access->size, access->is_string, expected,
                        sizeof(expected)));
    if (found == wanted) {
        fprintf(trace->stream, " -> %s",
                world_value(access->operand, access->size, access->is_string,
                            other, sizeof(other)));
    } else {
        fprintf(trace->stream, "? no, %s",
                world_value(found, access->size, access->is_string, other,
                            sizeof(other)));
    }
}

static void put_access(struct trace *trace, const struct check_access *access,
                       uint64_t result, unsigned choice)
{
    static const char *const change[] = { [CHECK_ADD] = "+",
                                          [CHECK_SUB] = "-",
                                          [CHECK_OR] = "|",
                                          [CHECK_AND] = "&" };
    char buf[VALUE_BYTES];
    char old[VALUE_BYTES];
    const char *operand = world_value(access->operand, access->size,
                                      access->is_string, buf, sizeof(buf));
    const char *found =
        world_value(result, access->size, access->is_string, old, sizeof(old));

    switch (access->kind) {
    case CHECK_LOAD:
        fprintf(trace->stream, "%s is %s%s", object(access->text), found,
                choice ? " (an older value)" : "");
        break;
    case CHECK_STORE:
        fprintf(trace->stream, "%s = %s", object(access->text), operand);
        break;
    case CHECK_EXCHANGE:
        fprintf(trace->stream, "%s: %s -> %s", object(access->text), found,
                operand);
        break;
    case CHECK_CMPXCHG:
        put_cmpxchg(trace, access, result);
        break;
    case CHECK_AWAIT:
        fprintf(trace->stream, "sees %s", object(access->text));
        break;
    case CHECK_SYNC:
        fputs(access->text, trace->stream);
        break;
    default:
        fprintf(trace->stream, "%s: %s %s %s", object(access->text), found,
                change[access->kind], operand);
    }
}

void trace_step(struct trace *trace, const struct thread *thread, bool flush,
                uint64_t result, unsigned choice)
{
    int column = (int)(thread - world.threads);
    char buf[VALUE_BYTES];

    if (!trace->steps) {
        put_header(trace);
    }
    fprintf(trace->stream, "\n%4u %*s", ++trace->steps, column * COLUMN, "");
    if (flush) {
        const struct buffered *oldest = &thread->buffer[0];

        fprintf(trace->stream, "(%s = %s reaches memory)", object(oldest->text),
                world_value(oldest->value, oldest->size, oldest->is_string, buf,
                            sizeof(buf)));
        return;
    }
    put_access(trace, &thread->access, result, choice);
    if (world.model == CHECK_TSO && thread->access.kind == CHECK_STORE &&
        thread->access.order != CHECK_SEQ_CST) {
        fputs(" (buffered)", trace->stream);
    }
}

void trace_note(struct trace *trace, const char *text)
{
    /* Before the first step threads only come to it. */
    if (!trace->steps) {
        return;
    }
    fprintf(trace->stream, "; %.*s", (int)strcspn(text, "\n"), text);
}
