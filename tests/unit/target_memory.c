/* What is read of a running process: memory, map, modules, clocks.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target_help.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
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

static uint64_t read_number(uint64_t address)
{
    uint64_t value = 0;

    assert_fine(
        qh_target_read(target, qh_raddr(address), &value, sizeof(value)));
    return value;
}

static void assert_pattern(const unsigned char *bytes, size_t from,
                           size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(bytes[i], child_pattern((unsigned)(from + i)));
    }
}

static void test_every_cut_of_a_piece(void **state)
{
    unsigned char bytes[PATTERN_BYTES];
    const size_t edges[] = {
        0, 1, PAGE_BYTES - 1, PAGE_BYTES, PAGE_BYTES + 1, 8000, PATTERN_BYTES
    };

    for (size_t a = 0; a < QH_COUNT(edges); a++) {
        for (size_t b = a; b < QH_COUNT(edges); b++) {
            assert_fine(qh_target_read(target,
                                       qh_raddr(child.facts.pattern + edges[a]),
                                       bytes, edges[b] - edges[a]));
            assert_pattern(bytes, edges[a], edges[b] - edges[a]);
        }
    }
}

static void assert_unreadable_at(struct qh_error *error, uint64_t address)
{
    assert_non_null(error);
    assert_int_equal(error->code, QH_ERR_UNREADABLE);
    assert_true(error->has_address);
    assert_int_equal(error->address.value, address);
    qh_error_destroy(error);
}

static void test_first_bad_address(void **state)
{
    static unsigned char bytes[3 * PAGE_BYTES];
    uint64_t gap = child.facts.gap;

    for (unsigned stopped = 0; stopped < 2; stopped++) {
        assert_unreadable_at(
            qh_target_read(target, qh_raddr(gap + 100), bytes, 2 * PAGE_BYTES),
            gap + PAGE_BYTES);
        assert_unreadable_at(
            qh_target_read(target, qh_raddr(gap + PAGE_BYTES + 9), bytes, 1),
            gap + PAGE_BYTES + 9);
        assert_unreadable_at(qh_target_read(target, qh_raddr(0), bytes, 8), 0);
        assert_unreadable_at(
            qh_target_read(target, qh_raddr(UINT64_MAX - 3), bytes, 8),
            UINT64_MAX - 3);
        assert_unreadable_at(
            qh_target_read(target, qh_raddr(UINT64_C(1) << 47), bytes, 8),
            UINT64_C(1) << 47);
        assert_fine(qh_target_stop(target));
    }
}

static void test_as_much_as_is_there(void **state)
{
    static unsigned char bytes[3 * PAGE_BYTES];
    size_t got = 99;

    assert_fine(qh_target_read_some(target, qh_raddr(child.facts.gap + 10),
                                    bytes, sizeof(bytes), &got));
    assert_int_equal(got, PAGE_BYTES - 10);
    assert_int_equal(bytes[got - 1], 0x5a);
    assert_fine(qh_target_read_some(target, qh_raddr(0), bytes, 8, &got));
    assert_int_equal(got, 0);
    assert_fine(qh_target_read_some(target, qh_raddr(UINT64_MAX - 7), bytes,
                                    sizeof(bytes), &got));
    assert_int_equal(got, 0);
}

/* Read in the stop, it stays as it was; not read then, it is read late. */
static void test_cache_holds_the_stop(void **state)
{
    read_number(child.facts.counter);
    await_change(child.pid, child.facts.counter,
                 read_number(child.facts.counter));
    assert_fine(qh_target_stop(target));
    uint64_t at_stop = read_number(child.facts.counter);
    assert_int_equal(at_stop, child_peek(child.pid, child.facts.counter));
    qh_target_resume(target);
    await_change(child.pid, child.facts.counter, at_stop);
    assert_int_equal(read_number(child.facts.counter), at_stop);
    assert_int_equal(qh_target_late_reads(target), 0);
    read_number(child.facts.signals);
    assert_int_equal(qh_target_late_reads(target), 1);
    read_number(child.facts.signals);
    assert_int_equal(qh_target_late_reads(target), 1);
    assert_fine(qh_target_stop(target));
    assert_true(read_number(child.facts.counter) > at_stop);
}

/* Of a stack the part in use is read in the stop. Who then wants what lies
 * below gets that as it is now, and the rest stays as it was. */
static void test_part_of_a_page_stays(void **state)
{
    const uint64_t page = child.facts.counter, word = page + 800;
    const struct qh_range upper = { page + 512, page + PAGE_BYTES };
    uint64_t changed = 7;
    const struct iovec local = { &changed, sizeof(changed) };
    const struct iovec remote = { (void *)word, sizeof(changed) };

    assert_fine(qh_target_stop(target));
    assert_fine(qh_target_prefetch(target, &upper, 1));
    uint64_t at_stop = child_peek(child.pid, page);
    qh_target_resume(target);
    await_change(child.pid, page, at_stop);
    assert_int_equal(process_vm_writev(child.pid, &local, 1, &remote, 1, 0),
                     sizeof(changed));
    assert_int_equal(read_number(word), 0);
    assert_true(read_number(page) > at_stop);
    assert_int_equal(read_number(word), 0);
    assert_true(qh_target_is_late(target, qh_raddr(page)));
    assert_false(qh_target_is_late(target, qh_raddr(word)));
    assert_int_equal(child_peek(child.pid, word), changed);
}

static void test_prefetch(void **state)
{
    const struct qh_range ranges[] = {
        { child.facts.pattern, child.facts.pattern + PATTERN_BYTES },
        { child.facts.gap, child.facts.gap + 3 * PAGE_BYTES },
        { child.facts.counter + 8, child.facts.counter + 9 },
        { 5, 5 },
        { 9, 4 },
        { 0, 4096 },
    };
    unsigned char bytes[PATTERN_BYTES];

    assert_fine(qh_target_stop(target));
    uint64_t before = qh_target_bytes_read(target);
    assert_fine(qh_target_prefetch(target, ranges, QH_COUNT(ranges)));
    uint64_t pages = (qh_target_bytes_read(target) - before) / PAGE_BYTES;
    assert_int_equal(pages, 3 + 2 + 1);
    uint64_t at_stop = child_peek(child.pid, child.facts.counter);
    qh_target_resume(target);
    await_change(child.pid, child.facts.counter, at_stop);
    assert_int_equal(read_number(child.facts.counter), at_stop);
    assert_fine(qh_target_read(target, qh_raddr(child.facts.pattern), bytes,
                               sizeof(bytes)));
    assert_pattern(bytes, 0, sizeof(bytes));
    assert_int_equal(qh_target_late_reads(target), 0);
}

/* More than one batch of pages, and more than the slabs hold at first. */
static void test_prefetch_everything(void **state)
{
    size_t count = 0;
    char byte;

    assert_fine(qh_target_stop(target));
    const struct qh_mapping *mappings = qh_target_mappings(target, &count);
    struct qh_range *ranges = calloc(count, sizeof(*ranges));
    for (size_t i = 0; i < count; i++) {
        ranges[i] = (struct qh_range){ mappings[i].start, mappings[i].end };
    }
    assert_fine(qh_target_prefetch(target, ranges, count));
    qh_target_resume(target);
    for (size_t i = 0; i < count; i++) {
        if (mappings[i].present_bytes) {
            assert_fine(qh_target_read(target, qh_raddr(mappings[i].end - 1),
                                       &byte, 1));
        }
    }
    assert_int_equal(qh_target_late_reads(target), 0);
    free(ranges);
}

static void test_map(void **state)
{
    size_t count = 0;
    const struct qh_mapping *mappings = qh_target_mappings(target, &count);

    for (size_t i = 0; i < count; i++) {
        const struct qh_mapping *m = &mappings[i];
        assert_true(m->start < m->end);
        assert_true(i == 0 || m->start >= mappings[i - 1].end);
        assert_ptr_equal(qh_target_mapping_at(target, qh_raddr(m->start)), m);
        assert_ptr_equal(qh_target_mapping_at(target, qh_raddr(m->end - 1)), m);
    }
    const struct qh_mapping *text =
        qh_target_mapping_at(target, qh_raddr(child.facts.function));
    assert_true(text->executable && text->readable && !text->writable);
    assert_non_null(strstr(text->path, "target_child"));
    const struct qh_mapping *data =
        qh_target_mapping_at(target, qh_raddr(child.facts.pattern));
    assert_true(data->writable && !data->executable && !data->shared);
    assert_null(
        qh_target_mapping_at(target, qh_raddr(child.facts.gap + PAGE_BYTES)));
    assert_null(qh_target_mapping_at(target, qh_raddr(0)));
}

static const struct qh_module *executable(void)
{
    size_t count = 0;
    const struct qh_module *modules = qh_target_modules(target, &count);
    const struct qh_module *found = NULL;

    for (size_t i = 0; i < count; i++) {
        if (modules[i].is_exe) {
            assert_null(found);
            found = &modules[i];
        }
    }
    assert_non_null(found);
    return found;
}

static void test_modules(void **state)
{
    const struct qh_module *exe = executable();
    size_t count = 0;
    bool libc = false, vdso = false;

    assert_string_equal(exe->path, qh_target_process(target)->exe);
    assert_true(child.facts.function >= exe->start &&
                child.facts.function < exe->end);
    assert_true(strlen(exe->build_id) >= 32);
    const struct qh_module *modules = qh_target_modules(target, &count);
    for (size_t i = 0; i < count; i++) {
        int fd = -1;
        libc |= strstr(modules[i].path, "/libc.so.6") != NULL;
        if (modules[i].path[0] == '/') {
            assert_fine(qh_target_open_module(target, &modules[i], &fd));
            close(fd);
        } else {
            assert_string_equal(modules[i].path, "[vdso]");
            assert_code(qh_target_open_module(target, &modules[i], &fd),
                        QH_ERR_NO_DEBUGINFO);
            vdso = true;
        }
    }
    assert_true(libc && vdso);
}

static void test_wrong_build_id(void **state)
{
    struct qh_module other = *executable();
    int fd = -1;

    other.build_id[0] = other.build_id[0] == '0' ? '1' : '0';
    struct qh_error *error = qh_target_open_module(target, &other, &fd);
    assert_non_null(error);
    assert_non_null(strstr(error->message, other.build_id));
    assert_non_null(strstr(error->message, executable()->build_id));
    assert_code(error, QH_ERR_WRONG_EXE);
    assert_int_equal(fd, -1);
}

static void copy_child(const char *to)
{
    size_t bytes = 0;
    unsigned char *program = slurp(getenv("QHANG_TARGET_CHILD"), &bytes);

    spit(to, program, bytes);
    assert_int_equal(chmod(to, 0700), 0);
    free(program);
}

/* The package was upgraded while the program ran. */
static void test_replaced_on_disk(void **state)
{
    char *folder = make_folder(), path[600];
    int fd = -1;

    snprintf(path, sizeof(path), "%s/program", folder);
    copy_child(path);
    qh_target_destroy(target);
    child_end(&child);
    child = child_start(path, "threads", NULL);
    assert_int_equal(unlink(path), 0);
    spit(path, "something else", 14);
    target = open_live(child.pid);
    const struct qh_module *exe = executable();
    assert_true(exe->deleted);
    assert_string_equal(exe->path, path);
    assert_string_equal(qh_target_process(target)->exe, path);
    assert_fine(qh_target_open_module(target, exe, &fd));
    close(fd);
    remove_folder(folder);
}

static void test_eventfd(void **state)
{
    uint64_t count = 0;

    assert_fine(
        qh_target_eventfd_count(target, child.facts.counted_fd, &count));
    assert_int_equal(count, 0x15);
    assert_code(qh_target_eventfd_count(target, 0, &count), QH_ERR_ABSENT);
    assert_code(qh_target_eventfd_count(target, 999, &count), QH_ERR_ABSENT);
    assert_code(qh_target_eventfd_count(target, -1, &count), QH_ERR_ABSENT);
}

static int64_t now_ns(int clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void test_clock_is_that_of_the_stop(void **state)
{
    const int clocks[] = { CLOCK_MONOTONIC, CLOCK_REALTIME };
    int64_t before[2], after[2], told;

    for (unsigned i = 0; i < 2; i++) {
        before[i] = now_ns(clocks[i]);
    }
    assert_fine(qh_target_stop(target));
    for (unsigned i = 0; i < 2; i++) {
        after[i] = now_ns(clocks[i]);
    }
    qh_target_resume(target);
    for (unsigned i = 0; i < 2; i++) {
        assert_fine(qh_target_clock(target, clocks[i], &told));
        assert_true(told >= before[i] && told <= after[i]);
    }
    assert_code(qh_target_clock(target, CLOCK_THREAD_CPUTIME_ID, &told),
                QH_ERR_ABSENT);
}

/* Never earlier than it was; later by what a hypervisor took away since. */
static void test_last_ran(void **state)
{
    int64_t now = 0;

    child_order(&child, 'p');
    child_poked(&child);
    await_state(child.pid, child.facts.tids[POLLER], 'S');
    int64_t asleep = now_ns(CLOCK_MONOTONIC);
    usleep(300000);
    assert_fine(qh_target_stop(target));
    qh_target_resume(target);
    assert_fine(qh_target_clock(target, CLOCK_MONOTONIC, &now));
    int64_t ran = task_of(target, child.facts.tids[POLLER])->last_ran_ns;
    if (!ran) {
        skip(); /* a kernel without se.exec_start */
    }
    assert_true(ran > asleep - INT64_C(1000000000));
    assert_true(ran < now - 50000000);
    /* A stop makes it run; what was known before stays. */
    assert_fine(qh_target_stop(target));
    assert_int_equal(task_of(target, child.facts.tids[POLLER])->last_ran_ns,
                     ran);
}

int main(void)
{
#define WITH_CHILD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_CHILD(test_every_cut_of_a_piece),
        WITH_CHILD(test_first_bad_address),
        WITH_CHILD(test_as_much_as_is_there),
        WITH_CHILD(test_cache_holds_the_stop),
        WITH_CHILD(test_part_of_a_page_stays),
        WITH_CHILD(test_prefetch),
        WITH_CHILD(test_prefetch_everything),
        WITH_CHILD(test_map),
        WITH_CHILD(test_modules),
        WITH_CHILD(test_wrong_build_id),
        WITH_CHILD(test_replaced_on_disk),
        WITH_CHILD(test_eventfd),
        WITH_CHILD(test_clock_is_that_of_the_stop),
        WITH_CHILD(test_last_ran),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
