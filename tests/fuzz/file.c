/* A file in memory, for what reads files only.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

int fuzz_file(const uint8_t *data, size_t bytes, char ret_path[FUZZ_PATH_BYTES])
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    fuzz_require(fd >= 0);
    fuzz_require(write(fd, data, bytes) == (ssize_t)bytes);
    snprintf(ret_path, FUZZ_PATH_BYTES, "/proc/self/fd/%d", fd);
    return fd;
}
