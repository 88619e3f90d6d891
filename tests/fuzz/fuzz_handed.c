/* Any bytes as the registers that a debugger hands in.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/base.h"
#include "fuzz.h"
#include "target/live.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    QH_CLEANUP(qh_close_guard) int fd = -1;
    struct qh_handed *handed = NULL;
    char path[FUZZ_PATH_BYTES];
    size_t count = 0;

    fd = fuzz_file(data, bytes, path);
    struct qh_error *error = qh_handed_read(path, &handed, &count);
    for (size_t i = 0; !error && i < count; i++) {
        fuzz_require(handed[i].tid > 0);
        fuzz_require(!(handed[i].regs.known >> QH_REG_COUNT));
    }
    qh_error_destroy(error);
    free(handed);
    return 0;
}
