/* Cores: the kernel's and gcore's, whole, cut short, packed, spoiled.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The child's own memory tells what must be found; the cores are made anew in
 * each run. Two things must hold for whatever is left of a core: no crash (the
 * sanitizers watch), and no byte that is not the child's.
 */
#include "target_made.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>
#include <zstd.h>

static char *folder;
static struct made by_kernel, by_gcore;

static int setup(void **state)
{
    folder = make_folder();
    made_by_kernel(folder, &by_kernel);
    made_by_gcore(folder, &by_gcore);
    return 0;
}

static int teardown(void **state)
{
    free(by_kernel.path);
    free(by_gcore.path);
    remove_folder(folder);
    return 0;
}

static const struct made *needed(void **state)
{
    const struct made *made = *state;

    if (!made->path) {
        print_message("%s\n", made->why_not);
        skip();
    }
    return made;
}

static struct qh_target *open_core(const char *path)
{
    struct qh_target *target = NULL;

    assert_fine(qh_target_open_core(path, NULL, &target));
    assert_fine(qh_target_stop(target));
    return target;
}

/* All that can be read is right; `whole`: and everything can be read. */
static void check_memory(struct qh_target *target, const struct made *made,
                         bool whole)
{
    unsigned char bytes[PATTERN_BYTES];
    const struct child_facts *facts = &made->facts;
    size_t got = 0;

    assert_fine(qh_target_read_some(target, qh_raddr(facts->pattern), bytes,
                                    sizeof(bytes), &got));
    assert_true(!whole || got == sizeof(bytes));
    for (size_t i = 0; i < got; i++) {
        assert_int_equal(bytes[i], child_pattern((unsigned)i));
    }
    assert_fine(qh_target_read_some(target, qh_raddr(facts->function), bytes,
                                    TEXT_BYTES, &got));
    assert_true(!whole || got == TEXT_BYTES);
    assert_memory_equal(bytes, made->text, got);
    /* Read-only in the map, and yet not what the file has. */
    assert_fine(qh_target_read_some(target, qh_raddr(facts->relocated), bytes,
                                    8, &got));
    assert_true(!whole || got == 8);
    assert_memory_equal(bytes, &made->relocated, got);
    assert_fine(qh_target_read_some(target, qh_raddr(facts->gap + PAGE_BYTES),
                                    bytes, 1, &got));
    assert_int_equal(got, 0);
}

static void check_threads(struct qh_target *target, const struct made *made)
{
    size_t count = 0;
    const struct qh_task *tasks = qh_target_tasks(target, &count);

    assert_int_equal(count, 1 + CHILD_THREADS);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(tasks[i].stop, QH_TASK_STOPPED);
        assert_true(i == 0 || tasks[i].tid > tasks[i - 1].tid);
        assert_non_null(qh_target_mapping_at(
            target, qh_raddr(tasks[i].regs.dwarf[QH_REG_RSP])));
    }
    for (unsigned i = 0; i < CHILD_THREADS; i++) {
        assert_non_null(task_of(target, made->facts.tids[i]));
    }
    const struct qh_task *poller = task_of(target, made->facts.tids[POLLER]);
    assert_int_equal(poller->orig_rax, 271); /* ppoll */
    const struct qh_task *main_thread = task_of(target, made->facts.pid);
    assert_string_equal(main_thread->name, "target_child");
}

static const struct qh_module *executable(const struct qh_target *target)
{
    size_t count = 0;
    const struct qh_module *modules = qh_target_modules(target, &count);

    for (size_t i = 0; i < count; i++) {
        if (modules[i].is_exe) {
            return &modules[i];
        }
    }
    return NULL;
}

/* What the core holds counts; code, which the kernel leaves to the file that
 * it is mapped from, does not. */
static void check_bytes_read(struct qh_target *target, const struct made *made)
{
    unsigned char bytes[PATTERN_BYTES];
    uint64_t before = qh_target_bytes_read(target);

    assert_fine(qh_target_read(target, qh_raddr(made->facts.pattern), bytes,
                               sizeof(bytes)));
    assert_int_equal(qh_target_bytes_read(target) - before, sizeof(bytes));
    if (made == &by_kernel) {
        assert_fine(qh_target_read(target, qh_raddr(made->facts.function),
                                   bytes, TEXT_BYTES));
        assert_int_equal(qh_target_bytes_read(target) - before, sizeof(bytes));
    }
}

static void test_whole(void **state)
{
    const struct made *made = needed(state);
    struct qh_target *target = open_core(made->path);
    const struct qh_process *process = qh_target_process(target);
    uint64_t value;
    int fd = -1;

    assert_int_equal(process->kind, QH_TARGET_CORE);
    assert_int_equal(process->pid, made->facts.pid);
    assert_string_equal(process->name, "target_child");
    assert_string_equal(process->core, made->path);
    assert_null(process->damage);
    check_threads(target, made);
    check_memory(target, made, true);
    const struct qh_module *exe = executable(target);
    assert_non_null(exe);
    assert_string_equal(process->exe, exe->path);
    assert_true(made->facts.function >= exe->start &&
                made->facts.function < exe->end);
    assert_fine(qh_target_open_module(target, exe, &fd));
    close(fd);
    assert_int_equal(qh_target_pause_ns(target), 0);
    assert_int_equal(qh_target_late_reads(target), 0);
    check_bytes_read(target, made);
    assert_code(qh_target_eventfd_count(target, 3, &value), QH_ERR_ABSENT);
    qh_target_destroy(target);
}

/* A kernel core keeps a thread's guard page as a mapping without bytes. */
static void test_map(void **state)
{
    const struct made *made = needed(state);
    struct qh_target *target = open_core(made->path);
    size_t count = 0;
    const struct qh_mapping *mappings = qh_target_mappings(target, &count);

    for (size_t i = 0; i < count; i++) {
        assert_true(mappings[i].start < mappings[i].end);
        assert_true(i == 0 || mappings[i].start >= mappings[i - 1].end);
        assert_true(mappings[i].present_bytes <=
                    mappings[i].end - mappings[i].start);
    }
    const struct qh_mapping *data =
        qh_target_mapping_at(target, qh_raddr(made->facts.gap));
    assert_true(data->readable && data->writable && !data->executable);
    assert_string_equal(data->path, "");
    assert_int_equal(data->present_bytes, data->end - data->start);
    const struct qh_mapping *text =
        qh_target_mapping_at(target, qh_raddr(made->facts.function));
    assert_true(text->readable && !text->writable && text->executable);
    assert_non_null(strstr(text->path, "target_child"));
    qh_target_destroy(target);
}

static void test_clock(void **state)
{
    const struct made *made = needed(state);
    struct qh_target *target = open_core(made->path);
    int64_t told = 0;
    const struct utimbuf long_ago = { 1000, 1000 };

    if (!getauxval(AT_SYSINFO_EHDR)) {
        qh_target_destroy(target);
        print_message("no vdso to compare with (valgrind?)\n");
        skip();
    }
    assert_fine(qh_target_clock(target, CLOCK_MONOTONIC, &told));
    assert_true(told <= made->written_ns);
    assert_true(told > made->written_ns - INT64_C(60000000000));
    qh_target_destroy(target);
    /* Written before this boot: then nothing is known. */
    size_t bytes = 0;
    unsigned char *core = slurp(made->path, &bytes);
    char path[600];
    snprintf(path, sizeof(path), "%s/old", folder);
    spit(path, core, bytes);
    free(core);
    assert_int_equal(utime(path, &long_ago), 0);
    target = open_core(path);
    assert_code(qh_target_clock(target, CLOCK_MONOTONIC, &told), QH_ERR_ABSENT);
    qh_target_destroy(target);
    unlink(path);
}

static void test_executables(void **state)
{
    const struct made *made = needed(state);
    struct qh_target *target = NULL;
    char copy[600];
    size_t bytes = 0;

    unsigned char *program = slurp(getenv("QHANG_TARGET_CHILD"), &bytes);
    snprintf(copy, sizeof(copy), "%s/copy", folder);
    spit(copy, program, bytes);
    assert_fine(qh_target_open_core(made->path, copy, &target));
    check_memory(target, made, true);
    char *wanted = strdup(executable(target)->build_id);
    qh_target_destroy(target);

    target = NULL;
    struct qh_error *error =
        qh_target_open_core(made->path, "/bin/ls", &target);
    assert_non_null(error);
    assert_non_null(strstr(error->message, wanted));
    assert_non_null(strstr(error->message, "/bin/ls"));
    assert_code(error, QH_ERR_WRONG_EXE);
    /* The beginning of the right one, which has the build-id in it. */
    spit(copy, program, bytes / 3);
    error = qh_target_open_core(made->path, copy, &target);
    if (!error) {
        check_memory(target, made, false);
        qh_target_destroy(target);
        target = NULL;
    }
    qh_error_destroy(error);
    spit(copy, "", 0);
    assert_code(qh_target_open_core(made->path, copy, &target),
                QH_ERR_WRONG_EXE);
    assert_code(qh_target_open_core(made->path, folder, &target),
                QH_ERR_NO_DEBUGINFO);
    unlink(copy);
    free(wanted);
    free(program);
}

/* Whatever is left either is refused as no core, or says that it is cut, and
 * what can be read of it is right. */
static void check_cut(const struct made *made, const char *path, size_t cut,
                      size_t whole)
{
    struct qh_target *target = NULL;
    struct qh_error *error = qh_target_open_core(path, NULL, &target);

    if (error) {
        assert_code(error, QH_ERR_BAD_CORE);
        return;
    }
    check_threads(target, made);
    check_memory(target, made, false);
    if (!qh_target_process(target)->damage) {
        fail_msg("no word of damage, %zu of %zu bytes are there", cut, whole);
    }
    qh_target_destroy(target);
}

/* Densely where the headers and notes are, then all over. The file shrinks, so
 * that the copy is made once only. */
static void test_cut_short(void **state)
{
    const struct made *made = needed(state);
    size_t bytes = 0;
    unsigned char *core = slurp(made->path, &bytes);
    char path[600];

    snprintf(path, sizeof(path), "%s/cut", folder);
    spit(path, core, bytes);
    free(core);
    for (unsigned i = 1; i <= 40; i++) {
        size_t cut = bytes - bytes / 40 * i;
        assert_int_equal(truncate(path, (off_t)cut), 0);
        check_cut(made, path, cut, bytes);
    }
    size_t rest = bytes - bytes / 40 * 40;
    for (size_t cut = rest < 16384 ? rest : 16384; cut > 0;
         cut -= cut > 512 ? 101 : 1) {
        assert_int_equal(truncate(path, (off_t)cut), 0);
        check_cut(made, path, cut, bytes);
    }
    unlink(path);
}

static void test_packed(void **state)
{
    const struct made *made = needed(state);
    size_t bytes = 0;
    unsigned char *core = slurp(made->path, &bytes);
    size_t room = ZSTD_compressBound(bytes);
    unsigned char *packed = malloc(room);
    char path[600];

    assert_non_null(packed);
    size_t packed_bytes = ZSTD_compress(packed, room, core, bytes, 1);
    assert_false(ZSTD_isError(packed_bytes));
    snprintf(path, sizeof(path), "%s/packed.zst", folder);
    spit(path, packed, packed_bytes);
    struct qh_target *target = open_core(path);
    assert_null(qh_target_process(target)->damage);
    check_threads(target, made);
    check_memory(target, made, true);
    qh_target_destroy(target);
    for (unsigned i = 1; i < 20; i++) {
        size_t cut = packed_bytes - packed_bytes / 20 * i;
        assert_int_equal(truncate(path, (off_t)cut), 0);
        check_cut(made, path, cut, packed_bytes);
    }
    /* Damage in the middle: what comes before it counts. */
    memset(packed + packed_bytes / 2, 0xff, 64);
    spit(path, packed, packed_bytes);
    struct qh_error *error = qh_target_open_core(path, NULL, &target);
    if (error) {
        assert_code(error, QH_ERR_BAD_CORE);
    } else {
        qh_target_destroy(target);
    }
    unlink(path);
    free(packed);
    free(core);
}

/* Reads all over whatever the spoiled core claims to hold. */
static void roam(struct qh_target *target)
{
    unsigned char bytes[256];
    size_t count = 0, got;
    const struct qh_mapping *mappings = qh_target_mappings(target, &count);

    for (size_t i = 0; i < count; i++) {
        const uint64_t places[] = {
            mappings[i].start,
            mappings[i].end - 1,
            mappings[i].start + mappings[i].present_bytes - 4,
            mappings[i].start + (mappings[i].end - mappings[i].start) / 2,
        };
        for (unsigned n = 0; n < QH_COUNT(places); n++) {
            assert_fine(qh_target_read_some(target, qh_raddr(places[n]), bytes,
                                            sizeof(bytes), &got));
            assert_true(got <= sizeof(bytes));
        }
    }
    int64_t now;
    qh_error_destroy(qh_target_clock(target, CLOCK_MONOTONIC, &now));
}

static void put_byte(int fd, size_t at, unsigned char value)
{
    assert_int_equal(pwrite(fd, &value, 1, (off_t)at), 1);
}

/* Bytes of the headers and notes are changed at random, with a known seed: any
 * answer will do but a crash. */
static void test_spoiled(void **state)
{
    enum { ROUNDS = 400, CHANGES = 12 };
    const struct made *made = needed(state);
    size_t bytes = 0;
    unsigned char *core = slurp(made->path, &bytes);
    Elf64_Ehdr *header = (Elf64_Ehdr *)core;
    Elf64_Phdr *phdrs = (Elf64_Phdr *)(core + header->e_phoff);
    char path[600];

    assert_int_equal(phdrs[0].p_type, PT_NOTE);
    snprintf(path, sizeof(path), "%s/spoiled", folder);
    spit(path, core, bytes);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    const struct {
        size_t start, bytes;
    } parts[] = {
        { 16, header->e_phoff + header->e_phnum * sizeof(Elf64_Phdr) - 16 },
        { phdrs[0].p_offset, phdrs[0].p_filesz },
    };
    srandom(2);
    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t at[CHANGES];
        for (unsigned i = 0; i < CHANGES; i++) {
            unsigned part = (unsigned)random() % 2;
            at[i] = parts[part].start + (size_t)random() % parts[part].bytes;
            unsigned char value =
                random() % 3 ? (unsigned char)random()
                             : (unsigned char)(random() % 2 ? 0xff : 0);
            put_byte(fileno(file), at[i], value);
        }
        struct qh_target *target = NULL;
        struct qh_error *error = qh_target_open_core(path, NULL, &target);
        if (!error) {
            roam(target);
        }
        qh_error_destroy(error);
        qh_target_destroy(target);
        for (unsigned i = 0; i < CHANGES; i++) {
            put_byte(fileno(file), at[i], core[at[i]]);
        }
    }
    fclose(file);
    unlink(path);
    free(core);
}

static void check_refused(const void *bytes, size_t count,
                          enum qh_error_code code)
{
    struct qh_target *target = NULL;
    char path[600];

    snprintf(path, sizeof(path), "%s/refused", folder);
    spit(path, bytes, count);
    assert_code(qh_target_open_core(path, NULL, &target), code);
    unlink(path);
}

static void test_no_core_at_all(void **state)
{
    struct qh_target *target = NULL;
    size_t bytes = 0;
    unsigned char *program = slurp(getenv("QHANG_TARGET_CHILD"), &bytes);
    Elf64_Ehdr header = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64,
                                       ELFDATA2LSB, EV_CURRENT },
                          .e_type = ET_CORE,
                          .e_machine = EM_AARCH64,
                          .e_version = EV_CURRENT };

    check_refused("", 0, QH_ERR_BAD_CORE);
    check_refused("\177EL", 3, QH_ERR_BAD_CORE);
    check_refused("\177ELF", 4, QH_ERR_BAD_CORE);
    check_refused("this is no core, but it is some text", 36, QH_ERR_BAD_CORE);
    check_refused("\x28\xb5\x2f\xfd", 4, QH_ERR_BAD_CORE);
    check_refused("\x28\xb5\x2f\xfdnonsense", 12, QH_ERR_BAD_CORE);
    check_refused("\x1f\x8b\x08\x00\x00\x00\x00\x00", 8, QH_ERR_BAD_CORE);
    check_refused(program, bytes, QH_ERR_BAD_CORE);
    check_refused(&header, sizeof(header), QH_ERR_ARCH);
    header.e_ident[EI_CLASS] = ELFCLASS32;
    header.e_machine = EM_386;
    check_refused(&header, sizeof(header), QH_ERR_ARCH);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_machine = EM_X86_64;
    check_refused(&header, sizeof(header), QH_ERR_BAD_CORE);
    assert_code(qh_target_open_core("/nosuch/core", NULL, &target),
                QH_ERR_SYSTEM);
    assert_code(qh_target_open_core("/dev/null", NULL, &target), QH_ERR_SYSTEM);
    free(program);
}

int main(void)
{
#define BOTH(test)                                                             \
    { #test " (kernel)", test, NULL, NULL, &by_kernel },                       \
    {                                                                          \
#test " (gcore)", test, NULL, NULL, &by_gcore                          \
    }
    const struct CMUnitTest tests[] = {
        BOTH(test_whole),     BOTH(test_map),
        BOTH(test_clock),     BOTH(test_executables),
        BOTH(test_cut_short), BOTH(test_packed),
        BOTH(test_spoiled),   cmocka_unit_test(test_no_core_at_all),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
