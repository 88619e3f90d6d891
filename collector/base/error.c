/* Error objects: made, given their facts, freed.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

static struct qh_error no_memory = {
    .code = QH_ERR_MEMORY,
    .message = (char *)"out of memory",
};

struct qh_error *qh_error_no_memory(void)
{
    return &no_memory;
}

static struct qh_error *error_new(enum qh_error_code code, int errnum,
                                  const char *format, va_list args)
{
    struct qh_error *error = calloc(1, sizeof(*error));

    if (!error) {
        return &no_memory;
    }
    error->code = code;
    error->errnum = errnum;
    if (vasprintf(&error->message, format, args) < 0) {
        free(error);
        return &no_memory;
    }
    return error;
}

struct qh_error *qh_error_new(enum qh_error_code code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    struct qh_error *error = error_new(code, 0, format, args);
    va_end(args);
    return error;
}

struct qh_error *qh_error_errno(enum qh_error_code code, int errnum,
                                const char *format, ...)
{
    char *whole = NULL;
    va_list args;

    va_start(args, format);
    struct qh_error *error = error_new(code, errnum, format, args);
    va_end(args);
    if (error != &no_memory &&
        asprintf(&whole, "%s: %s", error->message, strerror(errnum)) >= 0) {
        free(error->message);
        error->message = whole;
    }
    return error;
}

struct qh_error *qh_error_at(struct qh_error *error, struct raddr address)
{
    if (error != &no_memory) {
        error->has_address = true;
        error->address = address;
    }
    return error;
}

struct qh_error *qh_error_tid(struct qh_error *error, pid_t tid)
{
    if (error != &no_memory) {
        error->tid = tid;
    }
    return error;
}

struct qh_error *qh_error_passing(struct qh_error *error)
{
    if (error != &no_memory) {
        error->passing = true;
    }
    return error;
}

struct qh_error *qh_error_path(struct qh_error *error, const char *path)
{
    if (error != &no_memory) {
        free(error->path);
        error->path = path ? strdup(path) : NULL;
    }
    return error;
}

struct qh_error *qh_error_try(struct qh_error *error, const char *format, ...)
{
    char *advice = NULL;
    va_list args;

    va_start(args, format);
    if (error != &no_memory && vasprintf(&advice, format, args) >= 0) {
        free(error->advice);
        error->advice = advice;
    }
    va_end(args);
    return error;
}

static const struct {
    const char *name;
    const char *advice;
} codes[] = {
#define QH_ERROR_CODE(code, name, advice) [code] = { name, advice },
    QH_ERROR_CODES(QH_ERROR_CODE)
#undef QH_ERROR_CODE
};

const char *qh_error_advice(const struct qh_error *error)
{
    return error->advice ? error->advice : codes[error->code].advice;
}

const char *qh_error_code_name(enum qh_error_code code)
{
    return codes[code].name;
}

bool qh_error_is_gone(const struct qh_error *error)
{
    return error && (error->code == QH_ERR_EXITED ||
                     error->code == QH_ERR_NO_PROCESS);
}

void qh_error_destroy(struct qh_error *error)
{
    if (!error || error == &no_memory) {
        return;
    }
    free(error->path);
    free(error->message);
    free(error->advice);
    free(error);
}

void qh_error_guard(struct qh_error **error)
{
    qh_error_destroy(*error);
}
