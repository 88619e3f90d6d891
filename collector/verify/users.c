/* Who wakes sleepers in a program, and so can hang.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "verify/judge.h"

#include <string.h>

enum { MAX_WAKES = 8 };

/* Functions that call qemu_co_sleep_wake() in QEMU 6.1 to 11, by the beginning
 * of their names: block/qcow2.c, block/block-copy.c, util/qemu-co-timeout.c,
 * blockjob.c and job.c, block/nbd.c. */
static const struct {
    const char *prefix;
    const char *what;
} known[] = {
    { "cache_clean_timer", "qcow2 cache cleaner" },
    { "block_copy", "block-copy" },
    { "qemu_co_timeout", "co-timeout" },
    { "co_timeout", "co-timeout" },
    { "block_job", "block jobs" },
    { "job_", "jobs" },
    { "nbd_", "NBD client" },
};

static const char *what_is(const char *function)
{
    for (size_t i = 0; function && i < QH_COUNT(known); i++) {
        if (strncmp(function, known[i].prefix, strlen(known[i].prefix)) == 0) {
            return known[i].what;
        }
    }
    return NULL;
}

struct qh_error *qh_find_users(const struct qh_image *image,
                               struct qh_arena *arena,
                               struct qh_verify_user **ret, size_t *ret_count)
{
    uint64_t wakes[MAX_WAKES];
    size_t count = 0;
    size_t capacity = 0;
    const struct qh_function *function;
    struct qh_reference *references;
    size_t reference_count;

    *ret = NULL;
    *ret_count = 0;
    while (count < MAX_WAKES &&
           (function = qh_image_named(image, "qemu_co_sleep_wake", count))) {
        wakes[count++] = function->start;
    }
    QH_TRY(qh_image_references(image, arena, wakes, count, &references,
                               &reference_count));
    for (size_t i = 0; i < reference_count; i++) {
        struct qh_verify_user *user;

        function = references[i].function;
        if (!function ||
            (*ret_count && (*ret)[*ret_count - 1].address == function->start) ||
            (function->name &&
             (strncmp(function->name, "qemu_co_sleep", 13) == 0 ||
              strncmp(function->name, "co_sleep_cb", 11) == 0))) {
            continue;
        }
        user = qh_list_add(arena, ret, ret_count, &capacity, sizeof(*user));
        if (!user) {
            return qh_error_no_memory();
        }
        *user = (struct qh_verify_user){ function->name, function->start,
                                         what_is(function->name) };
    }
    return NULL;
}
