/* A program's verification, put together.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "verify/verify.h"

#include <inttypes.h>
#include <string.h>

#include "verify/judge.h"

const char *qh_safety_name(enum qh_safety safety)
{
    static const char *const names[] = {
        [QH_SAFE] = "safe",
        [QH_VULNERABLE] = "vulnerable",
        [QH_UNDETERMINED] = "undetermined",
        [QH_NOT_THERE] = "absent",
    };

    return names[safety];
}

const char *qh_where(const struct qh_function *function, uint64_t address,
                     struct qh_arena *arena)
{
    return function->name
               ? qh_arena_printf(arena, "%s+0x%" PRIx64 " (0x%" PRIx64 ")",
                                 function->name, address - function->start,
                                 address)
               : qh_arena_printf(arena, "0x%" PRIx64, address);
}

static struct qh_error *judge(const struct qh_image *image,
                              struct qh_verification *verification)
{
    struct qh_verify_check *checks = verification->checks;

    verification->unfit = image->unfit;
    if (image->unfit) {
        for (int i = 0; i < QH_VERIFY_CHECKS; i++) {
            checks[i].verdict = QH_UNDETERMINED;
            checks[i].why = image->unfit;
        }
        return NULL;
    }
    QH_TRY(qh_judge_sleep(image, &verification->arena, &checks[0], &checks[1]));
    QH_TRY(qh_judge_graph(image, &verification->arena, &checks[2]));
    return qh_find_users(image, &verification->arena, &verification->users,
                         &verification->user_count);
}

int qh_safety_rank(enum qh_safety verdict)
{
    return verdict == QH_VULNERABLE ? 2 : verdict == QH_UNDETERMINED;
}

static enum qh_safety verdict_of(const struct qh_verification *verification)
{
    enum qh_safety worst = QH_SAFE;

    for (unsigned i = 0; i < verification->check_count; i++) {
        if (qh_safety_rank(verification->checks[i].verdict) >
            qh_safety_rank(worst)) {
            worst = verification->checks[i].verdict;
        }
    }
    return worst;
}

void qh_verification_add(struct qh_verification *verification,
                         const struct qh_verify_check *check)
{
    if (verification->check_count < QH_VERIFY_MOST_CHECKS) {
        verification->checks[verification->check_count++] = *check;
        verification->verdict = verdict_of(verification);
    }
}

/* Strings of the image die with it. */
static struct qh_error *keep_names(struct qh_verification *verification,
                                   const struct qh_image *image,
                                   const char *path)
{
    struct qh_arena *arena = &verification->arena;

    verification->path = qh_arena_strdup(arena, path);
    verification->build_id = qh_arena_strdup(arena, image->build_id);
    for (size_t i = 0; i < verification->user_count; i++) {
        verification->users[i].function =
            qh_arena_strdup(arena, verification->users[i].function);
    }
    return verification->path && verification->build_id ? NULL
                                                        : qh_error_no_memory();
}

struct qh_error *qh_verify(int fd, const char *path,
                           struct qh_verification **ret)
{
    static const char *const names[QH_VERIFY_CHECKS] = { "sleep-wake",
                                                         "sleep-arm",
                                                         "graph-unlock" };
    struct qh_verification *verification = calloc(1, sizeof(*verification));
    QH_CLEANUP(qh_image_deinit) struct qh_image image = { .file = NULL };
    struct qh_error *error;

    if (!verification) {
        return qh_error_no_memory();
    }
    for (int i = 0; i < QH_VERIFY_CHECKS; i++) {
        verification->checks[i].name = names[i];
    }
    verification->check_count = QH_VERIFY_CHECKS;
    error = qh_image_read(fd, &image);
    if (!error) {
        error = judge(&image, verification);
    }
    if (!error) {
        verification->verdict = verdict_of(verification);
        error = keep_names(verification, &image, path);
    }
    if (error) {
        qh_verification_destroy(verification);
        return qh_error_path(error, path);
    }
    *ret = verification;
    return NULL;
}

void qh_verification_destroy(struct qh_verification *verification)
{
    if (verification) {
        qh_arena_deinit(&verification->arena);
        free(verification);
    }
}
