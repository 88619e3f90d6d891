/* Has Graphviz's `dot` draw the wait-for graph.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* Sixty nodes take `dot` some ten milliseconds and 60 KiB. */
enum { MAX_MS = 10000, MAX_BYTES = 8 << 20 };

struct child {
    pid_t pid; /* 0: not started, or waited for */
    int out;   /* what it writes, -1: closed */
};

static void child_deinit(struct child *child)
{
    if (child->out >= 0) {
        close(child->out);
    }
    if (child->pid) {
        kill(child->pid, SIGKILL);
        while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
}

static struct qh_error *no_picture(const char *why)
{
    return qh_error_try(
        qh_error_new(QH_ERR_ABSENT,
                     "the page has no picture of the wait-for graph: %s", why),
        "the same is in it as a list; for a picture install graphviz");
}

/* The graph in a file without a name, to be read from its start. */
static struct qh_error *write_input(const char *text, size_t bytes, int *ret)
{
    int fd = memfd_create("qhang-graph", MFD_CLOEXEC);
    size_t done = 0;

    while (fd >= 0 && done < bytes) {
        ssize_t count = write(fd, text + done, bytes - done);
        if (count < 0 && errno != EINTR) {
            close(fd);
            fd = -1;
        }
        done += count > 0 ? (size_t)count : 0;
    }
    if (fd < 0 || lseek(fd, 0, SEEK_SET) < 0) {
        return no_picture(strerror(errno));
    }
    *ret = fd;
    return NULL;
}

static int spawn(int in, int out, pid_t *ret)
{
    static char *const arguments[] = { (char *)"dot", (char *)"-Tsvg", NULL };
    posix_spawn_file_actions_t actions;

    if (posix_spawn_file_actions_init(&actions)) {
        return ENOMEM;
    }
    int errnum = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    if (!errnum) {
        errnum = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    }
    if (!errnum) {
        errnum = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO,
                                                  "/dev/null", O_WRONLY, 0);
    }
    if (!errnum) {
        errnum = posix_spawnp(ret, "dot", &actions, NULL, arguments, environ);
    }
    posix_spawn_file_actions_destroy(&actions);
    return errnum;
}

static struct qh_error *start(int in, struct child *child)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0) {
        return no_picture(strerror(errno));
    }
    child->out = ends[0];
    int errnum = spawn(in, ends[1], &child->pid);
    close(ends[1]);
    if (errnum) {
        child->pid = 0;
        return no_picture(errnum == ENOENT ? "there is no `dot`"
                                           : strerror(errnum));
    }
    return NULL;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads all that the child writes, for so long and so much. */
static struct qh_error *read_output(const struct child *child, FILE *into)
{
    int64_t end_ms = now_ms() + MAX_MS;
    size_t bytes = 0;
    char buffer[16384];

    for (;;) {
        struct pollfd fd = { .fd = child->out, .events = POLLIN };
        int64_t left_ms = end_ms - now_ms();
        if (left_ms <= 0) {
            return no_picture("`dot` did not end in time");
        }
        if (poll(&fd, 1, (int)left_ms) <= 0) {
            continue;
        }
        ssize_t count = read(child->out, buffer, sizeof(buffer));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            return count ? no_picture(strerror(errno)) : NULL;
        }
        bytes += (size_t)count;
        if (bytes > MAX_BYTES) {
            return no_picture("`dot` wrote too much");
        }
        fwrite(buffer, 1, (size_t)count, into);
    }
}

static struct qh_error *finish(struct child *child)
{
    int status;

    while (waitpid(child->pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return no_picture(strerror(errno));
        }
    }
    child->pid = 0;
    return WIFEXITED(status) && !WEXITSTATUS(status)
               ? NULL
               : no_picture("`dot` failed");
}

struct qh_error *qh_graphviz(const char *text, size_t bytes, char **ret)
{
    QH_CLEANUP(child_deinit) struct child child = { .out = -1 };
    QH_CLEANUP(qh_close_guard) int in = -1;
    QH_CLEANUP(qh_free_guard) char *svg = NULL;
    size_t svg_bytes = 0;

    QH_TRY(write_input(text, bytes, &in));
    QH_TRY(start(in, &child));
    FILE *into = open_memstream(&svg, &svg_bytes);
    if (!into) {
        return qh_error_no_memory();
    }
    struct qh_error *error = read_output(&child, into);
    if (fclose(into) && !error) {
        error = qh_error_no_memory();
    }
    QH_TRY(error);
    QH_TRY(finish(&child));
    *ret = svg;
    svg = NULL;
    return NULL;
}
