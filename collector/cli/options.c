/* Options and help, from the table of a command.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"
#include "report/report.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_OPTIONS = 16 };

int qh_usage_error(const struct qh_command *command, const char *format, ...)
{
    va_list arguments;
    char message[512];

    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    struct qh_error *error = qh_error_new(QH_ERR_USAGE, "%s", message);
    error = qh_error_try(error, "qhang %s%s--help", command->name,
                         *command->name ? " " : "");
    return qh_fail(error);
}

static void fill_getopt(const struct qh_command *command,
                        struct option longs[MAX_OPTIONS + 1])
{
    memset(longs, 0, (MAX_OPTIONS + 1) * sizeof(*longs));
    for (size_t i = 0; i < command->option_count && i < MAX_OPTIONS; i++) {
        const struct qh_option *option = &command->options[i];
        longs[i].name = option->name;
        longs[i].has_arg = !option->argument          ? no_argument
                           : *option->argument == '[' ? optional_argument
                                                      : required_argument;
        longs[i].val = option->code;
    }
}

/* How many options begin with what was given, behind its dashes. */
static size_t count_alike(const struct qh_command *command, const char *given,
                          size_t length)
{
    size_t count = 0;

    for (size_t i = 0; i < command->option_count && length > 2; i++) {
        count += !strncmp(command->options[i].name, given + 2, length - 2);
    }
    return count;
}

/* After a '?': `optopt` is the code of the option when its argument is what
 * is wrong with it, and 0 when there is no such option. */
static void say_what_is_wrong(const struct qh_command *command, char **argv,
                              bool missing)
{
    const char *given = optind > 0 ? argv[optind - 1] : "";
    int length = (int)strcspn(given, "=");

    if (missing) {
        qh_usage_error(command, "%.*s needs an argument", length, given);
    } else if (optopt && !strncmp(given, "--", 2)) {
        qh_usage_error(command, "%.*s takes no argument", length, given);
    } else if (optopt) {
        qh_usage_error(command, "no such option: -%c", optopt);
    } else {
        bool several = count_alike(command, given, (size_t)length) > 1;
        qh_usage_error(command, "%s: %.*s",
                       several ? "short for more than one option"
                               : "no such option",
                       length, given);
    }
}

/* The colon has a missing argument told from an unknown option. */
static void fill_letters(const struct qh_command *command,
                         char letters[2 * MAX_OPTIONS + 3])
{
    char *at = stpcpy(letters, ":h");

    for (size_t i = 0; i < command->option_count && i < MAX_OPTIONS; i++) {
        if (command->options[i].letter) {
            *at++ = (char)command->options[i].code;
            *at++ = ':';
        }
    }
    *at = '\0';
}

static const char *name_of(const struct qh_command *command, int code)
{
    for (size_t i = 0; i < command->option_count; i++) {
        if (command->options[i].code == code) {
            return command->options[i].name;
        }
    }
    return "";
}

int qh_next_option(const struct qh_command *command, int argc, char **argv)
{
    struct option longs[MAX_OPTIONS + 1];
    char letters[2 * MAX_OPTIONS + 3];

    fill_getopt(command, longs);
    fill_letters(command, letters);
    opterr = 0;
    int code = getopt_long(argc, argv, letters, longs, NULL);
    if (code == '?' || code == ':') {
        say_what_is_wrong(command, argv, code == ':');
        return '?';
    }
    if (code != -1 && optarg && !*optarg) {
        qh_usage_error(command, "--%s: its argument is empty",
                       name_of(command, code));
        return '?';
    }
    return code;
}

bool qh_read_options(const struct qh_command *command, int argc, char **argv,
                     bool (*take)(const struct qh_command *command, int code,
                                  void *request),
                     void *request, int *ret_status)
{
    int code;

    while ((code = qh_next_option(command, argc, argv)) != -1) {
        if (code == QH_OPTION_HELP) {
            qh_print_help(command, stdout);
            *ret_status = QH_EXIT_CLEAN;
            return false;
        }
        if (code == '?' || !take(command, code, request)) {
            *ret_status = QH_EXIT_USAGE;
            return false;
        }
    }
    return true;
}

static void print_option(const struct qh_option *option, FILE *out)
{
    const char *argument = option->argument ? option->argument : "";
    char left[64];

    if (*argument == '[') {
        snprintf(left, sizeof(left), "--%s[=%s", option->name, argument + 1);
    } else {
        snprintf(left, sizeof(left), "--%s%s%s", option->name,
                 *argument ? " " : "", argument);
    }
    fprintf(out, "  %-20s  %s\n", left, option->help);
}

void qh_print_help(const struct qh_command *command, FILE *out)
{
    fprintf(out, "%s\n\n%s\n\n", command->usage, command->about);
    for (size_t i = 0; i < command->option_count; i++) {
        print_option(&command->options[i], out);
    }
    if (command->more) {
        fprintf(out, "\n%s", command->more);
    }
}

bool qh_read_pid(const char *text, pid_t *ret)
{
    char *end;

    errno = 0;
    long value = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value <= 0 ||
        value > INT_MAX) {
        return false;
    }
    *ret = (pid_t)value;
    return true;
}

bool qh_read_seconds(const struct qh_command *command, const char *name,
                     double least, double most, int64_t *ret_ns)
{
    char *end;
    double seconds = strtod(optarg, &end);

    if (*optarg < '0' || *optarg > '9' || *end ||
        !(seconds >= least && seconds <= most)) {
        qh_usage_error(command, "%s %.40s: give seconds, %g to %g", name,
                       optarg, least, most);
        return false;
    }
    *ret_ns = (int64_t)(seconds * 1e9);
    return true;
}

int qh_no_pid(const char *text)
{
    return qh_fail(qh_error_try(qh_error_new(QH_ERR_USAGE, "no PID: %s", text),
                                "pgrep -a qemu, to find the PID by the name"));
}

int qh_fail(struct qh_error *error)
{
    int status = error->code == QH_ERR_USAGE ? QH_EXIT_USAGE : QH_EXIT_FAILED;

    fflush(stdout);
    qh_report_error(error, isatty(STDERR_FILENO), stderr);
    qh_error_destroy(error);
    return status;
}

bool qh_wants_colour(void)
{
    const char *no_color = getenv("NO_COLOR");

    return isatty(STDOUT_FILENO) && !(no_color && *no_color);
}

int qh_finish_output(int status)
{
    int errnum = fflush(stdout) ? errno : 0;

    /* Whoever failed has said why. */
    if (status == QH_EXIT_FAILED || (!errnum && !ferror(stdout))) {
        return status;
    }
    return qh_fail(errnum ? qh_error_errno(QH_ERR_SYSTEM, errnum,
                                           "cannot write to standard output")
                          : qh_error_new(QH_ERR_SYSTEM,
                                         "cannot write to standard output"));
}
