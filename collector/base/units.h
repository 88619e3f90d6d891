/* Times as people read them.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QH_UNITS_H
#define QH_UNITS_H

#include <stdint.h>

struct qh_duration {
    char text[32];
};

/*
 * `ns` in the unit that leaves it readable: "420 ns", "12 us", "0.6 ms",
 * "34 ms", "3.4 s", "579 s", "16 min 40 s", "4 h 39 min", "3 d 2 h". Rounded
 * down, so that a wait is never said to be longer than it is; a negative time
 * gets a minus sign.
 */
struct qh_duration qh_duration(int64_t ns);

#endif
