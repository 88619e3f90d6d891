/* qhang: finds the command and runs it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include <locale.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static const struct qh_command *const commands[] = {
    &qh_command_diagnose,
    &qh_command_kick,
    &qh_command_coroutines,
    &qh_command_capture,
    &qh_command_list,
    &qh_command_watch,
    &qh_command_explain,
    &qh_command_verify,
};

static const struct qh_option options[] = {
    QH_HELP_OPTION,
    { QH_OPTION_VERSION, "version", NULL, "show the version of qhang" },
};

static const struct qh_command qhang = {
    .name = "",
    .usage = "usage: qhang COMMAND [OPTION]...\n"
             "       qhang --help | --version",
    .about = "Finds out why a QEMU hangs.",
    .options = options,
    .option_count = QH_COUNT(options),
};

static void print_main_help(FILE *out)
{
    qh_print_help(&qhang, out);
    fputs("\ncommands:\n", out);
    for (size_t i = 0; i < QH_COUNT(commands); i++) {
        fprintf(out, "  %-20s  %s\n", commands[i]->name, commands[i]->about);
    }
    fputs("\n`qhang COMMAND --help` tells about a command.\n"
          "\nExample: sudo qhang diagnose 19795\n",
          out);
}

/* An argument that begins with a dash, where the command should stand. */
static int run_option(int argc, char **argv)
{
    switch (qh_next_option(&qhang, argc, argv)) {
    case QH_OPTION_HELP:
        print_main_help(stdout);
        return QH_EXIT_CLEAN;
    case QH_OPTION_VERSION:
        puts("qhang " QHANG_VERSION);
        return QH_EXIT_CLEAN;
    case '?':
        return QH_EXIT_USAGE;
    default:
        return qh_usage_error(&qhang, "no command given");
    }
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_main_help(stderr);
        return QH_EXIT_USAGE;
    }
    if (argv[1][0] == '-') {
        return run_option(argc, argv);
    }
    for (size_t i = 0; i < QH_COUNT(commands); i++) {
        if (!strcmp(argv[1], commands[i]->name)) {
            return commands[i]->run(commands[i], argc - 1, argv + 1);
        }
    }
    return qh_usage_error(&qhang, "no such command: %s", argv[1]);
}

/*
 * libelf maps the files that it reads. Whoever owns one, in a container say,
 * can cut it short meanwhile, and the next look at what is gone ends in SIGBUS.
 * If the target stood still just then, the kernel lets it go when qhang ends.
 */
static void on_bus_error(int signal)
{
    static const char told[] =
        "qhang: a file was cut short while it was read\n"
        "  try   run it again, when nobody replaces the program or its debug "
        "symbols\n";

    if (write(STDERR_FILENO, told, sizeof(told) - 1) < 0) {
        _exit(QH_EXIT_FAILED);
    }
    _exit(QH_EXIT_FAILED);
}

int main(int argc, char **argv)
{
    const struct sigaction bus_error = { .sa_handler = on_bus_error };

    setlocale(LC_CTYPE, "");
    /* A reader that goes away is reported, not died of: the target comes
     * first, and the exit status must not look like a verdict. */
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGBUS, &bus_error, NULL);
    return qh_finish_output(run(argc, argv));
}
