/* The words and eventfds of a live target that rescue/ may change.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target_help.h"

#include "target/write.h"

#include <string.h>
#include <unistd.h>

static struct child child;
static struct qh_target *target;

static int setup(void **state)
{
    child = child_start(NULL, "threads", NULL);
    target = open_live(child.pid);
    return 0;
}

static int teardown(void **state)
{
    qh_target_destroy(target);
    child_end(&child);
    return 0;
}

/* The first words of the pattern, as they are. */
static struct qh_word word_at(size_t index)
{
    uint64_t address = child.facts.pattern + index * sizeof(uint64_t);
    uint64_t value = child_peek(child.pid, address);

    return (struct qh_word){ qh_raddr(address), value, ~value };
}

static void assert_as_before(const struct qh_word *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(child_peek(child.pid, words[i].address.value),
                         words[i].before);
    }
}

static void test_words_are_written(void **state)
{
    const struct qh_word words[] = { word_at(0), word_at(600), word_at(2) };
    uint64_t seen = 0;

    assert_fine(qh_target_stop(target));
    assert_fine(qh_target_write(target, words, QH_COUNT(words)));
    for (size_t i = 0; i < QH_COUNT(words); i++) {
        assert_int_equal(child_peek(child.pid, words[i].address.value),
                         words[i].after);
    }
    assert_fine(
        qh_target_read(target, words[1].address, &seen, sizeof(seen)));
    assert_int_equal(seen, words[1].after);
    qh_target_resume(target);
}

static void test_nothing_without_a_stop(void **state)
{
    const struct qh_word word = word_at(0);

    assert_code(qh_target_write(target, &word, 1), QH_ERR_NOT_HELD);
    assert_as_before(&word, 1);
}

static void test_nothing_after_a_mere_look(void **state)
{
    const struct qh_word word = word_at(0);

    qh_target_leave_running(target, true);
    assert_fine(qh_target_stop(target));
    assert_code(qh_target_write(target, &word, 1), QH_ERR_NOT_HELD);
    qh_target_resume(target);
    assert_as_before(&word, 1);
}

static void test_all_or_nothing_when_one_is_another(void **state)
{
    struct qh_word words[] = { word_at(0), word_at(1), word_at(2) };

    assert_fine(qh_target_stop(target));
    words[2].before++;
    assert_code(qh_target_write(target, words, QH_COUNT(words)),
                QH_ERR_INCONSISTENT);
    words[2].before--;
    assert_as_before(words, QH_COUNT(words));
    qh_target_resume(target);
}

/* The middle one can be read but not written: the program's text. */
static void test_all_or_nothing_when_one_is_read_only(void **state)
{
    uint64_t text = child.facts.function & ~UINT64_C(7);
    uint64_t code = child_peek(child.pid, text);
    const struct qh_word words[] = { word_at(0),
                                     { qh_raddr(text), code, ~code },
                                     word_at(2) };

    assert_fine(qh_target_stop(target));
    assert_code(qh_target_write(target, words, QH_COUNT(words)),
                QH_ERR_SYSTEM);
    assert_as_before(words, QH_COUNT(words));
    qh_target_resume(target);
}

static void test_unreadable_and_unaligned(void **state)
{
    const struct qh_word hole = { qh_raddr(child.facts.gap + PAGE_BYTES), 0,
                                  1 };
    const struct qh_word odd = { qh_raddr(child.facts.pattern + 4), 0, 1 };

    assert_fine(qh_target_stop(target));
    assert_code(qh_target_write(target, &hole, 1), QH_ERR_UNREADABLE);
    assert_code(qh_target_write(target, &odd, 1), QH_ERR_INCONSISTENT);
    qh_target_resume(target);
}

static void test_eventfd_is_the_same(void **state)
{
    uint64_t count = 0;
    int fd = -1;

    assert_fine(qh_target_stop(target));
    assert_fine(qh_target_take_eventfd(target, child.facts.counted_fd, &fd));
    qh_target_resume(target);
    assert_fine(qh_eventfd_add(fd));
    assert_fine(
        qh_target_eventfd_count(target, child.facts.counted_fd, &count));
    assert_int_equal(count, 0x16);
    close(fd);
}

static void test_other_descriptors(void **state)
{
    int fd = -1;

    assert_fine(qh_target_stop(target));
    assert_code(qh_target_take_eventfd(target, STDIN_FILENO, &fd),
                QH_ERR_ABSENT);
    assert_code(qh_target_take_eventfd(target, 12345, &fd), QH_ERR_ABSENT);
    assert_code(qh_target_take_eventfd(target, -1, &fd), QH_ERR_ABSENT);
    assert_int_equal(fd, -1);
    qh_target_resume(target);
}

static void test_count_near_its_end(void **state)
{
    const uint64_t much = UINT64_MAX - 0x100;
    int fd = -1;

    assert_fine(qh_target_take_eventfd(target, child.facts.counted_fd, &fd));
    assert_int_equal(write(fd, &much, sizeof(much)), sizeof(much));
    assert_code(qh_eventfd_add(fd), QH_ERR_INCONSISTENT);
    close(fd);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_words_are_written),
        CASE(test_nothing_without_a_stop),
        CASE(test_nothing_after_a_mere_look),
        CASE(test_all_or_nothing_when_one_is_another),
        CASE(test_all_or_nothing_when_one_is_read_only),
        CASE(test_unreadable_and_unaligned),
        CASE(test_eventfd_is_the_same),
        CASE(test_other_descriptors),
        CASE(test_count_near_its_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
