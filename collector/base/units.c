/* Times as people read them.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/units.h"

#include <inttypes.h>
#include <stdio.h>

#define US_NS UINT64_C(1000)
#define MS_NS (1000 * US_NS)
#define S_NS (1000 * MS_NS)
#define MIN_S UINT64_C(60)
#define HOUR_S (60 * MIN_S)
#define DAY_S (24 * HOUR_S)

/* Below a second; tenths of a millisecond from 0.1 ms to 10 ms. */
static void print_short(char *text, size_t bytes, const char *sign, uint64_t ns)
{
    if (ns < US_NS) {
        snprintf(text, bytes, "%s%" PRIu64 " ns", sign, ns);
    } else if (ns < MS_NS / 10) {
        snprintf(text, bytes, "%s%" PRIu64 " us", sign, ns / US_NS);
    } else if (ns < 10 * MS_NS) {
        snprintf(text, bytes, "%s%" PRIu64 ".%" PRIu64 " ms", sign, ns / MS_NS,
                 ns % MS_NS / (MS_NS / 10));
    } else {
        snprintf(text, bytes, "%s%" PRIu64 " ms", sign, ns / MS_NS);
    }
}

static void print_two(char *text, size_t bytes, const char *sign, uint64_t big,
                      const char *big_unit, uint64_t small,
                      const char *small_unit)
{
    if (small) {
        snprintf(text, bytes, "%s%" PRIu64 " %s %" PRIu64 " %s", sign, big,
                 big_unit, small, small_unit);
    } else {
        snprintf(text, bytes, "%s%" PRIu64 " %s", sign, big, big_unit);
    }
}

static void print_long(char *text, size_t bytes, const char *sign, uint64_t ns)
{
    uint64_t s = ns / S_NS;

    if (s < 10) {
        snprintf(text, bytes, "%s%" PRIu64 ".%" PRIu64 " s", sign, s,
                 ns % S_NS / (S_NS / 10));
    } else if (s < 1000) {
        snprintf(text, bytes, "%s%" PRIu64 " s", sign, s);
    } else if (s < 2 * HOUR_S) {
        print_two(text, bytes, sign, s / MIN_S, "min", s % MIN_S, "s");
    } else if (s < 2 * DAY_S) {
        print_two(text, bytes, sign, s / HOUR_S, "h", s % HOUR_S / MIN_S,
                  "min");
    } else {
        print_two(text, bytes, sign, s / DAY_S, "d", s % DAY_S / HOUR_S, "h");
    }
}

struct qh_duration qh_duration(int64_t ns)
{
    struct qh_duration duration;
    const char *sign = ns < 0 ? "-" : "";
    uint64_t magnitude = ns < 0 ? -(uint64_t)ns : (uint64_t)ns;

    if (magnitude < S_NS) {
        print_short(duration.text, sizeof(duration.text), sign, magnitude);
    } else {
        print_long(duration.text, sizeof(duration.text), sign, magnitude);
    }
    return duration;
}
