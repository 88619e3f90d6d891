/* The core that a capture writes, down to more segments than fit.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target_help.h"

#include <elf.h>
#include <gelf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capture/capture.h"

/*
 * Pieces of four pages: one that cannot be accessed, three that can, of which
 * the middle one is written in some. Each is two mappings (the kernel allows
 * 65530) and two segments, or three where something is stored.
 */
enum { PIECE_PAGES = 4, WRITTEN = 2, MANY = 30000, FEW = 10, EACH = 4 };
/* Above this there are more segments than e_phnum can hold. */
_Static_assert(2 * MANY + MANY / EACH > 65535, "enough segments");

static unsigned char *memory;
static char *folder;
static char path[256];

static pid_t start(unsigned pieces)
{
    size_t bytes = (size_t)pieces * PIECE_PAGES * PAGE_BYTES;

    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    madvise(memory, bytes, MADV_NOHUGEPAGE);
    for (unsigned i = 0; i < pieces; i++) {
        unsigned char *piece = memory + (size_t)i * PIECE_PAGES * PAGE_BYTES;
        assert_int_equal(mprotect(piece, PAGE_BYTES, PROT_NONE), 0);
        if (i % EACH == 0) {
            memcpy(piece + WRITTEN * PAGE_BYTES, &i, sizeof(i));
            piece[(WRITTEN + 1) * PAGE_BYTES - 1] = 1;
        } else if (i % EACH == 1) {
            piece[WRITTEN * PAGE_BYTES] = 0; /* touched, but zeros */
        }
    }
    pid_t pid = fork();
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            pause();
        }
    }
    munmap(memory, bytes);
    return pid;
}

static uint64_t address(unsigned piece, unsigned page)
{
    return (uint64_t)(uintptr_t)memory +
           ((uint64_t)piece * PIECE_PAGES + page) * PAGE_BYTES;
}

/* No thread is given up for want of a CPU, however busy the host. */
static struct qh_capture_result capture(pid_t pid)
{
    const struct qh_live_options patient = { .stop_bound_ns = 20000000000 };
    const struct qh_capture_options options = { .tool_version = "test" };
    struct qh_capture_result result;
    struct qh_target *target;

    assert_fine(qh_target_open_live(pid, &patient, &target));
    assert_fine(qh_capture(target, path, &options, &result));
    qh_target_destroy(target);
    return result;
}

static struct qh_target *capture_pieces(unsigned pieces)
{
    struct qh_target *core;
    pid_t pid = start(pieces);
    struct qh_capture_result result = capture(pid);

    assert_int_equal(result.thread_count, 1);
    assert_int_equal(result.unstopped_count, 0);
    assert_int_equal(result.unreadable_bytes, 0);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_fine(qh_target_open_core(path, NULL, &core));
    assert_int_equal(qh_target_process(core)->pid, pid);
    assert_null(qh_target_process(core)->damage);
    return core;
}

static bool reads(struct qh_target *core, uint64_t at, unsigned *ret)
{
    struct qh_error *error =
        qh_target_read(core, qh_raddr(at), ret, sizeof(*ret));
    bool fine = !error;

    qh_error_destroy(error);
    return fine;
}

static void check_pieces(struct qh_target *core, unsigned pieces)
{
    unsigned value = 0;

    for (unsigned i = 0; i < pieces; i++) {
        assert_false(reads(core, address(i, 0), &value));
        for (unsigned page = 1; page < PIECE_PAGES; page++) {
            assert_true(reads(core, address(i, page), &value));
            assert_int_equal(value, i % EACH == 0 && page == WRITTEN ? i : 0);
        }
    }
}

/* Every segment in order, none over another, none beyond the file. */
static size_t check_segments(void)
{
    int fd = open(path, O_RDONLY);
    off_t end = lseek(fd, 0, SEEK_END);
    size_t count, loads = 0;
    uint64_t reached = 0;

    elf_version(EV_CURRENT);
    Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
    assert_non_null(elf);
    assert_int_equal(elf_getphdrnum(elf, &count), 0);
    for (size_t i = 0; i < count; i++) {
        GElf_Phdr phdr;
        assert_non_null(gelf_getphdr(elf, (int)i, &phdr));
        assert_true(phdr.p_offset + phdr.p_filesz <= (uint64_t)end);
        if (phdr.p_type == PT_LOAD) {
            assert_true(phdr.p_vaddr >= reached);
            assert_true(phdr.p_filesz <= phdr.p_memsz);
            assert_int_equal(phdr.p_offset % PAGE_BYTES, 0);
            reached = phdr.p_vaddr + phdr.p_memsz;
            loads++;
        }
    }
    assert_int_equal(loads + 1, count);
    elf_end(elf);
    close(fd);
    return count;
}

static Elf64_Ehdr header_of_file(void)
{
    Elf64_Ehdr header;
    int fd = open(path, O_RDONLY);

    assert_int_equal(read(fd, &header, sizeof(header)), sizeof(header));
    close(fd);
    return header;
}

static void test_few_segments(void **state)
{
    struct qh_target *core = capture_pieces(FEW);

    check_pieces(core, FEW);
    qh_target_destroy(core);
    assert_int_equal(check_segments(), header_of_file().e_phnum);
    assert_int_equal(header_of_file().e_shnum, 0);
}

static void test_more_segments_than_fit(void **state)
{
    struct qh_target *core = capture_pieces(MANY);

    check_pieces(core, MANY);
    qh_target_destroy(core);
    assert_true(check_segments() > 65535);
    assert_int_equal(header_of_file().e_phnum, PN_XNUM);
    assert_int_equal(header_of_file().e_shnum, 1);
}

static void test_registers_are_those_of_the_process(void **state)
{
    struct child child = child_start(NULL, "threads", NULL);
    struct qh_target *target = open_live(child.pid), *core;
    const struct qh_capture_options options = { .tool_version = "test" };
    struct qh_capture_result result;
    size_t count, core_count;

    assert_fine(qh_capture(target, path, &options, &result));
    assert_fine(qh_target_open_core(path, NULL, &core));
    const struct qh_task *tasks = qh_target_tasks(target, &count);
    const struct qh_task *kept = qh_target_tasks(core, &core_count);
    assert_int_equal(count, core_count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(tasks[i].tid, kept[i].tid);
        assert_int_equal(tasks[i].fs_base, kept[i].fs_base);
        assert_int_equal(tasks[i].orig_rax, kept[i].orig_rax);
        assert_memory_equal(&tasks[i].regs, &kept[i].regs,
                            sizeof(tasks[i].regs));
    }
    qh_target_destroy(core);
    qh_target_destroy(target);
    child_end(&child);
}

/* The map is the process's, not that of the segments: coroutine stacks are
 * found by it. */
static void test_map_is_that_of_the_process(void **state)
{
    pid_t pid = start(FEW);
    struct qh_target *target = open_live(pid), *core;
    size_t count, core_count;

    capture(pid);
    assert_fine(qh_target_stop(target));
    qh_target_resume(target);
    assert_fine(qh_target_open_core(path, NULL, &core));
    const struct qh_mapping *maps = qh_target_mappings(target, &count);
    const struct qh_mapping *kept = qh_target_mappings(core, &core_count);
    assert_int_equal(count, core_count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(maps[i].start, kept[i].start);
        assert_int_equal(maps[i].end, kept[i].end);
        assert_int_equal(maps[i].readable, kept[i].readable);
        assert_int_equal(maps[i].writable, kept[i].writable);
        assert_int_equal(maps[i].file_offset, kept[i].file_offset);
        assert_string_equal(maps[i].path, kept[i].path);
    }
    qh_target_destroy(core);
    qh_target_destroy(target);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* The end of `word` in the file, NULL when it is not there. */
static char *behind(unsigned char *bytes, size_t count, const char *word)
{
    char *at = memmem(bytes, count, word, strlen(word));

    return at ? at + strlen(word) : NULL;
}

/* Overwrites what stands behind `word` in the capture, opens that, and tells
 * whether untouched pages still count as zeros: whether it was believed. */
static bool believed_with(const char *word, const char *forged)
{
    struct qh_target *core;
    unsigned value = 1;
    size_t count;
    unsigned char *bytes = slurp(path, &count);
    char *at = behind(bytes, count, word);

    assert_non_null(at);
    memcpy(at, forged, strlen(forged));
    char other[300];
    snprintf(other, sizeof(other), "%s-forged", path);
    spit(other, bytes, count);
    free(bytes);
    assert_fine(qh_target_open_core(other, NULL, &core));
    bool zero = reads(core, address(1, 1), &value);
    assert_true(reads(core, address(0, WRITTEN), &value));
    qh_target_destroy(core);
    return zero;
}

/* A file may lie: then it is a core like any other, or less is known. */
static void test_forged_notes(void **state)
{
    struct qh_target *core = capture_pieces(FEW);

    qh_target_destroy(core);
    assert_true(believed_with("\"format\":\"", "qhang-capture/1"));
    assert_false(believed_with("\"format\":\"", "qhang-capture/2"));
    assert_false(believed_with("\"format\"", ";"));
    assert_false(believed_with("\"monotonic_ns\":", "[],"));
    assert_false(believed_with("\"realtime_ns\":", "nul"));
    assert_false(believed_with("\"left_out\":", "1}"));
    assert_true(believed_with("\"threads\":[{\"tid\":", "9"));
    assert_true(believed_with("\"eventfds\":", "71"));
    assert_false(believed_with("QHANG\0\0\0", "\xff\xff\xff\xff"));
}

/* A process for which the stop is the end: it makes epoll_wait() return
 * (signal(7)). What was read of it is kept. */
static void test_ends_with_the_stop(void **state)
{
    for (unsigned i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (!pid) {
            struct epoll_event event;
            int fd = epoll_create1(0);
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            epoll_wait(fd, &event, 1, -1);
            _exit(0);
        }
        await_state(pid, pid, 'S');
        struct qh_capture_result result = capture(pid);
        assert_int_equal(result.thread_count, 1);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(unlink(path), 0);
    }
}

static int setup(void **state)
{
    folder = make_folder();
    snprintf(path, sizeof(path), "%s/core", folder);
    return 0;
}

static int teardown(void **state)
{
    remove_folder(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_few_segments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_more_segments_than_fit, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_map_is_that_of_the_process, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_forged_notes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ends_with_the_stop, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_registers_are_those_of_the_process,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
