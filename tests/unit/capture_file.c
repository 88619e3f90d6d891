/* The file of a capture: whole or not there, on every kind of file system.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a file system lacks is taken away by seccomp, in a child of its own. */
#include "target_help.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capture/private.h"

static char *folder;
static char path[256];

/* How many files are in the folder. */
static unsigned files(void)
{
    struct dirent *entry;
    unsigned count = 0;
    DIR *dir = opendir(folder);

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        count +=
            strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    closedir(dir);
    return count;
}

static void begin(struct qh_new_file *file)
{
    assert_fine(qh_new_file_open(path, file));
    assert_int_equal(write(file->fd, "whole", 5), 5);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void assert_content(const char *wanted)
{
    size_t bytes;
    unsigned char *content = slurp(path, &bytes);

    assert_int_equal(bytes, strlen(wanted));
    assert_memory_equal(content, wanted, bytes);
    free(content);
}

static void check_whole(void)
{
    struct qh_new_file file;
    struct stat st;
    mode_t umask_before = umask(0777);

    begin(&file);
    assert_fine(qh_new_file_commit(&file));
    qh_new_file_guard(&file);
    umask(umask_before);
    assert_int_equal(files(), 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_content("whole");
}

static void check_given_up(void)
{
    struct qh_new_file file;

    begin(&file);
    qh_new_file_guard(&file);
    assert_int_equal(files(), 0);
}

static void check_already_there(void)
{
    struct qh_new_file file;

    spit(path, "precious", 8);
    assert_code(qh_new_file_open(path, &file), QH_ERR_SYSTEM);
    qh_new_file_guard(&file);
    assert_int_equal(files(), 1);
    assert_content("precious");
}

/* Somebody else was quicker: theirs stays. */
static void check_overtaken(void)
{
    struct qh_new_file file;

    begin(&file);
    spit(path, "precious", 8);
    struct qh_error *error = qh_new_file_commit(&file);
    assert_non_null(error);
    assert_int_equal(error->errnum, EEXIST);
    qh_error_destroy(error);
    qh_new_file_guard(&file);
    assert_int_equal(files(), 1);
    assert_content("precious");
}

/* openat(2) with O_TMPFILE fails as on NFS, linkat(2), if wanted, as on
 * vfat. */
static void take_away(bool links)
{
    const unsigned flag = O_TMPFILE & ~O_DIRECTORY;
    const unsigned links_end =
        links ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_ALLOW;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_linkat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, links_end),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, flag, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
    };
    struct sock_fprog program = { QH_COUNT(code), code };

    assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void check_named(void (*check)(void))
{
    struct qh_new_file file;

    begin(&file);
    assert_true(file.temporary[0]);
    qh_new_file_guard(&file);
    check();
}

/* Runs a check where something is missing; an assert in the child ends it with
 * a status of its own. */
static void check_without(bool links, void (*check)(void))
{
    int status;
    pid_t pid = fork();

    if (!pid) {
        take_away(links);
        check_named(check);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
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

/* Each check on all three: unnamed files, links, neither. */
#define TESTS_OF(check)                                                        \
    static void test_##check(void **state)                                     \
    {                                                                          \
        check_##check();                                                       \
    }                                                                          \
    static void test_##check##_without_tmpfile(void **state)                   \
    {                                                                          \
        check_without(false, check_##check);                                   \
    }                                                                          \
    static void test_##check##_without_links(void **state)                     \
    {                                                                          \
        check_without(true, check_##check);                                    \
    }

TESTS_OF(whole)
TESTS_OF(given_up)
TESTS_OF(already_there)
TESTS_OF(overtaken)

#define RUN(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define RUN_OF(check)                                                          \
    RUN(test_##check), RUN(test_##check##_without_tmpfile),                    \
        RUN(test_##check##_without_links)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN_OF(whole),
        RUN_OF(given_up),
        RUN_OF(already_there),
        RUN_OF(overtaken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
