/* The QEMU that a command looks at: a process, a held one, or a core.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What commands have in common of their command lines: diagnose and coroutines
 * all of it, capture and kick some.
 */
#ifndef QH_SUBJECT_H
#define QH_SUBJECT_H

#include "cli/cli.h"
#include "qemu/qemu.h"

struct qh_subject {
    pid_t pid; /* 0: a core */
    const char *core;
    const char *exe;
    const char *registers; /* NULL: qhang stops the process itself */
    const char *debuginfo;
    bool no_stop;
    int64_t stop_bound_ns; /* 0: the default */
};

/* Lines of a command's table; their codes are above those of characters. */
enum {
    QH_SUBJECT_CORE = 256,
    QH_SUBJECT_EXE,
    QH_SUBJECT_REGISTERS,
    QH_SUBJECT_NO_STOP,
    QH_SUBJECT_STOP_BOUND,
    QH_SUBJECT_DEBUGINFO
};
#define QH_STOP_BOUND_OPTION                                                   \
    {                                                                          \
        QH_SUBJECT_STOP_BOUND, "stop-bound", "SECONDS",                        \
            "how long a thread may take to stop (0.05)"                        \
    }
#define QH_SUBJECT_OPTIONS                                                     \
    { QH_SUBJECT_CORE, "core", "FILE",                                         \
      "examine a core instead of a process" },                                 \
        { QH_SUBJECT_EXE, "exe", "FILE",                                       \
          "the executable that made the core" },                               \
        { QH_SUBJECT_REGISTERS, "registers", "FILE",                           \
          "gdb holds the process and hands in its registers" },                \
        { QH_SUBJECT_NO_STOP, "no-stop", NULL,                                 \
          "stop nothing: sees less, and proves nothing" },                     \
        QH_STOP_BOUND_OPTION,                                                  \
    {                                                                          \
        QH_SUBJECT_DEBUGINFO, "debuginfo", "DIR",                              \
            "look for separate debug files here, too"                          \
    }

/* Takes the option, with getopt's `optarg`; false after it has said what is
 * wrong with that. */
bool qh_subject_option(const struct qh_command *command, int code,
                       struct qh_subject *subject);
/* The same for --stop-bound alone, into `*ret_ns`. */
bool qh_read_stop_bound(const struct qh_command *command, int64_t *ret_ns);
/* Reads the operand behind the options and sees whether all of it fits
 * together; 0, or the exit status after it has said what does not. */
int qh_subject_finish(const struct qh_command *command, int argc, char **argv,
                      struct qh_subject *subject);

/* Opens it, its debug information and its layouts; the later need the former,
 * and all three are the caller's to destroy, in the reverse order. */
struct qh_error *qh_subject_open(const struct qh_subject *subject,
                                 struct qh_target **ret_target,
                                 struct qh_debug **ret_debug,
                                 struct qh_qemu **ret_qemu) QH_MUST_CHECK;

#endif
