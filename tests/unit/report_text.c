/* The text report: its words, and 80 columns whatever the names are.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/units.h"
#include "diagnose_world.h"
#include "report/escape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S_NS INT64_C(1000000000)

/* The report of a world, in malloc'd memory. */
static char *text_of(const struct world *world)
{
    struct qh_report report = world_report(world);
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    assert_null(qh_report_text(&report, out));
    fclose(out);
    world_report_deinit(&report);
    return text;
}

/* Every line is printable, at most 80 columns, and has no blank at its end. */
static void assert_tidy(const char *text)
{
    QH_CLEANUP(qh_free_guard) char *copy = strdup(text);
    char *rest = copy;
    char *line;

    assert_int_equal(text[strlen(text) - 1], '\n');
    while ((line = strsep(&rest, "\n"))) {
        if (qh_text_columns(line) > 80) {
            fail_msg("%zu columns: %s", qh_text_columns(line), line);
        }
        for (const char *at = line; *at; at += qh_rune_at(at).bytes) {
            assert_true(qh_rune_is_plain(qh_rune_at(at)));
        }
        if (*line && line[strlen(line) - 1] == ' ') {
            fail_msg("blank at the end: \"%s\"", line);
        }
    }
}

static void assert_says(const char *text, const char *words)
{
    if (!strstr(text, words)) {
        fail_msg("\"%s\" is missing in:\n%s", words, text);
    }
}

static void assert_silent_about(const char *text, const char *words)
{
    if (strstr(text, words)) {
        fail_msg("\"%s\" should not be in:\n%s", words, text);
    }
}

static void test_wake_lost(void **state)
{
    static const char *const lines[] = {
        "100 qemu-storage-da (build 3f9c1e0a)  blocked 20 s, paused 0.6 ms\n",
        "HANG  qcow2 cache cleaner: its wake-up was lost       "
        "sleep.wake-lost, proof\n",
        "\n  heals     by itself in 579 s\n",
        "\n  waiter    main thread 100, QMP command blockdev-add,\n"
        "            holds the graph write lock\n"
        "            cache_clean_timer_del_and_wait <- "
        "bdrv_detach_aio_context\n"
        "            <- bdrv_set_aio_context_commit <- ",
        "\n  sleeper   coroutine 0x7f8e280039c0 cache_clean_timer, "
        "iothread io0 (101)\n"
        "            qemu_co_sleep <- qemu_co_sleep_ns_wakeable "
        "<- cache_clean_timer\n",
        "\n  evidence  cache_clean_interval = 0: told to stop            "
        "0x557969766df8\n",
        "\n            timer 579 s ahead, first on io0's list            "
        "0x7f8e342a8f40\n",
        "\n  fixed in  QEMU 10.0.13, 11.1 (not in 10.2.2)\n",
        "\n  more      qhang explain sleep.wake-lost\n",
    };
    struct world *world = world_wake_lost();

    world->snapshot->blocked_ns = 20 * S_NS;
    world->snapshot->graph.has_writer = 1;
    QH_CLEANUP(qh_free_guard) char *text = text_of(world);
    for (size_t i = 0; i < QH_COUNT(lines); i++) {
        assert_says(text, lines[i]);
    }
    assert_silent_about(text, "aio_poll");
    assert_silent_about(text, "coroutine_trampoline");
    assert_silent_about(text, "kick`"); /* no command that does not exist */
    assert_tidy(text);
    world_destroy(world);
}

static void test_erased_and_graph(void **state)
{
    struct world *erased = world_erased();
    struct world *graph = world_graph();
    QH_CLEANUP(qh_free_guard) char *erased_text = text_of(erased);
    QH_CLEANUP(qh_free_guard) char *graph_text = text_of(graph);

    assert_says(erased_text, "never by itself");
    assert_says(erased_text, "sleep.erased, proof\n");
    assert_tidy(erased_text);
    assert_says(graph_text, "never by itself");
    assert_says(graph_text, "graph.writer-unkicked, proof\n");
    assert_says(graph_text, "bdrv_graph_wrlock <- blk_remove_bs");
    assert_silent_about(graph_text, "sleeper  ");
    assert_tidy(graph_text);
    world_destroy(erased);
    world_destroy(graph);
}

static void test_version(void **state)
{
    static const struct {
        const char *version, *words;
    } cases[] = {
        { "10.2.2", "(not in 10.2.2)" },
        { "10.0.2", "(not in 10.0.2)" },
        { "10.0.13", "(this says it is 10.0.13)" },
        { "10.0.14", "(this says it is 10.0.14)" },
        { "11.0.1", "(not in 11.0.1)" },
        { "11.1.0", "(this says it is 11.1.0)" },
        { "12.0", "(this says it is 12.0)" },
        { "9.2.4 (Debian)", "(not in 9.2.4 (Debian))" },
        { "nonsense", "QEMU 10.0.13, 11.1\n" },
        { "", "QEMU 10.0.13, 11.1\n" },
        { NULL, "QEMU 10.0.13, 11.1\n" },
    };
    struct world *world = world_wake_lost();

    for (size_t i = 0; i < QH_COUNT(cases); i++) {
        world->snapshot->version = cases[i].version;
        QH_CLEANUP(qh_free_guard) char *text = text_of(world);
        assert_says(text, cases[i].words);
    }
    world_destroy(world);
}

static void test_clean(void **state)
{
    struct world *world = world_quiet();

    world->snapshot->blocked_ns = 3 * S_NS;
    QH_CLEANUP(qh_free_guard) char *text = text_of(world);
    assert_says(text, "\nno hang found\n");
    assert_says(text, "examined  3 threads, 2 contexts, 0 coroutines");
    assert_says(text, "main      thread 100 asleep in ppoll");
    assert_silent_about(text, "HANG");
    assert_says(text, ")  paused 0.6 ms\n");
    assert_silent_about(text, "blocked"); /* an idle loop is not */
    assert_silent_about(text, "INCOMPLETE");
    assert_tidy(text);
    world_destroy(world);
}

static void test_incomplete_is_not_clean(void **state)
{
    struct world *world = world_quiet();

    assert_null(qh_snapshot_gap(world->snapshot, "timers of iothread io0",
                                qh_raddr(0x1234), "loop after 3 entries",
                                "take another sample"));
    QH_CLEANUP(qh_free_guard) char *text = text_of(world);
    assert_says(text, "\nno hang found in what could be read\n");
    assert_says(text, "\nINCOMPLETE 1 part could not be read\n");
    assert_says(text, "timers of iothread io0");
    assert_says(text, "0x1234");
    assert_says(text, "loop after 3 entries");
    assert_says(text, "try: take another sample");
    assert_tidy(text);
    world_destroy(world);
}

static void test_core(void **state)
{
    struct world *world = world_wake_lost();

    world->snapshot->kind = QH_TARGET_CORE;
    world->snapshot->core = "/var/crash/core.100";
    world->snapshot->blocked_ns = 20 * S_NS;
    QH_CLEANUP(qh_free_guard) char *text = text_of(world);
    assert_says(text, ")  blocked 20 s, core");
    assert_says(text, "/var/crash/core.100");
    assert_silent_about(text, "paused");
    assert_says(text, "579 s, from when the core was taken");
    assert_tidy(text);
    world_destroy(world);
}

static void test_held(void **state)
{
    struct world *world = world_wake_lost();

    world->snapshot->kind = QH_TARGET_HELD;
    world->snapshot->blocked_ns = 20 * S_NS;
    world->snapshot->held_by = 4711;
    world->snapshot->holder = "gdb \x1b[31m";
    QH_CLEANUP(qh_free_guard) char *text = text_of(world);
    assert_says(text, "blocked 20 s, held by gdb \\x1b[31m (4711)\n");
    assert_silent_about(text, "paused");
    assert_tidy(text);
    world->snapshot->held_by = 0;
    QH_CLEANUP(qh_free_guard) char *unseen = text_of(world);
    assert_says(unseen, "blocked 20 s, held\n");
    world_destroy(world);
}

/* Nothing is known but that it hangs. */
static void test_unknown_everywhere(void **state)
{
    struct world *world = world_wake_lost();
    struct qh_snapshot *s = world->snapshot;

    s->name = s->exe = s->build_id = s->version = s->qmp_command = NULL;
    world->sleeper->left_ns = QH_TIME_UNKNOWN;
    world->sleeper->expire_ns = QH_TIME_UNKNOWN;
    world->cleaner->entry = NULL;
    world->io0_context->name = NULL;
    for (size_t i = 0; i < s->thread_count; i++) {
        s->threads[i].name = s->threads[i].blocked_in = NULL;
        s->threads[i].iothread = NULL;
        for (size_t f = 0; f < s->threads[i].stack.count; f++) {
            s->threads[i].stack.frames[f].function = NULL;
        }
    }
    QH_CLEANUP(qh_free_guard) char *text = text_of(world);
    assert_says(text, "HANG");
    assert_says(text, "by itself when its timer fires");
    assert_tidy(text);
    world_destroy(world);
}

static char *long_name(struct world *world, const char *part, size_t bytes)
{
    char *name = qh_arena_alloc(&world->snapshot->arena, bytes + 1);

    assert_non_null(name);
    for (size_t i = 0; i < bytes; i++) {
        name[i] = part[i % strlen(part)];
    }
    return name;
}

static void test_hostile_names(void **state)
{
    static const char *const parts[] = {
        "a",
        "\x1b[31mred\a\b\r\n",
        "\xc2\x9b" "2J",          /* C1: CSI */
        "\xff\xfe\xc3(",          /* no UTF-8 */
        "\xe2\x80\xae" "txt.exe", /* right-to-left override */
        "\xe5\xad\x97",           /* two columns wide */
        " ",
        "a b ",
    };

    for (size_t i = 0; i < QH_COUNT(parts); i++) {
        struct world *world = world_wake_lost();
        struct qh_snapshot *s = world->snapshot;
        const char *name = long_name(world, parts[i], 300);
        s->name = s->qmp_command = s->build_id = s->version = name;
        s->blocked_ns = INT64_MAX;
        world->io0->iothread = world->cleaner->entry = name;
        world->main->name = world->io0_context->name = name;
        world->main->stack.frames[5].function = name;
        world->cleaner->stack.frames[2].function = name;
        world->cleaner->stack.cut = name;
        world->other->state = QH_THREAD_IN_KERNEL;
        world->other->name = world->other->blocked_in = name;
        assert_null(qh_snapshot_gap(s, name, qh_raddr(UINT64_MAX), name, name));
        char *hung = text_of(world);
        world->sleeper->cleaner.interval_s = 1;
        s->kind = QH_TARGET_CORE;
        s->core = name;
        char *clean = text_of(world);
        for (char *text = hung; text; text = text == hung ? clean : NULL) {
            assert_null(strchr(text, '\x1b'));
            assert_null(strchr(text, '\r'));
            char *blank;
            while ((blank = strstr(text, " \n"))) { /* blanks of the name */
                memmove(blank, blank + 1, strlen(blank));
            }
            assert_tidy(text);
        }
        free(hung);
        free(clean);
        world_destroy(world);
    }
}

/* Who stands behind a circle is no part of it, and the chain says so; of what a
 * finding tells at both ends there is none. */
static void test_chain(void **state)
{
    struct world *world = world_quiet();
    QH_CLEANUP(qh_free_guard) char *text = NULL, *other = NULL;

    world_wait_mutex(world, WORLD_MAIN_TID, 0xc000, WORLD_IO0_TID);
    world_wait_mutex(world, WORLD_IO0_TID, 0xa000, WORLD_OTHER_TID);
    world_wait_mutex(world, WORLD_OTHER_TID, 0xb000, WORLD_IO0_TID);
    text = text_of(world);
    assert_tidy(text);
    assert_says(text, "\n\n  chain     main thread 100\n"
                      "            waits for mutex 0xc000\n"
                      "            held by iothread io0 (101) "
                      "(in the circle)\n");
    assert_says(text, "HANG  deadlock of 2 threads");
    world_destroy(world);

    world = world_wake_lost();
    other = text_of(world);
    assert_silent_about(other, "  chain");
    world_destroy(world);
}

/* Nobody is at fault, and still one wants to know what it waits for. */
static void test_chain_of_a_rightful_wait(void **state)
{
    struct world *world = world_quiet();
    QH_CLEANUP(qh_free_guard) char *text = NULL;
    struct qh_wait *wait = world_wait(world, QH_WAIT_DRAIN, WORLD_MAIN_TID, 0);

    wait->object = qh_raddr(0xe000);
    wait->object_name = "q\x1b" "0";
    wait->owner_coroutine = qh_raddr(0x10000);
    wait = world_wait(world, QH_WAIT_THROTTLE, 0, 0x10000);
    wait->object = qh_raddr(0xf000);
    wait->function = "throttle_group_co_io_limits_intercept";
    world_coroutine(world, 0x10000, "blk_aio_read_entry");
    text = text_of(world);
    assert_tidy(text);
    assert_says(text, "no hang found\n");
    assert_says(text, "\n  chain     main thread 100\n"
                      "            waits for drain of q\\x1b0\n"
                      "            kept busy by coroutine 0x10000 "
                      "blk_aio_read_entry\n"
                      "            throttled in "
                      "throttle_group_co_io_limits_intercept\n");
    world_destroy(world);
}

static void test_colour(void **state)
{
    struct world *world = world_wake_lost();
    struct qh_report report = world_report(world);
    QH_CLEANUP(qh_free_guard) char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    report.colour = true;
    assert_null(qh_report_text(&report, out));
    fclose(out);
    assert_says(text, "\033[1;31mHANG\033[0m");
    world_report_deinit(&report);
    world_destroy(world);
}

static void test_write_error(void **state)
{
    struct world *world = world_wake_lost();
    struct qh_report report = world_report(world);
    FILE *full = fopen("/dev/full", "w");

    assert_non_null(full);
    setvbuf(full, NULL, _IONBF, 0);
    struct qh_error *error = qh_report_text(&report, full);
    assert_non_null(error);
    assert_int_equal(error->code, QH_ERR_SYSTEM);
    qh_error_destroy(error);
    error = qh_report_json(&report, full);
    assert_non_null(error);
    qh_error_destroy(error);
    fclose(full);
    world_report_deinit(&report);
    world_destroy(world);
}

static void test_durations(void **state)
{
    static const struct {
        int64_t ns;
        const char *text;
    } cases[] = {
        { 0, "0 ns" },
        { 999, "999 ns" },
        { 1000, "1 us" },
        { 99999, "99 us" },
        { 100000, "0.1 ms" },
        { 600000, "0.6 ms" },
        { 9999999, "9.9 ms" },
        { 10000000, "10 ms" },
        { 999999999, "999 ms" },
        { S_NS, "1.0 s" },
        { 3450 * S_NS / 1000, "3.4 s" },
        { 579 * S_NS, "579 s" },
        { 999 * S_NS, "999 s" },
        { 1000 * S_NS, "16 min 40 s" },
        { 1020 * S_NS, "17 min" },
        { 7200 * S_NS, "2 h" },
        { 16740 * S_NS, "4 h 39 min" },
        { 180000 * S_NS, "2 d 2 h" },
        { -S_NS, "-1.0 s" },
        { INT64_MAX, "106751 d 23 h" },
        { INT64_MIN, "-106751 d 23 h" },
    };

    for (size_t i = 0; i < QH_COUNT(cases); i++) {
        assert_string_equal(qh_duration(cases[i].ns).text, cases[i].text);
    }
}

static void test_utf8(void **state)
{
    static const struct {
        const char *bytes, *valid;
        size_t columns;
    } cases[] = {
        { "plain", "plain", 5 },
        { "", "", 0 },
        { "\xc3\xa4", "\xc3\xa4", 1 },
        { "\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd", 8 },         /* overlong */
        { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 12 },
        { "\xf4\x90\x80\x80",
          "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 16 },
        { "\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd", 8 }, /* cut short */
        { "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", 2 },
        { "\x1b[m", "\x1b[m", 6 }, /* json-c escapes it */
        { "\x7f", "\xef\xbf\xbd", 4 },
        { "\xc2\x9b", "\xef\xbf\xbd", 8 },
        { "\xe2\x80\xae", "\xef\xbf\xbd", 12 },
    };
    struct qh_arena arena = { NULL };

    for (size_t i = 0; i < QH_COUNT(cases); i++) {
        assert_string_equal(qh_valid_utf8(&arena, cases[i].bytes),
                            cases[i].valid);
        assert_int_equal(qh_text_columns(cases[i].bytes), cases[i].columns);
    }
    qh_arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wake_lost),
        cmocka_unit_test(test_erased_and_graph),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_clean),
        cmocka_unit_test(test_incomplete_is_not_clean),
        cmocka_unit_test(test_core),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_unknown_everywhere),
        cmocka_unit_test(test_hostile_names),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_chain_of_a_rightful_wait),
        cmocka_unit_test(test_colour),
        cmocka_unit_test(test_write_error),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_utf8),
    };

    return cmocka_run_group_tests_name("report_text", tests, NULL, NULL);
}
