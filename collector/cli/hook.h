/* The command that a watch runs when it has found a hang; private to cli/.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_HOOK_H
#define QH_HOOK_H

#include "base/base.h"

struct qh_hook {
    pid_t child; /* 0: none runs */
    int handle;  /* pidfd of it; valid while there is one */
};

/* What the command finds in its environment. */
struct qh_hook_facts {
    pid_t pid;
    const char *rule;
    const char *capture; /* "" when there is none */
    const char *summary; /* safe to print */
};

/*
 * Runs `command` with sh -c, and does not wait for it. It gets nothing of ours
 * but stderr, for both of its outputs: stdin is /dev/null, other descriptors
 * are closed, signals are as usual, and it leads a process group of its own.
 * Errors: SYSTEM.
 */
struct qh_error *qh_hook_run(struct qh_hook *hook, const char *command,
                             const struct qh_hook_facts *facts) QH_MUST_CHECK;
/* Takes the end of the one that runs, waiting for it, and says on stderr when
 * it failed. */
void qh_hook_reap(struct qh_hook *hook);

#endif
