/* The driver's command line, and what it owes.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "verify/trial.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "verify/child.h"
#include "verify/trial_line.h"

/* A line comes after each round, which has bounds of its own: a QEMU that does
 * not start, the steps of an interleaving. */
enum { LIMIT_S = 300, MAX_ARGUMENTS = 20, FD_LIMIT = 16 };

#define DRIVER "qhang-race.py"

/* --- where things are --- */

static bool own_folder(char path[PATH_MAX], const char **ret_name)
{
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
    char *slash;

    if (length <= 0) {
        return false;
    }
    path[length] = 0;
    slash = strrchr(path, '/');
    *ret_name = slash + 1;
    *slash = 0;
    return true;
}

/* $QHANG_RACE is for tests. Else it stands beside the program, as installed or
 * as built, or where the installation was meant to be. */
static const char *find_driver(struct qh_arena *arena)
{
    static const char *const places[] = { "/../share/qhang/gdb/" DRIVER,
                                          "/../gdbscripts/" DRIVER };
    const char *told = getenv("QHANG_RACE");
    char folder[PATH_MAX];
    const char *name;

    if (told && *told) {
        return told;
    }
    for (size_t i = 0; own_folder(folder, &name) && i < QH_COUNT(places); i++) {
        char *path = qh_arena_printf(arena, "%s%s", folder, places[i]);

        if (path && access(path, R_OK) == 0) {
            return path;
        }
    }
    return access(QHANG_GDB_DIR "/" DRIVER, R_OK) == 0 ? QHANG_GDB_DIR
               "/" DRIVER
                                                       : NULL;
}

static unsigned limit_s(void)
{
    const char *told = getenv("QHANG_RACE_LIMIT");
    unsigned long limit = told ? strtoul(told, NULL, 10) : 0;

    return limit && limit < 100000 ? (unsigned)limit : LIMIT_S;
}

static int remove_entry(const char *path, const struct stat *stat_, int type,
                        struct FTW *where)
{
    remove(path);
    return 0;
}

static char *make_work_folder(struct qh_arena *arena)
{
    const char *told = getenv("TMPDIR");
    char *path = qh_arena_printf(arena, "%s/qhang-XXXXXX",
                                 told && *told ? told : "/tmp");

    return path && mkdtemp(path) ? path : NULL;
}

static void remove_work_folder(char *const *path)
{
    if (*path) {
        nftw(*path, remove_entry, FD_LIMIT, FTW_DEPTH | FTW_PHYS);
    }
}

/* --- what is asked for --- */

static struct qh_owed *expect(struct qh_trial_board *board, const char *name,
                              unsigned rounds)
{
    struct qh_owed *owed = &board->owed[board->count];

    *owed = (struct qh_owed){ .name = name, .rounds = rounds };
    board->count += rounds != 0;
    return owed;
}

/* A build without the graph lock has nothing to race there. */
static void set_up(const struct qh_trial *trial,
                   const struct qh_verification *verification,
                   struct qh_trial_board *board)
{
    struct qh_owed *graph;

    expect(board, "race.wake-before-arm", trial->race_rounds);
    expect(board, "race.erased", trial->race_rounds);
    graph = expect(board, "race.graph-unlock", trial->race_rounds);
    if (verification->checks[2].verdict == QH_NOT_THERE) {
        graph->given = true;
        graph->verdict = QH_NOT_THERE;
        graph->why = "this build has no graph lock";
        graph->trial.at_most = -1;
    }
    expect(board, "stress", trial->stress_rounds);
}

static bool fill_argv(const struct qh_trial *trial, struct qh_arena *arena,
                      const struct qh_trial_board *board, const char *driver,
                      const char *work, char *argv[MAX_ARGUMENTS])
{
    char folder[PATH_MAX];
    const char *name = "";
    size_t count = 0;
    bool good = own_folder(folder, &name);

    const char *const fixed[] = {
        "python3",
        "-EsB",
        driver,
        "--program",
        trial->program,
        "--work",
        work,
        "--qhang",
        qh_arena_printf(arena, "%s/%s", folder, name),
    };
    for (size_t i = 0; i < QH_COUNT(fixed); i++) {
        argv[count++] = (char *)fixed[i];
        good = good && fixed[i];
    }
    for (size_t i = 0; i < board->count; i++) {
        if (board->owed[i].given) {
            continue;
        }
        argv[count++] = (char *)"--check";
        argv[count] = qh_arena_printf(arena, "%s=%u", board->owed[i].name,
                                      board->owed[i].rounds);
        good = good && argv[count++];
    }
    argv[count] = NULL;
    return good;
}

/* --- what came of it --- */

/* The last line that it wrote to stderr, "" if none. */
static const char *last_line(char *words)
{
    size_t length = strlen(words);
    char *newline;

    while (length && words[length - 1] == '\n') {
        words[--length] = 0;
    }
    newline = strrchr(words, '\n');
    return newline ? newline + 1 : words;
}

static const char *why_not(struct qh_arena *arena, struct qh_child_result *end,
                           const struct qh_trial_board *board, unsigned limit)
{
    const char *words = last_line(end->words);

    switch (end->end) {
    case QH_CHILD_NOT_STARTED:
        return end->errnum == ENOENT
                   ? "python3 is not installed: apt-get install python3"
                   : qh_arena_printf(arena, "python3 cannot be run: %s",
                                     strerror(end->errnum));
    case QH_CHILD_SILENT:
        return qh_arena_printf(arena,
                               "its driver said nothing for %u s; "
                               "$QHANG_RACE_LIMIT gives it more",
                               limit);
    case QH_CHILD_REFUSED:
        return qh_arena_printf(arena, "its driver said what is no result: %s",
                               board->refused);
    case QH_CHILD_SIGNALLED:
        return "it was interrupted";
    case QH_CHILD_EXITED:
        break;
    }
    if (WIFSIGNALED(end->status)) {
        return qh_arena_printf(arena, "its driver was killed by signal %d",
                               WTERMSIG(end->status));
    }
    return qh_arena_printf(arena, "its driver ended with status %d%s%s",
                           WEXITSTATUS(end->status), *words ? ": " : "", words);
}

/* Those that have no result yet are undetermined. */
static struct qh_error *settle(struct qh_verification *verification,
                               const struct qh_trial_board *board,
                               const char *why)
{
    for (size_t i = 0; i < board->count; i++) {
        const struct qh_owed *owed = &board->owed[i];
        struct qh_verify_trial *trial =
            qh_arena_alloc(&verification->arena, sizeof(*trial));
        struct qh_verify_check check = { .name = owed->name,
                                         .verdict = QH_UNDETERMINED,
                                         .why = why,
                                         .trial = trial };

        if (owed->given) {
            check.verdict = owed->verdict;
            check.where = owed->where;
            check.why = owed->why;
        }
        if (!check.why || !trial) {
            return qh_error_no_memory();
        }
        *trial = owed->given ? owed->trial
                             : (struct qh_verify_trial){ .at_most = -1 };
        qh_verification_add(verification, &check);
    }
    return NULL;
}

static struct qh_error *run_driver(const struct qh_trial *trial,
                                   const char *driver,
                                   struct qh_verification *verification,
                                   struct qh_trial_board *board,
                                   int *ret_signal)
{
    struct qh_arena *arena = &verification->arena;
    QH_CLEANUP(remove_work_folder) char *work = make_work_folder(arena);
    char *argv[MAX_ARGUMENTS];
    struct qh_child child = { .argv = argv,
                              .limit_s = limit_s(),
                              .take = qh_trial_take_line,
                              .opaque = board };
    struct qh_child_result end;

    if (!work) {
        return settle(verification, board,
                      qh_arena_printf(arena, "no folder to work in: %s",
                                      strerror(errno)));
    }
    if (!fill_argv(trial, arena, board, driver, work, argv)) {
        return qh_error_no_memory();
    }
    QH_TRY(qh_child_run(&child, &end));
    *ret_signal = end.signal;
    return settle(verification, board,
                  why_not(arena, &end, board, child.limit_s));
}

struct qh_error *qh_trial_run(const struct qh_trial *trial,
                              struct qh_verification *verification,
                              int *ret_signal)
{
    struct qh_trial_board board = { .arena = &verification->arena,
                                    .progress = trial->progress };
    const char *driver = find_driver(&verification->arena);

    *ret_signal = 0;
    set_up(trial, verification, &board);
    if (verification->unfit) {
        return settle(verification, &board, verification->unfit);
    }
    if (!driver) {
        return settle(verification, &board,
                      DRIVER " is not installed beside qhang: meson install");
    }
    return run_driver(trial, driver, verification, &board, ret_signal);
}
