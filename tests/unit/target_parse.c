/* The texts of /proc, and the page cache, without any process.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target_help.h"

#include "target/ops.h"
#include "target/procfs.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

static void test_stat(void **state)
{
    struct qh_proc_stat stat;
    const char *line = "7 (a) R (b) S 1 7 7 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 "
                       "1 0 9 0 0 1 0 0 0 0 0 0 0 0 0 0 0 0 17 3 0 0 0 0 0 "
                       "0 0 0 0 0 0 0 1792\n";

    assert_true(qh_proc_parse_stat(line, &stat));
    assert_int_equal(stat.state, 'S');
    assert_int_equal(stat.cpu, 3);
    assert_int_equal(stat.exit_code, 7 << 8);
    assert_true(stat.kernel_thread); /* 2129984 = 0x208040 */
    assert_true(qh_proc_parse_stat("7 (x) D 1 2 3", &stat));
    assert_int_equal(stat.state, 'D');
    assert_int_equal(stat.cpu, -1);
    assert_int_equal(stat.exit_code, 0);
    assert_false(stat.kernel_thread);
    assert_false(qh_proc_parse_stat("", &stat));
    assert_false(qh_proc_parse_stat("7 (x)", &stat));
    assert_false(qh_proc_parse_stat("7 (x) ", &stat));
}

static void test_status(void **state)
{
    const char *text = "Name:\tTracerPid: 9\nTgid:\t5\nTracerPid:\t77\n"
                       "Uid:\t107\t108\t109\t110\n";
    long value = -1;

    assert_true(qh_proc_parse_status(text, "TracerPid", &value));
    assert_int_equal(value, 77);
    assert_true(qh_proc_parse_status(text, "Uid", &value));
    assert_int_equal(value, 107);
    assert_false(qh_proc_parse_status(text, "PPid", &value));
    assert_false(qh_proc_parse_status("", "Uid", &value));
    assert_int_equal(value, 107);
}

/* The innermost of a thread's ids stands last. */
static void test_last_of_status(void **state)
{
    long value = -1;

    assert_true(qh_proc_parse_last("NSpid:\t4711\t23\t1\nNSpgid:\t9\n", "NSpid",
                                   &value));
    assert_int_equal(value, 1);
    assert_true(qh_proc_parse_last("NSpid:\t4711", "NSpid", &value));
    assert_int_equal(value, 4711);
    assert_false(qh_proc_parse_last("NSpid:\t\n5\n", "NSpid", &value));
    assert_false(qh_proc_parse_last("Pid:\t5\n", "NSpid", &value));
    assert_int_equal(value, 4711);
}

static void test_other_numbers(void **state)
{
    int64_t ns = 0;
    uint64_t count = 0;

    assert_true(qh_proc_parse_exec_start(
        "x (1, #threads: 1)\n---\nse.exec_start      :    1101564.000042\n",
        &ns));
    assert_int_equal(ns, INT64_C(1101564000042));
    assert_false(qh_proc_parse_exec_start("se.exec_start : lots\n", &ns));
    assert_false(qh_proc_parse_exec_start("nothing", &ns));
    assert_true(
        qh_proc_parse_eventfd("pos:\t0\neventfd-count:       1f\n", &count));
    assert_int_equal(count, 0x1f);
    assert_false(qh_proc_parse_eventfd("pos:\t0\n", &count));
    assert_true(qh_proc_parse_timens("monotonic   -3   5\nboottime 0 0\n",
                                     "monotonic", &ns));
    assert_int_equal(ns, INT64_C(-2999999995));
    assert_false(qh_proc_parse_timens("boottime 0 0\n", "monotonic", &ns));
}

static void test_auxv(void **state)
{
    const uint64_t auxv[] = { AT_PHDR, 5, AT_ENTRY, 6, AT_NULL, 0, AT_BASE, 7 };

    assert_int_equal(qh_auxv_value(auxv, sizeof(auxv), AT_ENTRY), 6);
    assert_int_equal(qh_auxv_value(auxv, sizeof(auxv), AT_BASE), 0);
    assert_int_equal(qh_auxv_value(auxv, 24, AT_ENTRY), 0); /* cut */
    assert_int_equal(qh_auxv_value(NULL, 0, AT_ENTRY), 0);
}

static struct qh_error *parse(struct qh_target **ret, const char *text)
{
    assert_fine(qh_target_new(QH_TARGET_CORE, ret));
    return qh_maps_parse(*ret, text);
}

static void test_maps(void **state)
{
    QH_CLEANUP(qh_target_guard) struct qh_target *target = NULL;
    size_t count = 0;

    assert_fine(parse(
        &target,
        "1000-3000 r-xp 00002000 fe:00 12                 /a b (deleted)\n"
        "3000-4000 ---s 00000000 00:00 0 \n"
        "7f0000000000-7f0000001000 rw-p 00000000 00:00 0  [stack]\n"
        "ffffffffff600000-ffffffffff601000 r-xp 00000000 00:00 0  "
        "[vsyscall]\n"));
    const struct qh_mapping *m = qh_target_mappings(target, &count);
    assert_int_equal(count, 4);
    assert_int_equal(m[0].start, 0x1000);
    assert_int_equal(m[0].end, 0x3000);
    assert_int_equal(m[0].file_offset, 0x2000);
    assert_true(m[0].readable && m[0].executable && !m[0].writable);
    assert_int_equal(m[0].present_bytes, 0x2000);
    assert_string_equal(m[0].path, "/a b (deleted)");
    assert_true(m[1].shared && !m[1].readable);
    assert_int_equal(m[1].present_bytes, 0);
    assert_string_equal(m[1].path, "");
    assert_string_equal(m[2].path, "[stack]");
    assert_int_equal(m[3].present_bytes, 0);
    assert_ptr_equal(qh_target_mapping_at(target, qh_raddr(0x2fff)), &m[0]);
    assert_ptr_equal(qh_target_mapping_at(target, qh_raddr(0x3000)), &m[1]);
    assert_null(qh_target_mapping_at(target, qh_raddr(0x4000)));
    assert_null(qh_target_mapping_at(target, qh_raddr(UINT64_MAX)));
}

static void test_bad_maps(void **state)
{
    const char *const bad[] = {
        "\n",
        "zz\n",
        "1000\n",
        "1000-2000\n",
        "2000-1000 r--p 0 0:0 0\n",
        "1000-2000 r-\n",
        "2000-3000 r--p 0 0:0 0\n1000-2000 r--p 0 0:0 0\n",
        "1000-3000 r--p 0 0:0 0\n2000-4000 r--p 0 0:0 0\n",
    };

    for (unsigned i = 0; i < QH_COUNT(bad); i++) {
        QH_CLEANUP(qh_target_guard) struct qh_target *target = NULL;
        assert_code(parse(&target, bad[i]), QH_ERR_INCONSISTENT);
    }
}

static void test_deleted(void **state)
{
    char path[] = "/usr/bin/x (deleted)", other[] = "/deleted)",
         bare[] = " (deleted)";

    assert_true(qh_path_take_deleted(path));
    assert_string_equal(path, "/usr/bin/x");
    assert_false(qh_path_take_deleted(path));
    assert_false(qh_path_take_deleted(other));
    assert_false(qh_path_take_deleted(bare));
}

/* Puts one page in, from an offset on; what is reserved behind it is not
 * entered, and so is not to be found in what comes next. */
static void put_page(struct qh_cache *cache, uint64_t page, uint16_t from,
                     int value)
{
    const uint16_t both[] = { from, 0 };
    unsigned char *parts[2];

    assert_fine(qh_cache_reserve(cache, both, 2, parts));
    memset(parts[0], value, PAGE_BYTES - from);
    memset(parts[1], 0xff, PAGE_BYTES);
    qh_cache_commit(cache, &page, &from, 1);
}

static void test_cache(void **state)
{
    enum { PAGES = 3000 };
    struct qh_cache cache = { 0 };

    assert_null(qh_cache_find(&cache, 5, 0));
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < PAGES; i++) {
            put_page(&cache, i * i * 977 + round, i % 64 * QH_CACHE_UNIT,
                     (int)(i % 251));
        }
        assert_int_equal(cache.count, PAGES);
        for (uint64_t i = 0; i < PAGES; i++) {
            uint64_t page = i * i * 977 + round;
            size_t from = i % 64 * QH_CACHE_UNIT;
            const unsigned char *bytes = qh_cache_find(&cache, page, from);
            assert_non_null(bytes);
            assert_int_equal(bytes[0], i % 251);
            assert_int_equal(bytes[PAGE_BYTES - from - 1], i % 251);
            assert_ptr_equal(qh_cache_find(&cache, page, PAGE_BYTES - 1),
                             bytes + PAGE_BYTES - from - 1);
            assert_true(!from || !qh_cache_find(&cache, page, from - 1));
        }
        assert_null(qh_cache_find(&cache, 2 * 977 + round, 0));
        qh_cache_clear(&cache);
        assert_null(qh_cache_find(&cache, round, 0));
    }
    qh_cache_deinit(&cache);
}

/* Of a page that is read further down later, what was there stays. */
static void test_cache_keeps(void **state)
{
    struct qh_cache cache = { 0 };

    put_page(&cache, 42, 256, 1);
    size_t first = cache.used;
    put_page(&cache, 42, 128, 2);
    size_t second = cache.used;
    put_page(&cache, 42, 0, 3);
    const unsigned char *bytes = qh_cache_find(&cache, 42, 0);
    assert_int_equal(bytes[0], 3);
    assert_int_equal(bytes[127], 3);
    assert_int_equal(bytes[128], 2);
    assert_int_equal(bytes[255], 2);
    assert_int_equal(bytes[256], 1);
    assert_int_equal(bytes[PAGE_BYTES - 1], 1);
    assert_int_equal(cache.count, 1);
    assert_false(qh_cache_holds_before(&cache, 42, 0, second));
    assert_true(qh_cache_holds_before(&cache, 42, 0, cache.used));
    /* Of three times the one in between is taken for the last. */
    assert_false(qh_cache_holds_before(&cache, 42, 128, second));
    assert_true(qh_cache_holds_before(&cache, 42, 256, first));
    assert_false(qh_cache_holds_before(&cache, 42, 256, 0));
    qh_cache_deinit(&cache);
}

/* What has been made ready is used, and what is held stays. */
static void test_cache_room(void **state)
{
    struct qh_cache cache = { 0 };

    put_page(&cache, 7, 0, 3);
    assert_fine(qh_cache_make_room(&cache, 5000, 5000 * PAGE_BYTES));
    size_t slabs = cache.slab_count, capacity = cache.capacity;
    assert_true(slabs >= 19 && capacity >= 10000);
    for (uint64_t page = 8; page < 4900; page++) {
        put_page(&cache, page, 0, (int)(page % 251));
    }
    assert_int_equal(cache.slab_count, slabs);
    assert_int_equal(cache.capacity, capacity);
    assert_int_equal(qh_cache_find(&cache, 7, 0)[9], 3);
    assert_int_equal(qh_cache_bytes(&cache), 4893 * PAGE_BYTES);
    qh_cache_deinit(&cache);
}

static void test_build_ids(void **state)
{
    char id[QH_BUILD_ID_HEX];
    int fd = open("/proc/self/exe", O_RDONLY);

    qh_build_id_of_fd(fd, id);
    close(fd);
    assert_true(strlen(id) >= 32);
    assert_int_equal(strspn(id, "0123456789abcdef"), strlen(id));
    fd = open("/dev/null", O_RDONLY);
    qh_build_id_of_fd(fd, id);
    close(fd);
    assert_string_equal(id, "");
    qh_build_id_of_fd(-1, id);
    assert_string_equal(id, "");
}

static void test_own_vdso(void **state)
{
    char id[QH_BUILD_ID_HEX];

    qh_build_id_of_own_vdso(id);
    if (!getauxval(AT_SYSINFO_EHDR)) {
        assert_string_equal(id, "");
        print_message("no vdso here (valgrind?)\n");
        skip();
    }
    assert_true(strlen(id) >= 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stat),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_last_of_status),
        cmocka_unit_test(test_other_numbers),
        cmocka_unit_test(test_auxv),
        cmocka_unit_test(test_maps),
        cmocka_unit_test(test_bad_maps),
        cmocka_unit_test(test_deleted),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_cache_keeps),
        cmocka_unit_test(test_cache_room),
        cmocka_unit_test(test_build_ids),
        cmocka_unit_test(test_own_vdso),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
