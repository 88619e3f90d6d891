/* The QEMU that a command looks at: from the command line to its layouts.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/subject.h"

#include <getopt.h>
#include <string.h>
#include <sys/stat.h>

bool qh_read_stop_bound(const struct qh_command *command, int64_t *ret_ns)
{
    return qh_read_seconds(command, "--stop-bound", 0.001, 10, ret_ns);
}

bool qh_subject_option(const struct qh_command *command, int code,
                       struct qh_subject *subject)
{
    switch (code) {
    case QH_SUBJECT_CORE:
        subject->core = optarg;
        return true;
    case QH_SUBJECT_EXE:
        subject->exe = optarg;
        return true;
    case QH_SUBJECT_REGISTERS:
        subject->registers = optarg;
        return true;
    case QH_SUBJECT_NO_STOP:
        subject->no_stop = true;
        return true;
    case QH_SUBJECT_STOP_BOUND:
        return qh_read_stop_bound(command, &subject->stop_bound_ns);
    case QH_SUBJECT_DEBUGINFO:
        subject->debuginfo = optarg;
        return true;
    default:
        return false;
    }
}

/* A core is easily given where a PID should stand. */
static int no_pid(const struct qh_command *command, const char *text)
{
    struct stat st;

    if (stat(text, &st) < 0) {
        return qh_no_pid(text);
    }
    return qh_fail(qh_error_try(
        qh_error_new(QH_ERR_USAGE, "no PID, but a file: %s", text),
        "qhang %s --core %s, if it is a core", command->name, text));
}

static int read_operand(const struct qh_command *command, int argc, char **argv,
                        struct qh_subject *subject)
{
    if (argc - optind > 1) {
        return qh_usage_error(command, "one PID at a time, not also %s",
                              argv[optind + 1]);
    }
    if (argc == optind) {
        return subject->core
                   ? 0
                   : qh_usage_error(command, "give a PID, or --core FILE");
    }
    if (subject->core) {
        return qh_usage_error(
            command, "a PID (%s) and --core exclude each other", argv[optind]);
    }
    return qh_read_pid(argv[optind], &subject->pid)
               ? 0
               : no_pid(command, argv[optind]);
}

int qh_subject_finish(const struct qh_command *command, int argc, char **argv,
                      struct qh_subject *subject)
{
    int status = read_operand(command, argc, argv, subject);

    if (!status && subject->exe && !subject->core) {
        status = qh_usage_error(command, "--exe goes with --core only");
    }
    if (!status && subject->registers && subject->core) {
        status = qh_usage_error(command, "--registers goes with a PID only");
    }
    if (!status && subject->no_stop && subject->core) {
        status = qh_usage_error(command, "--no-stop goes with a PID only");
    }
    if (!status && subject->no_stop && subject->registers) {
        status = qh_usage_error(command,
                                "--no-stop and --registers exclude each other");
    }
    if (!status && subject->stop_bound_ns &&
        (subject->core || subject->registers || subject->no_stop)) {
        status = qh_usage_error(command, "--stop-bound goes only with a PID "
                                         "that qhang is to stop");
    }
    return status;
}

static struct qh_error *open_target(const struct qh_subject *subject,
                                    struct qh_target **ret)
{
    if (subject->core) {
        return qh_target_open_core(subject->core, subject->exe, ret);
    }
    if (subject->registers) {
        return qh_target_open_held(subject->pid, subject->registers, ret);
    }
    const struct qh_live_options live = {
        .stop_bound_ns = subject->stop_bound_ns,
        .leave_running = subject->no_stop,
    };
    return qh_target_open_live(subject->pid, &live, ret);
}

/* Without debug information there is no telling what the program is but by its
 * name; one that is called otherwise gets told so, too. */
static struct qh_error *doubt_name(const struct qh_target *target,
                                   struct qh_error *error)
{
    const struct qh_process *process = qh_target_process(target);
    const char *exe = process->exe;
    const char *name = strrchr(exe, '/') ? strrchr(exe, '/') + 1 : exe;

    if (!error || error->code != QH_ERR_NO_DEBUGINFO || !*name ||
        strstr(name, "qemu") || strstr(name, "kvm")) {
        return error;
    }
    struct qh_error *doubt = qh_error_new(
        QH_ERR_NOT_QEMU, "%s is no QEMU by its name, and there is %s", name,
        error->message);
    doubt = qh_error_path(doubt, exe);
    doubt =
        qh_error_try(doubt,
                     "give the %s of a qemu-system-*, qemu-storage-daemon "
                     "or qemu-nbd; if this is one by another name, %s",
                     process->core ? "core" : "pid", qh_error_advice(error));
    qh_error_destroy(error);
    return doubt;
}

struct qh_error *qh_subject_open(const struct qh_subject *subject,
                                 struct qh_target **ret_target,
                                 struct qh_debug **ret_debug,
                                 struct qh_qemu **ret_qemu)
{
    QH_CLEANUP(qh_target_guard) struct qh_target *target = NULL;
    QH_CLEANUP(qh_debug_guard) struct qh_debug *debug = NULL;
    const struct qh_debug_options options = {
        .debuginfo_dir = subject->debuginfo,
    };

    QH_TRY(open_target(subject, &target));
    QH_TRY(doubt_name(target, qh_debug_open(target, &options, &debug)));
    QH_TRY(qh_qemu_create(target, debug, ret_qemu));
    *ret_target = target;
    *ret_debug = debug;
    target = NULL;
    debug = NULL;
    return NULL;
}
