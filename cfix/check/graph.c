/* Checked programs: readers of the block graph lock against its writer.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "atomics.h"
#include "check/programs.h"
#include "check/runtime.h"

#include "check/subject.h"

/*
 * The writer changes the graph, one integer here, to 1 and back to 0; no reader
 * may see it changed.  It is stored and loaded relaxed: the lock must order it.
 */
static const struct graph_subject *subject;
static int graph;

static void read_once(void)
{
    subject->co_rdlock();
    check_claim(!cfix_load_relaxed(&graph),
                "a reader and the writer are in at the same time");
    subject->co_rdunlock();
}

static void write_once(void)
{
    subject->wrlock();
    cfix_store_relaxed(&graph, 1);
    cfix_store_relaxed(&graph, 0);
    subject->wrunlock();
}

static void reads(void *arg)
{
    read_once();
}

static void reads_twice(void *arg)
{
    read_once();
    read_once();
}

static void reads_twice_at_once(void *arg)
{
    subject->co_rdlock();
    read_once();
    subject->co_rdunlock();
}

static void write_twice(void)
{
    write_once();
    write_once();
}

static struct AioContext *home(const char *name, void (*body)(void),
                               unsigned coroutines)
{
    struct AioContext *ctx = check_home(name, body, coroutines);

    subject->register_aiocontext(ctx);
    return ctx;
}

/* The main thread comes first: it is what qemu_get_aio_context() names. */
static void begin(const void *which, void (*writer)(void), unsigned writes)
{
    subject = which;
    /* In each round the writer may retreat once before a reader that has just
     * come. */
    check_limit(subject->num_waiters, 4 * writes);
    home("writer", writer, 0);
}

static void setup_last_reader(const void *which)
{
    begin(which, write_once, 1);
    check_coroutine(home("reader", NULL, 1), "reader", reads, NULL);
}

static void setup_recursive(const void *which)
{
    begin(which, write_once, 1);
    check_coroutine(home("reader", NULL, 1), "reader", reads_twice_at_once,
                    NULL);
}

static void setup_reader_rounds(const void *which)
{
    begin(which, write_once, 1);
    check_coroutine(home("reader", NULL, 1), "reader", reads_twice, NULL);
}

static void setup_writer_rounds(const void *which)
{
    begin(which, write_twice, 2);
    check_coroutine(home("reader", NULL, 1), "reader", reads, NULL);
}

static void setup_rounds(const void *which)
{
    begin(which, write_twice, 2);
    check_coroutine(home("reader", NULL, 1), "reader", reads_twice, NULL);
}

static void setup_two_readers(const void *which)
{
    begin(which, write_once, 1);
    check_coroutine(home("reader", NULL, 1), "reader", reads, NULL);
    check_coroutine(home("second reader", NULL, 1), "second reader", reads,
                    NULL);
}

static void end_free(const void *which)
{
    check_claim(subject->reader_count() == 0, "all readers are counted out");
}

const struct graph_program graph_programs[] = {
    { { "last-reader", "one reader, one writer: the last reader kicks",
        setup_last_reader, end_free, false },
      { CHECK_NONE, CHECK_DEADLOCK },
      false },
    { { "recursive", "a reader that takes the lock twice", setup_recursive,
        end_free, false },
      { CHECK_NONE, CHECK_DEADLOCK },
      false },
    { { "reader-rounds", "two rounds of the reader", setup_reader_rounds,
        end_free, false },
      { CHECK_NONE, CHECK_DEADLOCK },
      false },
    { { "writer-rounds", "two rounds of the writer", setup_writer_rounds,
        end_free, false },
      { CHECK_NONE, CHECK_DEADLOCK },
      false },
    { { "rounds", "two rounds of both", setup_rounds, end_free, false },
      { CHECK_NONE, CHECK_DEADLOCK },
      true },
    { { "two-readers", "two readers in two threads, one writer",
        setup_two_readers, end_free, false },
      { CHECK_NONE, CHECK_DEADLOCK },
      true },
    { { NULL }, { CHECK_NONE }, false },
};
