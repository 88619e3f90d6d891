/* Puts a program on trial: races forced on it, and rounds under load.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The work is done by gdbscripts/qhang-race.py, which is run as a child and
 * says its results as JSON, one object a line (gdbscripts/race/trial.py has
 * their form). Nothing of what it says is believed that contradicts itself:
 * a driver that fails, falls silent or says what is no result makes
 * "undetermined" of the checks that it still owes.
 */
#ifndef QH_TRIAL_H
#define QH_TRIAL_H

#include "verify/verify.h"

enum { QH_TRIAL_MOST_RACES = 1000, QH_TRIAL_MOST_ROUNDS = 100000 };

struct qh_trial {
    const char *program;  /* the file that is run */
    unsigned race_rounds; /* of each interleaving; 0: none */
    unsigned stress_rounds;
    /* Told as it goes on; NULL where nobody wants to know. */
    void (*progress)(const char *check, unsigned done, unsigned of);
};

/*
 * Adds the checks that are asked for to the program's verification. After a
 * SIGINT, SIGTERM or SIGHUP everything that was begun has ended, and that is
 * *ret_signal, else 0; the caller should end by it. Errors: MEMORY, SYSTEM.
 */
struct qh_error *qh_trial_run(const struct qh_trial *trial,
                              struct qh_verification *verification,
                              int *ret_signal) QH_MUST_CHECK;

#endif
