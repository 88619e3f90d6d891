/* The bar.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/progress.h"

#include <stdint.h>
#include <stdio.h>

enum { BAR_COLUMNS = 30 };

void qh_progress_show(const char *what, unsigned done, unsigned of)
{
    int full = of ? (int)((uint64_t)done * BAR_COLUMNS / of) : BAR_COLUMNS;

    fprintf(stderr, "\r\033[K  %-21s [%.*s%.*s] %u of %u", what, full,
            "##############################", BAR_COLUMNS - full,
            "..............................", done, of);
    fflush(stderr);
}

void qh_progress_clear(void)
{
    fputs("\r\033[K", stderr);
    fflush(stderr);
}
