/* The program's commands, their options, and what they share.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An option is defined once, in the table of its command: getopt_long() and
 * --help are fed from it, and a test holds the man pages and the completion
 * against --help.
 */
#ifndef QH_CLI_H
#define QH_CLI_H

#include "base/base.h"

#include <stdio.h>

/* Exit statuses, the contract of DESIGN.md. */
enum qh_exit {
    QH_EXIT_CLEAN = 0,      /* examined, no finding */
    QH_EXIT_FINDING = 1,    /* a finding, whether or not all could be read */
    QH_EXIT_INCOMPLETE = 2, /* no finding, but something was not readable */
    QH_EXIT_FAILED = 3,     /* could not examine */
    QH_EXIT_USAGE = 64      /* EX_USAGE of sysexits.h */
};

struct qh_option {
    int code;             /* what getopt_long() gives back; not 0, '?', ':' */
    const char *name;     /* without the dashes */
    const char *argument; /* what --help calls it, NULL: takes none;
                           * "[N]": may be left out, and stands behind a '=' */
    const char *help;     /* one line, 54 columns at most */
    bool letter;          /* -CODE is short for it */
};

struct qh_command {
    const char *name;     /* "" for qhang itself */
    const char *usage;    /* lines behind "usage: ", one each synopsis */
    const char *about;    /* one line */
    const char *more;     /* text for --help, 80 columns, or NULL */
    const struct qh_option *options;
    size_t option_count;
    /* Runs with argv[0] being the command's name; gives the exit status. */
    int (*run)(const struct qh_command *command, int argc, char **argv);
};

enum { QH_OPTION_HELP = 'h', QH_OPTION_VERSION = 'V' };

/* The line of the table that every command has. */
#define QH_HELP_OPTION { QH_OPTION_HELP, "help", NULL, "show this help" }

extern const struct qh_command qh_command_capture;
extern const struct qh_command qh_command_coroutines;
extern const struct qh_command qh_command_diagnose;
extern const struct qh_command qh_command_explain;
extern const struct qh_command qh_command_kick;
extern const struct qh_command qh_command_list;
extern const struct qh_command qh_command_verify;
extern const struct qh_command qh_command_watch;

/*
 * getopt_long() over the command's table: the code of the next option with
 * its argument in `optarg`, -1 at the end of the options, or '?' after it has
 * said on stderr what is wrong. Operands may stand among the options.
 */
int qh_next_option(const struct qh_command *command, int argc, char **argv);

/*
 * Reads all of a command's options. `take` puts one into the request, with its
 * argument in `optarg`, and gives false after it has said what is wrong with
 * it; --help never gets there (NULL: there is no other). True: go on, the
 * operands stand from argv[optind] on. False: that is all, and `*ret_status` is
 * the exit status.
 */
bool qh_read_options(const struct qh_command *command, int argc, char **argv,
                     bool (*take)(const struct qh_command *command, int code,
                                  void *request),
                     void *request, int *ret_status);

void qh_print_help(const struct qh_command *command, FILE *out);

/* Reads a PID; false when `text` is none. */
bool qh_read_pid(const char *text, pid_t *ret);
/* Reads the argument of option `name`, in `optarg`: seconds, from `least` to
 * `most`, with a fraction or without; false after it has said that it is not. */
bool qh_read_seconds(const struct qh_command *command, const char *name,
                     double least, double most, int64_t *ret_ns);
/* Says that `text` is no PID and how to find one; gives QH_EXIT_USAGE. */
int qh_no_pid(const char *text);

/* Says on stderr what is wrong with the command line; gives QH_EXIT_USAGE. */
int qh_usage_error(const struct qh_command *command, const char *format, ...)
    QH_PRINTF(2, 3);

/* Says on stderr what failed, where, and what to try; takes the error over and
 * gives the exit status that fits it. */
int qh_fail(struct qh_error *error);

/* Whether standard output is to be coloured. */
bool qh_wants_colour(void);

/* Sees that all of stdout was written; gives `status`, or QH_EXIT_FAILED after
 * saying on stderr that it was not. */
int qh_finish_output(int status);

#endif
