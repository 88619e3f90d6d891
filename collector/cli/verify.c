/* qhang verify: says whether a build of QEMU can lose these wake-ups.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"
#include "report/verify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPTION_JSON = 'j', OPTION_JUNIT = 'x' };

static const struct qh_option options[] = {
    { OPTION_JSON, "json", NULL, "print the report as JSON" },
    { OPTION_JUNIT, "junit", "FILE", "also write it as JUnit XML, for CI" },
    QH_HELP_OPTION,
};

struct request {
    const char *path;
    const char *junit;
    bool json;
};

struct programs {
    struct qh_arena arena;
    struct qh_verification **items;
    size_t count;
    size_t capacity;
};

static void programs_deinit(struct programs *programs)
{
    for (size_t i = 0; i < programs->count; i++) {
        qh_verification_destroy(programs->items[i]);
    }
    qh_arena_deinit(&programs->arena);
}

static struct qh_error *cannot_open(const char *path)
{
    struct qh_error *error =
        qh_error_errno(errno == EACCES ? QH_ERR_PERMISSION : QH_ERR_SYSTEM,
                       errno, "cannot open the program");

    return qh_error_try(qh_error_path(error, path),
                        "give an executable, the PID of a running QEMU, or a "
                        "QEMU build folder");
}

static struct qh_error *verify_file(const char *open_as, const char *path,
                                    struct programs *programs)
{
    QH_CLEANUP(qh_close_guard)
    int fd = open(open_as, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct qh_verification **added;

    if (fd < 0) {
        return cannot_open(path);
    }
    added = qh_list_add(&programs->arena, &programs->items, &programs->count,
                        &programs->capacity, sizeof(*added));
    if (!added) {
        return qh_error_no_memory();
    }
    return qh_verify(fd, path, added);
}

/* --- a build folder --- */

static bool is_program(const char *path)
{
    struct stat stat_;
    unsigned char magic[4] = { 0 };
    QH_CLEANUP(qh_close_guard) int fd = -1;

    if (stat(path, &stat_) < 0 || !S_ISREG(stat_.st_mode) ||
        !(stat_.st_mode & S_IXUSR)) {
        return false;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && read(fd, magic, 4) == 4 &&
           memcmp(magic, "\177ELF", 4) == 0;
}

static int is_qemu(const struct dirent *entry)
{
    return strncmp(entry->d_name, "qemu-", 5) == 0;
}

static struct qh_error *verify_entries(const char *folder,
                                       struct programs *programs)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, is_qemu, alphasort);
    struct qh_error *error = NULL;

    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        if (!error && is_program(path)) {
            error = verify_file(path, path, programs);
        }
        free(entries[i]);
    }
    if (count >= 0) {
        free(entries);
    }
    return error;
}

/* Where QEMU's build leaves them (meson.build): the daemon has a folder. */
static struct qh_error *verify_folder(const char *folder,
                                      struct programs *programs)
{
    char daemon[PATH_MAX];

    snprintf(daemon, sizeof(daemon), "%s/storage-daemon", folder);
    QH_TRY(verify_entries(folder, programs));
    QH_TRY(verify_entries(daemon, programs));
    if (!programs->count) {
        return qh_error_try(
            qh_error_path(
                qh_error_new(QH_ERR_NOT_QEMU, "no QEMU program in this folder"),
                folder),
            "give the folder that configure was run in, after a build");
    }
    return NULL;
}

/* --- a process --- */

static bool is_pid(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text) &&
           strlen(text) < 11;
}

static struct qh_error *verify_process(const char *pid,
                                       struct programs *programs)
{
    char exe[64];
    char path[PATH_MAX];
    ssize_t length;

    snprintf(exe, sizeof(exe), "/proc/%s/exe", pid);
    length = readlink(exe, path, sizeof(path) - 1);
    if (length < 0) {
        bool gone = errno == ENOENT;
        struct qh_error *error =
            qh_error_errno(gone ? QH_ERR_NO_PROCESS : QH_ERR_PERMISSION, errno,
                           "cannot find the program of process %s", pid);
        return gone ? error
                    : qh_error_try(error, "run it with sudo, or give the "
                                          "program's path");
    }
    path[length] = 0;
    /* The very file, also where it was replaced since. */
    return verify_file(exe, path, programs);
}

static struct qh_error *verify(const char *path, struct programs *programs)
{
    struct stat stat_;

    if (stat(path, &stat_) < 0) {
        return is_pid(path) ? verify_process(path, programs)
                            : cannot_open(path);
    }
    return S_ISDIR(stat_.st_mode) ? verify_folder(path, programs)
                                  : verify_file(path, path, programs);
}

/* --- the command --- */

static struct qh_error *write_junit(const struct qh_verify_report *report,
                                    const char *path)
{
    FILE *out = fopen(path, "we");
    struct qh_error *error;

    if (!out) {
        return qh_error_path(qh_error_errno(QH_ERR_SYSTEM, errno,
                                            "cannot write the JUnit report"),
                             path);
    }
    error = qh_verify_junit(report, out);
    if (fclose(out) && !error) {
        error = qh_error_errno(QH_ERR_SYSTEM, errno,
                               "cannot write the JUnit report");
    }
    return error ? qh_error_path(error, path) : NULL;
}

static struct qh_error *print(const struct request *request,
                              const struct programs *programs)
{
    const char *no_color = getenv("NO_COLOR");
    const struct qh_verify_report report = {
        .programs = programs->items,
        .count = programs->count,
        .tool_version = QHANG_VERSION,
        .colour = isatty(STDOUT_FILENO) && !(no_color && *no_color),
    };

    if (request->junit) {
        QH_TRY(write_junit(&report, request->junit));
    }
    return request->json ? qh_verify_json(&report, stdout)
                         : qh_verify_text(&report, stdout);
}

static int status_of(const struct programs *programs)
{
    const struct qh_verify_report report = { .programs = programs->items,
                                             .count = programs->count };

    switch (qh_verify_worst(&report)->verdict) {
    case QH_SAFE:
        return QH_EXIT_CLEAN;
    case QH_VULNERABLE:
        return QH_EXIT_FINDING;
    default:
        return QH_EXIT_INCOMPLETE;
    }
}

/* Fills the request; gives 0, or the exit status once that is all. */
static int read_arguments(const struct qh_command *command, int argc,
                          char **argv, struct request *request, bool *ret_done)
{
    int code;

    *ret_done = true;
    while ((code = qh_next_option(command, argc, argv)) != -1) {
        switch (code) {
        case OPTION_JSON:
            request->json = true;
            break;
        case OPTION_JUNIT:
            request->junit = optarg;
            break;
        case QH_OPTION_HELP:
            qh_print_help(command, stdout);
            return QH_EXIT_CLEAN;
        default:
            return QH_EXIT_USAGE;
        }
    }
    if (argc - optind != 1) {
        return argc == optind
                   ? qh_usage_error(command, "give a PATH or a PID")
                   : qh_usage_error(command, "one PATH at a time, not also %s",
                                    argv[optind + 1]);
    }
    request->path = argv[optind];
    *ret_done = false;
    return 0;
}

static int run(const struct qh_command *command, int argc, char **argv)
{
    QH_CLEANUP(programs_deinit) struct programs programs = { .count = 0 };
    struct request request = { .path = NULL };
    struct qh_error *error;
    bool done;
    int status = read_arguments(command, argc, argv, &request, &done);

    if (done) {
        return status;
    }
    error = verify(request.path, &programs);
    if (!error) {
        error = print(&request, &programs);
    }
    return error ? qh_fail(error) : status_of(&programs);
}

const struct qh_command qh_command_verify = {
    .name = "verify",
    .usage = "usage: qhang verify [OPTION]... PATH|PID",
    .about = "Says whether a build of QEMU can lose these wake-ups.",
    .more = "PATH is an executable or a QEMU build folder. Its machine code is "
            "judged;\n"
            "nothing is run, and no symbols are needed.\n"
            "\n"
            "Exit status: 0 safe, 1 vulnerable, 2 undetermined, 3 cannot be "
            "opened,\n"
            "64 wrong usage.\n"
            "\n"
            "Example: qhang verify /usr/bin/qemu-system-x86_64\n",
    .options = options,
    .option_count = QH_COUNT(options),
    .run = run,
};
