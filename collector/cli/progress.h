/* A bar on the terminal for what takes long; private to cli/.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_PROGRESS_H
#define QH_PROGRESS_H

/* Shows on stderr, which must be a terminal, that so many of so many are done;
 * each call takes the place of what the one before showed. */
void qh_progress_show(const char *what, unsigned done, unsigned of);
void qh_progress_clear(void);

#endif
