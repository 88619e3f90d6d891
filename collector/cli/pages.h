/* The pages of the rules, built in from docs/rules/ by pages.py.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_PAGES_H
#define QH_PAGES_H

#include <stddef.h>

struct qh_page {
    const char *rule;    /* its id, "sleep.erased" */
    const char *summary; /* one line without a line end */
    const char *text;    /* all of it, 80 columns at most */
};

extern const struct qh_page qh_pages[]; /* in order of the ids */
extern const size_t qh_page_count;

#endif
