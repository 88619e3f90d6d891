/* The QEMU that a command looks at: a process, a held one, or a core.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What diagnose and coroutines have in common of their command lines.
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
};

/* Lines of a command's table; their codes are above those of characters. */
enum {
    QH_SUBJECT_CORE = 256,
    QH_SUBJECT_EXE,
    QH_SUBJECT_REGISTERS,
    QH_SUBJECT_NO_STOP,
    QH_SUBJECT_DEBUGINFO
};
#define QH_SUBJECT_OPTIONS                                                     \
    { QH_SUBJECT_CORE, "core", "FILE",                                         \
      "examine a core instead of a process" },                                 \
        { QH_SUBJECT_EXE, "exe", "FILE",                                       \
          "the executable that made the core" },                               \
        { QH_SUBJECT_REGISTERS, "registers", "FILE",                           \
          "gdb holds the process and hands in its registers" },                \
        { QH_SUBJECT_NO_STOP, "no-stop", NULL,                                 \
          "stop nothing: sees less, and proves nothing" },                     \
    {                                                                          \
        QH_SUBJECT_DEBUGINFO, "debuginfo", "DIR",                              \
            "look for separate debug files here, too"                          \
    }

/* Takes the option if it is one of these; `argument` must live on. */
bool qh_subject_option(struct qh_subject *subject, int code,
                       const char *argument);
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
