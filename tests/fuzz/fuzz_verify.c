/* Any bytes as the program that `qhang verify` judges.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/base.h"
#include "fuzz.h"
#include "report/verify.h"
#include "verify/verify.h"

typedef struct qh_error *renderer(const struct qh_verify_report *report,
                                  FILE *out);

static char *render(struct qh_verification *program, renderer *write)
{
    const struct qh_verify_report report = { .programs = &program,
                                             .count = 1,
                                             .tool_version = "fuzz" };
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    fuzz_require(out);
    qh_error_destroy(write(&report, out));
    fuzz_require(fclose(out) == 0);
    return text;
}

static void report(struct qh_verification *program)
{
    char *text = render(program, qh_verify_text);
    fuzz_check_text(text);
    free(text);
    text = render(program, qh_verify_json);
    fuzz_check_json(text);
    free(text);
    text = render(program, qh_verify_junit);
    fuzz_check_text(text);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    QH_CLEANUP(qh_close_guard) int fd = -1;
    struct qh_verification *verification = NULL;
    char path[FUZZ_PATH_BYTES];

    fd = fuzz_file(data, bytes, path);
    struct qh_error *error = qh_verify(fd, "/any", &verification);
    if (!error) {
        report(verification);
    }
    qh_error_destroy(error);
    qh_verification_destroy(verification);
    return 0;
}
