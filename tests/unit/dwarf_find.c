/* Where debug information is looked for, and what is said when it is not there
 * or no good. Each case starts a stripped copy of a fixture in a folder of its
 * own.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf_child.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *fixture;
static const char *other_fixture;

/* One case: its folder, the stripped program that runs there. */
struct place {
    char dir[64];
    char *program;
    char build_id[129];
    struct child child;
    struct qh_target *target;
    struct qh_debug *debug;
};

__attribute__((format(printf, 1, 2))) static char *text(const char *format, ...)
{
    char *whole = NULL;
    va_list args;

    va_start(args, format);
    assert_true(vasprintf(&whole, format, args) >= 0);
    va_end(args);
    return whole;
}

/* Runs a shell command line and fails the test unless it succeeds. */
__attribute__((format(printf, 1, 2))) static void shell(const char *format, ...)
{
    char *line = NULL;
    va_list args;

    va_start(args, format);
    assert_true(vasprintf(&line, format, args) >= 0);
    va_end(args);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-ec", line, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0) {
        fail_msg("failed: %s", line);
    }
    free(line);
}

static void start(struct place *place)
{
    size_t count = 0;

    child_start(&place->child, place->program);
    place->target = open_patiently(place->child.pid);
    const struct qh_module *modules =
        qh_target_modules(place->target, &count);
    for (size_t i = 0; i < count; i++) {
        if (modules[i].is_exe) {
            strcpy(place->build_id, modules[i].build_id);
        }
    }
    assert_int_equal(strlen(place->build_id), 40);
}

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof(*place));

    assert_non_null(place);
    strcpy(place->dir, "/tmp/qhang-dwarf-find-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    place->program = text("%s/program", place->dir);
    shell("cd %s; objcopy --strip-all '%s' program; "
          "objcopy --only-keep-debug '%s' kept", place->dir, fixture, fixture);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;

    unsetenv("DEBUGINFOD_URLS");
    qh_debug_destroy(place->debug);
    qh_target_destroy(place->target);
    if (place->child.pid) {
        child_end(&place->child);
    }
    shell("rm -rf %s", place->dir);
    free(place->program);
    free(place);
    return 0;
}

static struct qh_error *open_with(struct place *place, const char *debuginfo)
{
    struct qh_debug_options options = { .debuginfo_dir = debuginfo };

    return qh_debug_open(place->target, &options, &place->debug);
}

/* Symbols, types, stacks and variables come out of what was opened. */
static void assert_works(struct place *place)
{
    struct qh_arena arena = { 0 };
    struct raddr address = { 0 };
    struct qh_field field = { 0 };
    struct qh_unwound_stack stack;
    struct qh_frame *frames = NULL;
    size_t count = 0;
    uint64_t value = 0;
    size_t found = 0;

    assert_success(qh_debug_symbol(place->debug, "static_counter", &address));
    assert_int_equal(
        address.value,
        number(child_named(&place->child, "symbol", "static_counter")
                   ->words[2]));
    assert_success(
        qh_debug_field(place->debug, "point", "y", "inner", &field));
    assert_int_equal(field.offset, sizeof(int));
    assert_success(qh_target_stop(place->target));
    const struct qh_task *main_task = qh_target_tasks(place->target, &count);
    assert_success(
        qh_unwind(place->debug, &main_task->regs, &arena, &stack));
    assert_success(
        qh_symbolise(place->debug, &stack, &arena, &frames, &count));
    for (size_t i = 0; i < count; i++) {
        if (frames[i].function && strcmp(frames[i].function, "inner") == 0) {
            found++;
            assert_success(qh_frame_value(place->debug, &stack,
                                          frames[i].unwound, "inner", "kept",
                                          &value));
            assert_int_equal(value, 1234 * 3);
        }
    }
    assert_int_equal(found, 1);
    assert_null(stack.cut);
    qh_target_resume(place->target);
    qh_arena_deinit(&arena);
}

static void nowhere(void **state)
{
    struct place *place = *state;

    start(place);
    struct qh_error *error = open_with(place, NULL);
    assert_non_null(error);
    assert_int_equal(error->code, QH_ERR_NO_DEBUGINFO);
    char *store = text("/usr/lib/debug/.build-id/%.2s/%s.debug",
                       place->build_id, place->build_id + 2);
    char *beside = text("%s/program.debug", place->dir);
    const char *const told[] = { place->build_id, store, beside,
                                 place->program,
                                 "DEBUGINFOD_URLS is not set" };
    for (size_t i = 0; i < QH_COUNT(told); i++) {
        if (!strstr(error->message, told[i])) {
            fail_msg("%s lacks %s", error->message, told[i]);
        }
    }
    assert_non_null(strstr(qh_error_advice(error), "--preserve-env"));
    assert_null(strchr(error->message, '\n'));
    qh_error_destroy(error);
    free(store);
    free(beside);
}

/* Puts the debug file where its build-id says, below `root`. */
static void store_by_id(const struct place *place, const char *root,
                        const char *file)
{
    shell("cd %s; mkdir -p %s/.build-id/%.2s; cp %s %s/.build-id/%.2s/%s.debug",
          place->dir, root, place->build_id, file, root, place->build_id,
          place->build_id + 2);
}

static void by_build_id(void **state)
{
    struct place *place = *state;
    char *store = text("%s/store", place->dir);

    start(place);
    store_by_id(place, "store", "kept");
    assert_success(open_with(place, store));
    assert_works(place);
    free(store);
}

static void by_debuglink_beside(void **state)
{
    struct place *place = *state;

    shell("cd %s; mv kept odd-name.dbg; "
          "objcopy --add-gnu-debuglink=odd-name.dbg program", place->dir);
    start(place);
    assert_success(open_with(place, NULL));
    assert_works(place);
}

static void by_debuglink_below(void **state)
{
    struct place *place = *state;

    shell("cd %s; mv kept odd-name.dbg; "
          "objcopy --add-gnu-debuglink=odd-name.dbg program; "
          "mkdir .debug; mv odd-name.dbg .debug", place->dir);
    start(place);
    assert_success(open_with(place, NULL));
    assert_works(place);
}

static void by_name_in_folder(void **state)
{
    struct place *place = *state;
    char *folder = text("%s/folder", place->dir);

    shell("cd %s; mkdir folder; mv kept folder/program.debug", place->dir);
    start(place);
    assert_success(open_with(place, folder));
    assert_works(place);
    free(folder);
}

static void file_itself(void **state)
{
    struct place *place = *state;
    char *file = text("%s/kept", place->dir);

    start(place);
    assert_success(open_with(place, file));
    assert_works(place);
    free(file);
}

static void of_another_build(void **state)
{
    struct place *place = *state;
    char *store = text("%s/store", place->dir);

    start(place);
    shell("objcopy --only-keep-debug '%s' %s/wrong", other_fixture,
          place->dir);
    store_by_id(place, "store", "wrong");
    assert_error(open_with(place, store), QH_ERR_NO_DEBUGINFO,
                 "(of another build)");
    free(store);
}

static void garbage(void **state)
{
    struct place *place = *state;
    char *store = text("%s/store", place->dir);

    start(place);
    shell("echo this is no debug file > %s/garbage", place->dir);
    store_by_id(place, "store", "garbage");
    assert_error(open_with(place, store), QH_ERR_BAD_DEBUGINFO, store);
    free(store);
}

/* Cut off anywhere: an error that names the file, or what is left works. */
static void cut_short(void **state)
{
    struct place *place = *state;
    char *file = text("%s/kept", place->dir);
    struct stat st;
    size_t refused = 0;

    start(place);
    assert_int_equal(stat(file, &st), 0);
    for (int part = 19; part >= 0; part--) {
        struct qh_field field;
        assert_int_equal(truncate(file, st.st_size * part / 20), 0);
        struct qh_error *error = open_with(place, file);
        if (!error) {
            error = qh_debug_field(place->debug, "point", "y", "inner",
                                   &field);
        }
        if (error) {
            assert_true(error->code == QH_ERR_BAD_DEBUGINFO ||
                        error->code == QH_ERR_NO_DEBUGINFO);
            refused++;
        }
        qh_error_destroy(error);
        qh_debug_destroy(place->debug);
        place->debug = NULL;
    }
    assert_true(refused >= 10);
    free(file);
}

/* The program's own file is gone from the disk, another one in its place. */
static void deleted(void **state)
{
    struct place *place = *state;

    shell("cp '%s' %s", fixture, place->program);
    start(place);
    shell("rm %s; cp '%s' %s", place->program, other_fixture, place->program);
    assert_success(open_with(place, NULL));
    assert_works(place);
}

static void from_debuginfod(void **state)
{
    struct place *place = *state;
    void *client = dlopen("libdebuginfod.so.1", RTLD_LAZY);
    char *urls = text("file://%s/server", place->dir);
    char *cache = text("%s/cache", place->dir);

    if (!client) {
        print_message("skipped: libdebuginfod.so.1 is not installed\n");
        skip();
    }
    dlclose(client);
    start(place);
    shell("cd %s; mkdir -p server/buildid/%s; mv kept server/buildid/%s/"
          "debuginfo", place->dir, place->build_id, place->build_id);
    setenv("DEBUGINFOD_URLS", urls, 1);
    setenv("DEBUGINFOD_CACHE_PATH", cache, 1);
    assert_success(open_with(place, NULL));
    assert_works(place);
    /* A server that does not answer is not waited for without end. */
    assert_non_null(getenv("DEBUGINFOD_MAXTIME"));
    free(urls);
    free(cache);
}

/* dwz, which Debian's packages go through, moves types to partial units and,
 * for several files at once, to a file of their own. */
static void after_dwz(void **state)
{
    struct place *place = *state;

    if (system("command -v dwz > /dev/null") != 0) {
        print_message("skipped: dwz is not installed\n");
        skip();
    }
    shell("cd %s; cp '%s' program; cp '%s' second; "
          "dwz -m $PWD/common.dwz -M $PWD/common.dwz program second; "
          "test -s common.dwz", place->dir, fixture, other_fixture);
    start(place);
    assert_success(open_with(place, NULL));
    assert_works(place);
}

int main(int argc, char **argv)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(nowhere),
        CASE(by_build_id),
        CASE(by_debuglink_beside),
        CASE(by_debuglink_below),
        CASE(by_name_in_folder),
        CASE(file_itself),
        CASE(of_another_build),
        CASE(garbage),
        CASE(cut_short),
        CASE(deleted),
        CASE(from_debuginfod),
        CASE(after_dwz),
    };

    if (argc != 3) {
        fprintf(stderr, "usage: %s FIXTURE OTHER-FIXTURE\n", argv[0]);
        return 64;
    }
    fixture = realpath(argv[1], NULL);
    other_fixture = realpath(argv[2], NULL);
    unsetenv("DEBUGINFOD_URLS");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
