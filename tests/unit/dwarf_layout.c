/* Symbols, thread-local variables, struct layouts, enumerators: each against
 * what the compiler itself says in the fixture.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf_child.h"

#include <stdio.h>
#include <string.h>

static struct session session;

static void symbols(void **state)
{
    const struct fact *fact = NULL;
    struct raddr address = { 0 };
    size_t count = 0;

    while ((fact = child_fact(&session.child, "symbol", fact))) {
        assert_success(
            qh_debug_symbol(session.debug, fact->words[1], &address));
        assert_int_equal(address.value, number(fact->words[2]));
        count++;
    }
    assert_true(count >= 4);
    assert_error(qh_debug_symbol(session.debug, "no_such_thing", &address),
                 QH_ERR_ABSENT, "no_such_thing");
    assert_error(qh_debug_symbol(session.debug, "tls_first", &address),
                 QH_ERR_ABSENT, "tls_first");
}

static void clones(void **state)
{
    struct raddr address = { 0 };
    struct qh_field field = { 0 };
    uint64_t clone =
        number(child_named(&session.child, "clone", "partial")->words[2]);

    assert_error(qh_debug_symbol(session.debug, "partial", &address),
                 QH_ERR_ABSENT, "partial");
    assert_success(
        qh_debug_symbol(session.debug, "partial.part.0", &address));
    assert_int_equal(address.value, clone);
    assert_string_equal(qh_debug_function_at(session.debug, qh_raddr(clone)),
                        "partial");
    assert_success(
        qh_debug_field(session.debug, "point", "y", "partial", &field));
}

/* Their first member holds what the fixture says, where an address is told. */
static void taken_apart(void **state)
{
    struct raddr address = { 0 };
    uint64_t pointer = 0;
    const char *const names[] = { "lone", "pair" };

    for (size_t i = 0; i < QH_COUNT(names); i++) {
        struct qh_error *error =
            qh_debug_symbol(session.debug, names[i], &address);
        if (error) { /* only what has no address may be absent */
            assert_string_equal(names[i], "pair");
            assert_error(error, QH_ERR_ABSENT, "took `pair`");
            continue;
        }
        assert_success(qh_target_read(session.target, address, &pointer,
                                      sizeof(pointer)));
        assert_int_equal(
            pointer,
            number(child_named(&session.child, "split", names[i])->words[2]));
    }
}

static void functions_by_address(void **state)
{
    uint64_t inner =
        number(child_named(&session.child, "symbol", "inner")->words[2]);
    uint64_t data = number(
        child_named(&session.child, "symbol", "static_counter")->words[2]);

    assert_string_equal(qh_debug_function_at(session.debug, qh_raddr(inner)),
                        "inner");
    assert_string_equal(
        qh_debug_function_at(session.debug, qh_raddr(inner + 3)), "inner");
    assert_null(qh_debug_function_at(session.debug, qh_raddr(data)));
    assert_null(qh_debug_function_at(session.debug, qh_raddr(0)));
    assert_null(qh_debug_function_at(session.debug, qh_raddr(UINT64_MAX)));
}

static uint64_t fs_base_of(pid_t tid)
{
    size_t count = 0;
    const struct qh_task *tasks = qh_target_tasks(session.target, &count);

    for (size_t i = 0; i < count; i++) {
        if (tasks[i].tid == tid) {
            return tasks[i].fs_base;
        }
    }
    fail_msg("no thread %d", tid);
    return 0;
}

static void thread_locals(void **state)
{
    const struct fact *fact = NULL;
    struct raddr address = { 0 };
    size_t count = 0;

    assert_success(qh_target_stop(session.target));
    while ((fact = child_fact(&session.child, "tls", fact))) {
        uint64_t fs_base = fs_base_of((pid_t)number(fact->words[2]));
        assert_success(qh_debug_tls(session.debug, fact->words[1], fs_base,
                                    &address));
        assert_int_equal(address.value, number(fact->words[3]));
        count++;
    }
    qh_target_resume(session.target);
    assert_int_equal(count, 3 * 4);
    assert_error(qh_debug_tls(session.debug, "inner", 4096, &address),
                 QH_ERR_ABSENT, "inner");
}

/* Each field with an anchor, without one, and with one that does not exist. */
static void fields(void **state)
{
    const struct fact *fact = NULL;
    const char *const anchors[] = { "inner", NULL, "no_such_function" };
    size_t count = 0;

    while ((fact = child_fact(&session.child, "field", fact))) {
        for (size_t i = 0; i < QH_COUNT(anchors); i++) {
            struct qh_field field = { 0 };
            assert_success(qh_debug_field(session.debug, fact->words[1],
                                          fact->words[2], anchors[i], &field));
            assert_int_equal(field.offset, number(fact->words[3]));
            assert_int_equal(field.bytes, number(fact->words[4]));
            assert_int_equal(field.bit_width, 0);
        }
        count++;
    }
    assert_true(count >= 24);
}

static void field_of(const char *path, struct qh_field *ret)
{
    assert_success(
        qh_debug_field(session.debug, "forest", path, "inner", ret));
}

static void kinds_of_fields(void **state)
{
    struct qh_field field;

    field_of("named.level.deep", &field);
    assert_int_equal(field.item_bytes, sizeof(long));
    field_of("points", &field);
    assert_int_equal(field.item_bytes, 2 * sizeof(int));
    field_of("tail", &field);
    assert_int_equal(field.bytes, 0);
    assert_int_equal(field.item_bytes, 2 * sizeof(int));
    uint64_t start = field.offset;
    field_of("tail[3].y", &field);
    assert_int_equal(field.offset, start + 3 * 2 * sizeof(int) + sizeof(int));
    field_of("tiny", &field);
    assert_true(field.is_signed);
    field_of("byte", &field);
    assert_false(field.is_signed);
    field_of("points[0].x", &field);
    assert_true(field.is_signed);
    field_of("callback", &field);
    assert_false(field.is_signed);
}

static void bad_paths(void **state)
{
    static const struct {
        const char *path, *why;
    } bad[] = {
        { "nothing", "no such member" },
        { "named.nothing", "no such member at `nothing`" },
        { "pointer.secret", "a pointer stands in the way" },
        { "points.x", "the array needs an index" },
        { "points[3]", "beyond the end" },
        { "points[x]", "no number" },
        { "points[1", "no number" },
        { "points[1]]", "no such member" },
        { "byte[0]", "no array" },
        { "byte.x", "no struct" },
        { "", "no such member" },
        { ".", "no such member" },
        { "named.", "no such member" },
    };
    struct qh_field field;

    for (size_t i = 0; i < QH_COUNT(bad); i++) {
        assert_error(qh_debug_field(session.debug, "forest", bad[i].path,
                                    "inner", &field),
                     QH_ERR_ABSENT, bad[i].why);
    }
    assert_error(qh_debug_field(session.debug, "no_such_struct_anywhere", "x",
                                "inner", &field),
                 QH_ERR_NO_DEBUGINFO, "no_such_struct_anywhere");
}

static void bit_fields(void **state)
{
    const struct fact *fact = NULL;
    size_t count = 0;

    while ((fact = child_fact(&session.child, "bits", fact))) {
        struct qh_field field = { 0 };
        uint64_t raw = 0;
        field_of(fact->words[2], &field);
        assert_true(field.bit_width > 0 && field.bytes <= sizeof(raw));
        assert_success(qh_target_read(
            session.target,
            qh_raddr(number(fact->words[3]) + field.offset), &raw,
            field.bytes));
        uint64_t mask = (UINT64_C(1) << field.bit_width) - 1;
        assert_int_equal(raw >> field.bit_shift & mask,
                         number(fact->words[4]) & mask);
        count++;
    }
    assert_int_equal(count, 4);
}

static void sizes_and_enumerators(void **state)
{
    const struct fact *fact = NULL;
    const char *const anchors[] = { "inner", NULL };
    uint64_t bytes = 0;
    int64_t value = 0;

    while ((fact = child_fact(&session.child, "sizeof", fact))) {
        assert_success(qh_debug_sizeof(session.debug, fact->words[1], "inner",
                                       &bytes));
        assert_int_equal(bytes, number(fact->words[2]));
    }
    while ((fact = child_fact(&session.child, "enum", fact))) {
        for (size_t i = 0; i < QH_COUNT(anchors); i++) {
            assert_success(qh_debug_enumerator(session.debug, fact->words[1],
                                               anchors[i], &value));
            assert_int_equal(value, (int64_t)number(fact->words[2]));
        }
    }
    assert_error(qh_debug_enumerator(session.debug, "MAUVE_NOWHERE", NULL,
                                     &value),
                 QH_ERR_ABSENT, "MAUVE_NOWHERE");
}

static void version(void **state)
{
    const char *found =
        qh_debug_qemu_version(session.debug, &session.arena);

    assert_non_null(found);
    assert_string_equal(found, "4.5.6");
    assert_int_equal(strlen(qh_debug_build_id(session.debug)), 40);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(symbols),
        cmocka_unit_test(clones),
        cmocka_unit_test(taken_apart),
        cmocka_unit_test(functions_by_address),
        cmocka_unit_test(thread_locals),
        cmocka_unit_test(fields),
        cmocka_unit_test(kinds_of_fields),
        cmocka_unit_test(bad_paths),
        cmocka_unit_test(bit_fields),
        cmocka_unit_test(sizes_and_enumerators),
        cmocka_unit_test(version),
    };

    if (argc != 2) {
        fprintf(stderr, "usage: %s FIXTURE\n", argv[0]);
        return 64;
    }
    session_open(&session, argv[1]);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    session_close(&session);
    return failed;
}
