/* Who may not be examined, and what is said then; files that lead astray.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target_help.h"

#include "target/live.h"
#include "target/ops.h"
#include "target/procfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct qh_error *try_open(pid_t pid)
{
    struct qh_target *target = NULL;
    struct qh_error *error = qh_target_open_live(pid, NULL, &target);

    qh_target_destroy(target);
    return error;
}

/* Has the code, and `word` in its message or advice. */
static void assert_says(struct qh_error *error, enum qh_error_code code,
                        const char *word)
{
    assert_non_null(error);
    if (!strstr(error->message, word) &&
        !strstr(qh_error_advice(error), word)) {
        fail_msg("no \"%s\" in: %s; %s", word, error->message,
                 qh_error_advice(error));
    }
    assert_code(error, code);
}

static void test_no_such_process(void **state)
{
    pid_t pid = fork();

    if (pid == 0) {
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_says(try_open(pid), QH_ERR_NO_PROCESS, "no process");
    assert_says(try_open(0), QH_ERR_NO_PROCESS, "no process");
    assert_says(try_open(-5), QH_ERR_NO_PROCESS, "no process");
    assert_says(try_open(2000000000), QH_ERR_NO_PROCESS, "no process");
    assert_says(try_open(getpid()), QH_ERR_USAGE, "itself");
}

static void test_zombie(void **state)
{
    pid_t pid = fork();

    if (pid == 0) {
        _exit(0);
    }
    await_state(pid, pid, 'Z');
    assert_says(try_open(pid), QH_ERR_NO_PROCESS, "zombie");
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static pid_t find_kernel_thread(void)
{
    char text[1024];
    struct qh_proc_stat stat;
    DIR *proc = opendir("/proc");
    pid_t found = 0;

    assert_non_null(proc);
    for (struct dirent *entry; !found && (entry = readdir(proc));) {
        char path[300];
        snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
        if (atoi(entry->d_name) > 0 &&
            qh_proc_read(AT_FDCWD, path, text, sizeof(text)) > 0 &&
            qh_proc_parse_stat(text, &stat) && stat.kernel_thread) {
            found = atoi(entry->d_name);
        }
    }
    closedir(proc);
    return found;
}

static void test_kernel_thread(void **state)
{
    pid_t pid = find_kernel_thread();

    if (!pid) {
        print_message("no kernel thread is visible here\n");
        skip();
    }
    assert_says(try_open(pid), QH_ERR_NO_PROCESS, "kernel thread");
}

static void test_already_traced(void **state)
{
    struct child child = child_start(NULL, "threads", NULL);
    char who[64];

    for (unsigned i = 0; i < 2; i++) {
        /* The main thread, then one of the others only. */
        pid_t tid = i ? child.facts.tids[SLEEPER] : child.pid;
        pid_t tracer = fork();
        if (tracer == 0) {
            ptrace(PTRACE_SEIZE, tid, NULL, NULL);
            pause();
            _exit(0);
        }
        while (thread_tracer(child.pid, tid) <= 0) {
            usleep(1000);
        }
        snprintf(who, sizeof(who), "traced by %d (", tracer);
        assert_says(try_open(child.pid), QH_ERR_TRACED, who);
        kill(tracer, SIGKILL);
        waitpid(tracer, NULL, 0);
        await_untraced(child.pid, tid);
    }
    child_end(&child);
}

/* Somebody else comes between opening and stopping. */
static void test_traced_meanwhile(void **state)
{
    struct child child = child_start(NULL, "threads", NULL);
    struct qh_target *target = open_live(child.pid);
    pid_t tracer = fork();

    if (tracer == 0) {
        ptrace(PTRACE_SEIZE, child.facts.tids[SLEEPER], NULL, NULL);
        pause();
        _exit(0);
    }
    while (thread_tracer(child.pid, child.facts.tids[SLEEPER]) <= 0) {
        usleep(1000);
    }
    assert_code(qh_target_stop(target), QH_ERR_TRACED);
    uint64_t before = child_peek(child.pid, child.facts.counter);
    await_change(child.pid, child.facts.counter, before);
    kill(tracer, SIGKILL);
    waitpid(tracer, NULL, 0);
    await_untraced(child.pid, child.facts.tids[SLEEPER]);
    assert_fine(qh_target_stop(target));
    qh_target_destroy(target);
    child_end(&child);
}

static void test_thread_id_is_taken(void **state)
{
    struct child child = child_start(NULL, "threads", NULL);
    struct qh_target *target = open_live(child.facts.tids[SPINNER]);

    assert_int_equal(qh_target_process(target)->pid, child.pid);
    qh_target_destroy(target);
    child_end(&child);
}

/* The result of opening `pid` as a user without rights, by exit status. */
static int open_as_nobody(pid_t pid)
{
    int status = 0;
    pid_t other = fork();

    if (other == 0) {
        if (setgid(65534) || setuid(65534)) {
            _exit(3);
        }
        struct qh_error *error = try_open(pid);
        bool fits = error && error->code == QH_ERR_PERMISSION &&
                    strstr(qh_error_advice(error), "sudo") &&
                    strstr(qh_error_advice(error), "CAP_SYS_PTRACE");
        qh_error_destroy(error);
        _exit(fits ? 0 : 1);
    }
    assert_int_equal(waitpid(other, &status, 0), other);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_no_permission(void **state)
{
    if (geteuid() != 0) {
        print_message("not root: cannot become another user\n");
        skip();
    }
    struct child child = child_start(NULL, "threads", NULL);
    assert_int_equal(open_as_nobody(child.pid), 0);
    child_end(&child);
}

static void test_words_for_each_scope(void **state)
{
    enum { ME = 1000, OTHER = 107, NO_YAMA = -1 };

    assert_says(qh_access_denied(5, OTHER, ME, NO_YAMA), QH_ERR_PERMISSION,
                "sudo");
    assert_says(qh_access_denied(5, OTHER, ME, 0), QH_ERR_PERMISSION,
                "CAP_SYS_PTRACE");
    /* Another user's process: that, and not yama, is the first obstacle. */
    assert_says(qh_access_denied(5, OTHER, ME, 1), QH_ERR_PERMISSION, "setcap");
    assert_says(qh_access_denied(5, ME, ME, 1), QH_ERR_PERMISSION,
                "ptrace_scope is 1");
    assert_says(qh_access_denied(5, ME, ME, 1), QH_ERR_PERMISSION, "sudo");
    assert_says(qh_access_denied(5, OTHER, ME, 2), QH_ERR_PERMISSION,
                "ptrace_scope is 2");
    assert_says(qh_access_denied(5, ME, ME, 2), QH_ERR_PERMISSION,
                "CAP_SYS_PTRACE");
    assert_says(qh_access_denied(5, ME, ME, 3), QH_ERR_PERMISSION, "core");
    assert_says(qh_access_denied(5, 0, 0, 3), QH_ERR_PERMISSION,
                "ptrace_scope is 3");
    assert_says(qh_access_denied(5, 0, 0, NO_YAMA), QH_ERR_PERMISSION,
                "container");
}

static void assert_content(int at, const char *path, bool inside,
                           const char *content)
{
    char text[32] = "";
    int fd = -1;

    assert_fine(qh_open_regular(at, path, inside, &fd));
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    assert_string_equal(text, content);
    close(fd);
}

/* valgrind does not know it, a filter may refuse it. */
static bool has_openat2(int folder)
{
    struct open_how how = { .flags = O_PATH };
    long fd = syscall(SYS_openat2, folder, "inner", &how, sizeof(how));

    if (fd >= 0) {
        close((int)fd);
    }
    return fd >= 0;
}

static void test_links_cannot_lead_out(void **state)
{
    char *folder = make_folder();
    char path[600];
    int fd = -1, outer = open(folder, O_PATH);

    snprintf(path, sizeof(path), "%s/outer", folder);
    spit(path, "out", 3);
    assert_int_equal(mkdirat(outer, "root", 0700), 0);
    int root = openat(outer, "root", O_PATH | O_DIRECTORY);
    snprintf(path, sizeof(path), "%s/root/inner", folder);
    spit(path, "in", 2);
    assert_int_equal(symlinkat("../outer", root, "up"), 0);
    assert_int_equal(symlinkat("/inner", root, "absolute"), 0);
    assert_int_equal(symlinkat("/proc/self/fd/0", root, "magic"), 0);
    assert_int_equal(symlinkat("loop", root, "loop"), 0);
    assert_content(root, "up", false, "out");
    assert_code(qh_open_regular(root, "up", true, &fd), QH_ERR_SYSTEM);
    assert_code(qh_open_regular(root, "../outer", true, &fd), QH_ERR_SYSTEM);
    if (has_openat2(root)) {
        assert_content(root, "absolute", true, "in");
    } else {
        assert_code(qh_open_regular(root, "absolute", true, &fd),
                    QH_ERR_SYSTEM);
    }
    assert_content(root, "/inner", true, "in");
    assert_code(qh_open_regular(root, "magic", true, &fd), QH_ERR_SYSTEM);
    assert_code(qh_open_regular(root, "loop", true, &fd), QH_ERR_SYSTEM);
    close(root);
    close(outer);
    remove_folder(folder);
}

static void assert_opens(int at, const char *path, const char *content)
{
    char again[64], text[32] = "";
    int look = qh_open_linkless(at, path);

    assert_true(look >= 0);
    snprintf(again, sizeof(again), "/proc/self/fd/%d", look);
    int fd = open(again, O_RDONLY);
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    assert_string_equal(text, content);
    close(fd);
    close(look);
}

/* Where openat2() is missing no link is followed at all. */
static void test_without_openat2(void **state)
{
    char *folder = make_folder(), path[600], name[300];
    struct stat st;
    int at = open(folder, O_PATH);

    assert_int_equal(mkdirat(at, "a", 0700), 0);
    snprintf(path, sizeof(path), "%s/a/file", folder);
    spit(path, "in", 2);
    assert_int_equal(symlinkat("a", at, "b"), 0);
    assert_int_equal(symlinkat("a/file", at, "last"), 0);
    assert_opens(at, "a/file", "in");
    assert_opens(at, "//a///file", "in");
    assert_opens(at, "/./a/file", "in");
    assert_int_equal(qh_open_linkless(at, "b/file"), -1);
    assert_int_equal(qh_open_linkless(at, "a/../a/file"), -1);
    assert_int_equal(qh_open_linkless(at, "a/file/x"), -1);
    assert_int_equal(qh_open_linkless(at, "none"), -1);
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(qh_open_linkless(at, name), -1);
    int link = qh_open_linkless(at, "last");
    assert_int_equal(fstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode)); /* no regular file: it is refused */
    close(link);
    close(at);
    remove_folder(folder);
}

/* A FIFO without a writer would block an ordinary open; a writer on it would
 * notice a reader, and must not. */
static void test_only_regular_files(void **state)
{
    char *folder = make_folder();
    int fd = -1, at = open(folder, O_PATH);

    assert_int_equal(mkfifoat(at, "fifo", 0600), 0);
    assert_says(qh_open_regular(at, "fifo", false, &fd), QH_ERR_SYSTEM,
                "regular");
    assert_says(qh_open_regular(at, ".", false, &fd), QH_ERR_SYSTEM, "regular");
    assert_says(qh_open_regular(at, "/dev/null", false, &fd), QH_ERR_SYSTEM,
                "regular");
    close(at);
    remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_such_process),
        cmocka_unit_test(test_zombie),
        cmocka_unit_test(test_kernel_thread),
        cmocka_unit_test(test_already_traced),
        cmocka_unit_test(test_traced_meanwhile),
        cmocka_unit_test(test_thread_id_is_taken),
        cmocka_unit_test(test_no_permission),
        cmocka_unit_test(test_words_for_each_scope),
        cmocka_unit_test(test_links_cannot_lead_out),
        cmocka_unit_test(test_without_openat2),
        cmocka_unit_test(test_only_regular_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
