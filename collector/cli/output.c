/* Reports that go into files: whole or not at all.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file in the making, beside the one that it will be. */
struct draft {
    const char *path;
    char *name; /* malloc'd; NULL: there is none */
    FILE *out;
};

static void draft_deinit(struct draft *draft)
{
    if (draft->out) {
        fclose(draft->out);
    }
    if (draft->name) {
        unlink(draft->name);
        free(draft->name);
    }
}

struct qh_error *qh_cannot_write(const char *path, int errnum)
{
    struct qh_error *error = qh_error_path(
        qh_error_errno(QH_ERR_SYSTEM, errnum, "cannot write the report"), path);

    return qh_error_try(error, errnum == ENOSPC || errnum == EDQUOT
                                   ? "make room on that disk, or give a file "
                                     "on another"
                                   : "give a file in a folder that you may "
                                     "write to");
}

/* A device or a pipe must not be renamed over. */
static struct qh_error *refuse_others(const char *path)
{
    struct stat stat_;

    if (lstat(path, &stat_) < 0) {
        return errno == ENOENT ? NULL : qh_cannot_write(path, errno);
    }
    if (S_ISREG(stat_.st_mode) || S_ISLNK(stat_.st_mode)) {
        return NULL;
    }
    struct qh_error *error =
        qh_error_new(QH_ERR_USAGE, "cannot write the report over what is no "
                                   "regular file");
    return qh_error_try(qh_error_path(error, path), "give the name of a file");
}

/* mkostemp() makes a new file, whatever links are about, that only its owner
 * may read; the report gets the rights that any other file would. */
static struct qh_error *begin_draft(struct draft *draft)
{
    mode_t mask = umask(0);

    umask(mask);
    QH_TRY(refuse_others(draft->path));
    if (asprintf(&draft->name, "%s.XXXXXX", draft->path) < 0) {
        draft->name = NULL;
        return qh_error_no_memory();
    }
    int fd = mkostemp(draft->name, O_CLOEXEC);
    if (fd < 0) {
        int errnum = errno;
        free(draft->name);
        draft->name = NULL;
        return qh_cannot_write(draft->path, errnum);
    }
    draft->out = fdopen(fd, "w");
    if (!draft->out) {
        close(fd);
        return qh_error_no_memory();
    }
    return fchmod(fd, 0666 & ~mask) < 0 ? qh_cannot_write(draft->path, errno)
                                        : NULL;
}

static struct qh_error *keep_draft(struct draft *draft)
{
    FILE *out = draft->out;

    draft->out = NULL;
    if (fclose(out) || rename(draft->name, draft->path) < 0) {
        return qh_cannot_write(draft->path, errno);
    }
    free(draft->name);
    draft->name = NULL;
    return NULL;
}

struct qh_error *qh_write_dot(const struct qh_report *report, const char *path)
{
    QH_CLEANUP(draft_deinit) struct draft draft = { .path = path };

    QH_TRY(begin_draft(&draft));
    QH_TRY(qh_report_dot(report, draft.out));
    return keep_draft(&draft);
}

struct qh_error *qh_write_metrics(const struct qh_metrics *metrics,
                                  const char *path)
{
    QH_CLEANUP(draft_deinit) struct draft draft = { .path = path };

    QH_TRY(begin_draft(&draft));
    if (fchmod(fileno(draft.out), 0644) < 0) {
        return qh_cannot_write(path, errno);
    }
    QH_TRY(qh_metrics_text(metrics, draft.out));
    return keep_draft(&draft);
}

/* The picture, or NULL with its reason on stderr. */
static struct qh_error *draw(const struct qh_report *report, char **ret)
{
    QH_CLEANUP(qh_free_guard) char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    if (!out) {
        return qh_error_no_memory();
    }
    struct qh_error *error = qh_report_dot(report, out);
    if (fclose(out) && !error) {
        error = qh_error_no_memory();
    }
    QH_TRY(error);
    error = qh_graphviz(text, bytes, ret);
    if (error && error->code != QH_ERR_MEMORY) {
        qh_report_error(error, isatty(STDERR_FILENO), stderr);
        qh_error_destroy(error);
        error = NULL;
    }
    return error;
}

struct qh_error *qh_write_html(const struct qh_report *report, const char *path)
{
    QH_CLEANUP(draft_deinit) struct draft draft = { .path = path };
    QH_CLEANUP(qh_free_guard) char *svg = NULL;

    QH_TRY(begin_draft(&draft));
    if (qh_wait_graph_size(report->graph)) {
        QH_TRY(draw(report, &svg));
    }
    QH_TRY(qh_report_html(report, svg, draft.out));
    return keep_draft(&draft);
}
