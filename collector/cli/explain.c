/* qhang explain: what a rule is about, from its page in docs/rules/.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"
#include "cli/pages.h"

#include <getopt.h>
#include <string.h>

static const struct qh_option options[] = {
    QH_HELP_OPTION,
};

static const struct qh_page *find_page(const char *rule)
{
    for (size_t i = 0; i < qh_page_count; i++) {
        if (!strcmp(qh_pages[i].rule, rule)) {
            return &qh_pages[i];
        }
    }
    return NULL;
}

static void list_pages(void)
{
    for (size_t i = 0; i < qh_page_count; i++) {
        printf("%s\n    %s\n", qh_pages[i].rule, qh_pages[i].summary);
    }
}

static int explain(const struct qh_command *command, const char *rule)
{
    const struct qh_page *page = find_page(rule);

    if (!page) {
        return qh_fail(
            qh_error_try(qh_error_new(QH_ERR_USAGE, "no such rule: %s", rule),
                         "qhang explain, which lists them"));
    }
    fputs(page->text, stdout);
    return QH_EXIT_CLEAN;
}

static int run(const struct qh_command *command, int argc, char **argv)
{
    int status;

    if (!qh_read_options(command, argc, argv, NULL, NULL, &status)) {
        return status;
    }
    if (argc - optind > 1) {
        return qh_usage_error(command, "one RULE at a time, not also %s",
                              argv[optind + 1]);
    }
    if (argc == optind) {
        list_pages();
        return QH_EXIT_CLEAN;
    }
    return explain(command, argv[optind]);
}

const struct qh_command qh_command_explain = {
    .name = "explain",
    .usage = "usage: qhang explain [RULE]",
    .about = "Tells what a rule finds, what proves it and how it ends.",
    .more = "Without RULE the rules are listed. For RULE `history` it tells\n"
            "which of QEMU's known hangs are seen, and how.\n"
            "\n"
            "Exit status: 0 told, 64 wrong usage, no such rule too.\n"
            "\n"
            "Example: qhang explain sleep.wake-lost\n",
    .options = options,
    .option_count = QH_COUNT(options),
    .run = run,
};
