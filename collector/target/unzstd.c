/* Unpacks zstd, as systemd-coredump writes it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

enum { PIECE = 131072 };

static int temporary_in(const char *folder)
{
    char path[4096];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);

    /* Not every file system has O_TMPFILE. */
    if (fd < 0 && snprintf(path, sizeof(path), "%s/qhang-XXXXXX", folder) <
                      (int)sizeof(path)) {
        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0) {
            unlink(path);
        }
    }
    return fd;
}

static struct qh_error *temporary(int *ret_fd)
{
    const char *wanted = getenv("TMPDIR");
    const char *const folders[] = { wanted && wanted[0] ? wanted : "/var/tmp",
                                    "/tmp" };

    for (unsigned i = 0; i < QH_COUNT(folders); i++) {
        int fd = temporary_in(folders[i]);
        if (fd >= 0) {
            *ret_fd = fd;
            return NULL;
        }
    }
    return qh_error_try(qh_error_errno(QH_ERR_SYSTEM, errno,
                                       "cannot make a temporary file in %s",
                                       folders[0]),
                        "set TMPDIR to a folder with room for the unpacked "
                        "core");
}

/* A core is full of zeros: they become holes. */
static struct qh_error *put(int fd, const unsigned char *bytes, size_t count,
                            off_t *position)
{
    size_t done = qh_memory_is_zero(bytes, count) ? count : 0;

    while (done < count) {
        ssize_t wrote =
            pwrite(fd, bytes + done, count - done, *position + (off_t)done);
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote <= 0) {
            return qh_error_try(
                qh_error_errno(QH_ERR_SYSTEM, wrote < 0 ? errno : ENOSPC,
                               "cannot unpack the core"),
                "set TMPDIR to a folder with room for the unpacked core");
        }
        done += (size_t)wrote;
    }
    *position += (off_t)count;
    return NULL;
}

struct unpacking {
    ZSTD_DStream *stream;
    unsigned char in[PIECE], out[PIECE];
    off_t position;
    size_t hint; /* 0 at the end of a frame */
};

static void unpacking_guard(struct unpacking **unpacking)
{
    if (*unpacking) {
        ZSTD_freeDStream((*unpacking)->stream);
        free(*unpacking);
    }
}

/* Unpacks one piece of input; `*ret_bad` when it is no zstd from there on. */
static struct qh_error *unpack_piece(struct unpacking *un, size_t bytes, int fd,
                                     bool *ret_bad)
{
    ZSTD_inBuffer in = { un->in, bytes, 0 };
    bool full = true; /* the output was: there may be more to come */

    while (in.pos < in.size || full) {
        ZSTD_outBuffer out = { un->out, sizeof(un->out), 0 };
        un->hint = ZSTD_decompressStream(un->stream, &out, &in);
        if (ZSTD_isError(un->hint)) {
            *ret_bad = true;
            return NULL;
        }
        QH_TRY(put(fd, un->out, out.pos, &un->position));
        full = out.pos == out.size;
        if (un->hint == 0 && in.pos == in.size) {
            break;
        }
    }
    return NULL;
}

static struct qh_error *unpack(struct unpacking *un, int packed, int fd,
                               const char **ret_cut)
{
    bool bad = false;
    ssize_t got;

    if (lseek(packed, 0, SEEK_SET) < 0) {
        return qh_error_errno(QH_ERR_SYSTEM, errno, "cannot read the core");
    }
    while (!bad && (got = read(packed, un->in, sizeof(un->in))) != 0) {
        if (got < 0 && errno != EINTR) {
            return qh_error_errno(QH_ERR_SYSTEM, errno, "cannot read the core");
        }
        if (got > 0) {
            QH_TRY(unpack_piece(un, (size_t)got, fd, &bad));
        }
    }
    if (ftruncate(fd, un->position) < 0) {
        return qh_error_errno(QH_ERR_SYSTEM, errno, "cannot unpack the core");
    }
    *ret_cut = bad        ? "its zstd stream is damaged"
               : un->hint ? "its zstd stream is cut short"
                          : NULL;
    return NULL;
}

struct qh_error *qh_unzstd(int packed, int *ret_fd, const char **ret_cut)
{
    QH_CLEANUP(qh_close_guard) int fd = -1;
    QH_CLEANUP(unpacking_guard)
    struct unpacking *un = calloc(1, sizeof(*un));

    if (un) {
        un->stream = ZSTD_createDStream();
    }
    if (!un || !un->stream) {
        return qh_error_no_memory();
    }
    QH_TRY(temporary(&fd));
    QH_TRY(unpack(un, packed, fd, ret_cut));
    *ret_fd = fd;
    fd = -1;
    return NULL;
}
