/* What a capture asks of the kernel: touched pages, eventfds, /proc files.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target_help.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "target/raw.h"

enum { PAGES = 4096, FIRST = 3, LAST = PAGES - 1 };

static unsigned char *memory; /* the same in this process and in the child */
static unsigned char *file;   /* this program's first pages, privately */
static int counted;
static pid_t pid;
static struct qh_target *target;

/* Written: pages FIRST, FIRST + 1, LAST. Read only: the one between. */
static void make_memory(void)
{
    memory = mmap(NULL, PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_int_equal(madvise(memory, PAGES * PAGE_BYTES, MADV_NOHUGEPAGE), 0);
    memory[FIRST * PAGE_BYTES] = 1;
    memory[(FIRST + 1) * PAGE_BYTES] = 1;
    memory[LAST * PAGE_BYTES] = 1;
    assert_int_equal(*(volatile unsigned char *)&memory[9 * PAGE_BYTES], 0);

    int fd = open("/proc/self/exe", O_RDONLY);
    file =
        mmap(NULL, 2 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    assert_ptr_not_equal(file, MAP_FAILED);
    close(fd);
    assert_int_equal(*(volatile unsigned char *)file, 0x7f);
    file[PAGE_BYTES] ^= 1;
}

static int setup(void **state)
{
    make_memory();
    counted = eventfd(7, 0);
    pid = fork();
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            pause();
        }
    }
    target = open_live(pid);
    return 0;
}

static int teardown(void **state)
{
    qh_target_destroy(target);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return 0;
}

static uint64_t address(const unsigned char *of, unsigned page)
{
    return (uint64_t)(uintptr_t)of + (uint64_t)page * PAGE_BYTES;
}

/* The written page is there; one that was read may be, as the file's. */
static void check_file(void)
{
    struct qh_touched_list list = { 0 };
    bool copied = false;

    assert_fine(
        qh_raw_touched(target, address(file, 0), address(file, 2), &list));
    for (size_t i = 0; i < list.count; i++) {
        if (list.items[i].start <= address(file, 1) &&
            address(file, 1) < list.items[i].end) {
            copied |= !list.items[i].is_file;
        } else {
            assert_true(list.items[i].is_file);
        }
    }
    assert_true(copied);
    free(list.items);
}

static void check_touched(bool knows_zero_page)
{
    struct qh_touched_list list = { 0 };
    size_t last = knows_zero_page ? 1 : 2;

    assert_fine(qh_raw_touched(target, address(memory, 0),
                               address(memory, PAGES), &list));
    assert_int_equal(list.count, last + 1);
    assert_int_equal(list.items[0].start, address(memory, FIRST));
    assert_int_equal(list.items[0].end, address(memory, FIRST + 2));
    assert_false(list.items[0].is_file);
    assert_int_equal(list.items[last].start, address(memory, LAST));
    assert_int_equal(list.items[last].end, address(memory, PAGES));

    /* Cut in the middle of what is there. */
    list.count = 0;
    assert_fine(qh_raw_touched(target, address(memory, 0),
                               address(memory, FIRST + 1), &list));
    assert_int_equal(list.count, 1);
    assert_int_equal(list.items[0].end, address(memory, FIRST + 1));
    /* And on from there: one piece, not two. */
    assert_fine(qh_raw_touched(target, address(memory, FIRST + 1),
                               address(memory, FIRST + 3), &list));
    assert_int_equal(list.count, 1);
    assert_int_equal(list.items[0].end, address(memory, FIRST + 2));
    free(list.items);
    check_file();
}

static bool has_scan(void)
{
    int release = 0, minor = 0;
    FILE *in = fopen("/proc/sys/kernel/osrelease", "re");

    assert_non_null(in);
    assert_int_equal(fscanf(in, "%d.%d", &release, &minor), 2);
    fclose(in);
    return release > 6 || (release == 6 && minor >= 7);
}

static void test_touched(void **state)
{
    check_touched(has_scan());
}

static void test_eventfds(void **state)
{
    struct qh_arena arena = { NULL };
    struct qh_eventfd *eventfds;
    size_t count;
    uint64_t value = 0;

    assert_fine(qh_raw_eventfds(target, &arena, &eventfds, &count));
    assert_int_equal(count, 1);
    assert_int_equal(eventfds[0].fd, counted);
    assert_fine(qh_target_eventfd_count(target, counted, &value));
    assert_int_equal(value, 7);
    qh_arena_deinit(&arena);
}

static void test_files(void **state)
{
    struct qh_arena arena = { NULL };
    size_t bytes;
    char *text;

    assert_fine(qh_raw_file(target, "auxv", &arena, &text, &bytes));
    assert_true(bytes > 64 && bytes % 16 == 0);
    assert_fine(qh_raw_file(target, "smaps", &arena, &text, &bytes));
    assert_int_equal(bytes, strlen(text));
    assert_non_null(strstr(text, "\nVmFlags:"));
    assert_code(qh_raw_file(target, "no-such", &arena, &text, &bytes),
                QH_ERR_SYSTEM);
    qh_arena_deinit(&arena);
}

static void test_maps_are_those_of_the_stop(void **state)
{
    char line[64];

    assert_fine(qh_target_stop(target));
    snprintf(line, sizeof(line), "%llx-%llx rw-p",
             (unsigned long long)address(memory, 0),
             (unsigned long long)address(memory, PAGES));
    assert_non_null(strstr(qh_raw_maps(target), line));
    qh_target_resume(target);
    assert_non_null(strstr(qh_raw_maps(target), line));
}

/* From here on PAGEMAP_SCAN fails as it does where the kernel has none. */
static void take_scan_away(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 25 /* ENOTTY */),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { QH_COUNT(code), code };

    assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void test_touched_without_scan(void **state)
{
    take_scan_away();
    check_touched(false);
}

static void test_exited(void **state)
{
    struct qh_arena arena = { NULL };
    size_t bytes;
    char *text;

    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_code(qh_raw_file(target, "status", &arena, &text, &bytes),
                QH_ERR_EXITED);
    qh_arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_touched),
        cmocka_unit_test(test_eventfds),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_maps_are_those_of_the_stop),
        cmocka_unit_test(test_touched_without_scan), /* for good */
        cmocka_unit_test(test_exited),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
