/* Starts and stops target_child.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target_help.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

unsigned char child_pattern(unsigned index)
{
    return (unsigned char)(index * 7 + index / 256);
}

static void exec_child(const char *program, const char *mode, const char *cwd,
                       const int in[2], const int out[2])
{
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    close(in[1]);
    close(out[0]);
    if (!cwd || chdir(cwd) == 0) {
        execl(program, "target_child", mode, NULL);
    }
    _exit(127);
}

/* One line, byte by byte: nothing behind it may be swallowed. */
static void read_line(struct child *child, char *line, size_t size)
{
    size_t used = 0;

    while (used < size - 1 && read(child->out, line + used, 1) == 1) {
        if (line[used] == '\n') {
            break;
        }
        used++;
    }
    line[used] = '\0';
}

struct child child_start(const char *program, const char *mode, const char *cwd)
{
    struct child child = { .pid = -1 };
    struct child_facts *f = &child.facts;
    int in[2], out[2];
    char line[512];

    program = program ? program : getenv("QHANG_TARGET_CHILD");
    assert_non_null(program);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    child.pid = fork();
    assert_true(child.pid >= 0);
    if (child.pid == 0) {
        exec_child(program, mode, cwd, in, out);
    }
    close(in[0]);
    close(out[1]);
    child.in = in[1];
    child.out = out[0];
    read_line(&child, line, sizeof(line));
    assert_int_equal(sscanf(line,
                            "ready %d %d %d %d %d %" SCNu64 " %" SCNu64
                            " %" SCNu64 " %" SCNu64 " %d %" SCNu64 " %" SCNu64,
                            &f->pid, &f->tids[0], &f->tids[1], &f->tids[2],
                            &f->tids[3], &f->counter, &f->signals, &f->pattern,
                            &f->gap, &f->counted_fd, &f->function,
                            &f->relocated),
                     12);
    return child;
}

void child_end(struct child *child)
{
    kill(child->pid, SIGKILL);
    waitpid(child->pid, NULL, 0);
    close(child->in);
    close(child->out);
}

void child_order(struct child *child, char order)
{
    assert_int_equal(write(child->in, &order, 1), 1);
}

unsigned child_poked(struct child *child)
{
    unsigned times = 0;
    char line[64];

    read_line(child, line, sizeof(line));
    assert_int_equal(sscanf(line, "poked %u", &times), 1);
    return times;
}

uint64_t child_number(struct qh_target *target, uint64_t address)
{
    uint64_t value = 0;
    size_t got = 0;

    assert_fine(qh_target_read_some(target, qh_raddr(address), &value,
                                    sizeof(value), &got));
    assert_int_equal(got, sizeof(value));
    return value;
}

uint64_t child_peek(pid_t pid, uint64_t address)
{
    uint64_t value = 0;
    struct iovec local = { &value, sizeof(value) };
    struct iovec remote = { (void *)(uintptr_t)address, sizeof(value) };

    assert_int_equal(process_vm_readv(pid, &local, 1, &remote, 1, 0),
                     sizeof(value));
    return value;
}

static bool read_proc(pid_t pid, pid_t tid, const char *name, char *text,
                      size_t size)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", pid, tid, name);
    FILE *file = fopen(path, "r");
    if (!file) {
        return false;
    }
    size_t got = fread(text, 1, size - 1, file);
    text[got] = '\0';
    fclose(file);
    return got > 0;
}

char thread_state(pid_t pid, pid_t tid)
{
    char text[4096];
    const char *line;

    if (!read_proc(pid, tid, "status", text, sizeof(text)) ||
        !(line = strstr(text, "\nState:\t"))) {
        return 'X';
    }
    return line[8];
}

long thread_tracer(pid_t pid, pid_t tid)
{
    char text[4096];
    const char *line;

    if (!read_proc(pid, tid, "status", text, sizeof(text)) ||
        !(line = strstr(text, "\nTracerPid:\t"))) {
        return -1;
    }
    return atol(line + 12);
}

static void nap(void)
{
    const struct timespec ms = { .tv_nsec = 1000000 };

    nanosleep(&ms, NULL);
}

void await_state(pid_t pid, pid_t tid, char state)
{
    char seen = '?';

    for (unsigned i = 0; i < PATIENCE_MS; i++) {
        seen = thread_state(pid, tid);
        if (seen == state) {
            return;
        }
        nap();
    }
    fail_msg("thread %d is in state %c, not in %c", tid, seen, state);
}

void await_untraced(pid_t pid, pid_t tid)
{
    for (unsigned i = 0; i < PATIENCE_MS; i++) {
        if (thread_tracer(pid, tid) <= 0) {
            return;
        }
        nap();
    }
    fail_msg("thread %d is still traced", tid);
}

void await_change(pid_t pid, uint64_t address, uint64_t from)
{
    for (unsigned i = 0; i < PATIENCE_MS; i++) {
        if (child_peek(pid, address) != from) {
            return;
        }
        nap();
    }
    fail_msg("the number at 0x%" PRIx64 " stays %" PRIu64, address, from);
}

struct qh_target *open_live(pid_t pid)
{
    const struct qh_live_options patient = { .stop_bound_ns = 20000000000 };
    struct qh_target *target = NULL;

    assert_fine(qh_target_open_live(pid, &patient, &target));
    return target;
}

void assert_fine(struct qh_error *error)
{
    if (error) {
        print_error("%s: %s\n", qh_error_code_name(error->code),
                    error->message);
        qh_error_destroy(error);
        fail();
    }
}

void assert_code(struct qh_error *error, enum qh_error_code code)
{
    assert_non_null(error);
    if (error->code != code) {
        print_error("%s instead of %s: %s\n", qh_error_code_name(error->code),
                    qh_error_code_name(code), error->message);
    }
    enum qh_error_code found = error->code;
    qh_error_destroy(error);
    assert_int_equal(found, code);
}

const struct qh_task *task_of(const struct qh_target *target, pid_t tid)
{
    size_t count = 0;
    const struct qh_task *tasks = qh_target_tasks(target, &count);

    for (size_t i = 0; i < count; i++) {
        if (tasks[i].tid == tid) {
            return &tasks[i];
        }
    }
    return NULL;
}

char *make_folder(void)
{
    const char *parent = getenv("TMPDIR");
    char path[512];

    snprintf(path, sizeof(path), "%s/qhang-test-XXXXXX",
             parent && parent[0] ? parent : "/tmp");
    assert_non_null(mkdtemp(path));
    return strdup(path);
}

int run(const char *const *argv)
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

void remove_folder(char *folder)
{
    const char *const argv[] = { "rm", "-rf", "--", folder, NULL };

    run(argv);
    free(folder);
}

unsigned char *slurp(const char *path, size_t *ret_bytes)
{
    struct stat st;
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &st), 0);
    unsigned char *bytes = malloc((size_t)st.st_size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)st.st_size, file), st.st_size);
    fclose(file);
    *ret_bytes = (size_t)st.st_size;
    return bytes;
}

void spit(const char *path, const void *bytes, size_t count)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}
