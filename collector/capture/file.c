/* A file that is there as a whole or not at all, and takes nobody's place.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * It has no name while it is written (O_TMPFILE), so that whatever ends qhang,
 * SIGKILL or a power cut, leaves nothing behind. link(2) gives it its name, and
 * never takes the place of another. Where a file system has no such files, it
 * has a name of its own meanwhile. Source: open(2), O_TMPFILE; link(2). */
#include "capture/private.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PRIVATE_MODE = 0600 };

struct qh_error *qh_new_file_failed(const struct qh_new_file *file, int errnum,
                                    const char *what)
{
    struct qh_error *error = qh_error_path(
        qh_error_errno(errnum == EACCES || errnum == EPERM || errnum == EROFS
                           ? QH_ERR_PERMISSION
                           : QH_ERR_SYSTEM,
                       errnum, "%s %s", what, file->path),
        file->path);

    switch (errnum) {
    case EEXIST:
        return qh_error_try(error, "give another name; no file is ever "
                                   "written over");
    case ENOSPC:
    case EDQUOT:
        return qh_error_try(error, "give a place with more room");
    case EFBIG:
        return qh_error_try(error, "raise the limit on file sizes (ulimit -f), "
                                   "or give another file system");
    default:
        return qh_error_try(error, "give a folder that you may write to");
    }
}

void qh_new_file_guard(struct qh_new_file *file)
{
    if (file->temporary[0]) {
        unlinkat(file->folder, file->temporary, 0);
    }
    qh_close_guard(&file->fd);
    qh_close_guard(&file->folder);
}

/* The name within its folder. */
static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static struct qh_error *open_folder(struct qh_new_file *file)
{
    char copy[PATH_MAX];

    if (strlen(file->path) >= sizeof(copy)) {
        return qh_new_file_failed(file, ENAMETOOLONG, "cannot write");
    }
    if (!name_of(file->path)[0]) {
        return qh_new_file_failed(file, EISDIR, "cannot write");
    }
    strcpy(copy, file->path);
    file->folder = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return file->folder < 0 ? qh_new_file_failed(file, errno, "cannot write")
                            : NULL;
}

static struct qh_error *open_named(struct qh_new_file *file)
{
    snprintf(file->temporary, sizeof(file->temporary), ".qhang-%d.part",
             (int)getpid());
    file->fd = openat(file->folder, file->temporary,
                      O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, PRIVATE_MODE);
    if (file->fd < 0) {
        int errnum = errno;
        file->temporary[0] = '\0';
        return qh_new_file_failed(file, errnum, "cannot write");
    }
    return NULL;
}

struct qh_error *qh_new_file_open(const char *path, struct qh_new_file *ret)
{
    struct stat st;

    *ret = (struct qh_new_file){ .path = path, .folder = -1, .fd = -1 };
    QH_TRY(open_folder(ret));
    if (fstatat(ret->folder, name_of(path), &st, AT_SYMLINK_NOFOLLOW) == 0) {
        return qh_new_file_failed(ret, EEXIST, "cannot write");
    }
    ret->fd = openat(ret->folder, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC,
                     PRIVATE_MODE);
    if (ret->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR ||
                        errno == EINVAL || errno == ENOENT)) {
        QH_TRY(open_named(ret));
    }
    if (ret->fd < 0) {
        return qh_new_file_failed(ret, errno, "cannot write");
    }
    /* Whatever the umask takes off, the owner can read it. */
    return fchmod(ret->fd, PRIVATE_MODE) < 0
               ? qh_new_file_failed(ret, errno, "cannot write")
               : NULL;
}

struct qh_error *qh_new_file_room(const struct qh_new_file *file,
                                  uint64_t bytes)
{
    struct statvfs fs;

    if (fstatvfs(file->folder, &fs) < 0 || !fs.f_blocks ||
        (uint64_t)fs.f_bavail * fs.f_frsize >= bytes) {
        return NULL; /* or not known: the write will tell */
    }
    return qh_new_file_failed(file, ENOSPC, "cannot write");
}

static int give_name(struct qh_new_file *file)
{
    char unnamed[64];

    if (!file->temporary[0]) {
        snprintf(unnamed, sizeof(unnamed), "/proc/self/fd/%d", file->fd);
        return linkat(AT_FDCWD, unnamed, file->folder, name_of(file->path),
                      AT_SYMLINK_FOLLOW);
    }
    if (linkat(file->folder, file->temporary, file->folder, name_of(file->path),
               0) == 0) {
        return 0; /* the other name goes with the guard */
    }
    if (errno != EPERM && errno != EOPNOTSUPP) {
        return -1;
    }
    /* No hard links here (vfat). */
    if (renameat2(file->folder, file->temporary, file->folder,
                  name_of(file->path), RENAME_NOREPLACE) < 0) {
        return -1;
    }
    file->temporary[0] = '\0';
    return 0;
}

struct qh_error *qh_new_file_commit(struct qh_new_file *file)
{
    if (fsync(file->fd) < 0) {
        return qh_new_file_failed(file, errno, "cannot bring to the disk");
    }
    if (give_name(file) < 0) {
        return qh_new_file_failed(file, errno, "cannot write");
    }
    /* Some file systems cannot sync a folder, and need not. */
    if (fsync(file->folder) < 0 && errno != EINVAL && errno != EBADF) {
        int errnum = errno;
        unlinkat(file->folder, name_of(file->path), 0);
        return qh_new_file_failed(file, errnum, "cannot bring to the disk");
    }
    return NULL;
}
