/* A fixture that runs: started, listened to, examined, ended.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf_child.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { READY_BOUND_MS = 20000, SETTLE_BOUND_MS = 20000 };

static void split(struct fact *fact)
{
    char *rest = NULL;
    char *word = strtok_r(fact->line, " \n", &rest);

    for (size_t i = 0; word && i < MAX_WORDS; i++) {
        fact->words[i] = word;
        word = strtok_r(NULL, " \n", &rest);
    }
}

/* Reads facts until "ready". */
static void listen_to(struct child *child, FILE *out)
{
    struct pollfd pollfd = { .fd = fileno(out), .events = POLLIN };
    char *line = NULL;
    size_t room = 0;

    assert_int_equal(poll(&pollfd, 1, READY_BOUND_MS), 1);
    while (getline(&line, &room, out) > 0) {
        assert_true(child->fact_count < MAX_FACTS);
        if (strcmp(line, "ready\n") == 0) {
            free(line);
            return;
        }
        struct fact *fact = &child->facts[child->fact_count++];
        fact->line = strdup(line);
        split(fact);
    }
    free(line);
    fail_msg("the fixture ended before it was ready");
}

void child_start(struct child *child, const char *program)
{
    int in[2];
    int out[2];

    memset(child, 0, sizeof(*child));
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    child->pid = fork();
    if (child->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        execl(program, program, (char *)NULL);
        _exit(127);
    }
    assert_true(child->pid > 0);
    close(in[0]);
    close(out[1]);
    child->stdin_fd = in[1];
    FILE *stream = fdopen(out[0], "r");
    listen_to(child, stream);
    fclose(stream);
    child_settle(child);
}

void child_end(struct child *child)
{
    close(child->stdin_fd);
    kill(child->pid, SIGKILL);
    waitpid(child->pid, NULL, 0);
    for (size_t i = 0; i < child->fact_count; i++) {
        free(child->facts[i].line);
    }
}

const struct fact *child_fact(const struct child *child, const char *kind,
                              const struct fact *after)
{
    const struct fact *end = child->facts + child->fact_count;

    for (after = after ? after + 1 : child->facts; after < end; after++) {
        if (strcmp(after->words[0], kind) == 0) {
            return after;
        }
    }
    return NULL;
}

const struct fact *child_named(const struct child *child, const char *kind,
                               const char *name)
{
    const struct fact *fact = NULL;

    while ((fact = child_fact(child, kind, fact))) {
        if (strcmp(fact->words[1], name) == 0) {
            return fact;
        }
    }
    fail_msg("the fixture told no %s %s", kind, name);
    return NULL;
}

/* Whether every thread is in read(): system call 0 in /proc/.../syscall. */
static bool all_reading(pid_t pid)
{
    char path[64];
    bool reading = true;

    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    assert_non_null(tasks);
    for (struct dirent *task; (task = readdir(tasks));) {
        char call[8] = "";
        char file[336];
        snprintf(file, sizeof(file), "%s/%s/syscall", path, task->d_name);
        FILE *stream = task->d_name[0] == '.' ? NULL : fopen(file, "r");
        if (stream) {
            reading &= fgets(call, sizeof(call), stream) &&
                       strncmp(call, "0 ", 2) == 0;
            fclose(stream);
        }
    }
    closedir(tasks);
    return reading;
}

void child_settle(const struct child *child)
{
    const struct timespec pause = { .tv_nsec = 1000000 };

    for (int i = 0; i < SETTLE_BOUND_MS; i++) {
        if (all_reading(child->pid)) {
            return;
        }
        nanosleep(&pause, NULL);
    }
    fail_msg("the fixture's threads do not come to rest");
}

uint64_t number(const char *word)
{
    return (uint64_t)strtoll(word, NULL, 0);
}

void assert_success(struct qh_error *error)
{
    if (error) {
        fail_msg("%s: %s", qh_error_code_name(error->code), error->message);
    }
}

void assert_error(struct qh_error *error, enum qh_error_code code,
                  const char *text)
{
    assert_non_null(error);
    if (error->code != code || (text && !strstr(error->message, text))) {
        fail_msg("%s: %s, instead of %s: %s", qh_error_code_name(error->code),
                 error->message, qh_error_code_name(code), text ? text : "");
    }
    qh_error_destroy(error);
}

struct qh_target *open_patiently(pid_t pid)
{
    const struct qh_live_options patient = { .stop_bound_ns = 20000000000 };
    struct qh_target *target = NULL;

    assert_success(qh_target_open_live(pid, &patient, &target));
    return target;
}

void session_open(struct session *session, const char *program)
{
    memset(session, 0, sizeof(*session));
    child_start(&session->child, program);
    session->target = open_patiently(session->child.pid);
    assert_success(qh_debug_open(session->target, NULL, &session->debug));
}

void session_close(struct session *session)
{
    qh_arena_deinit(&session->arena);
    qh_debug_destroy(session->debug);
    qh_target_destroy(session->target);
    child_end(&session->child);
}
