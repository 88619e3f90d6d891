/* The registers that a process's tracer hands in, as JSON.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/arch.h"
#include "target/live.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    MAX_BYTES = 8 << 20, /* ten thousand threads */
    /* An object of objects of values; what is passed over may be an array. */
    MAX_DEPTH = 8
};

/* What is read, and what it is called in errors. */
struct input {
    const char *name;
    char *text; /* malloc'd, NUL-terminated */
    size_t bytes;
};

static void input_deinit(struct input *input)
{
    free(input->text);
}

static void object_guard(struct json_object **object)
{
    json_object_put(*object);
}

static void tokener_guard(struct json_tokener **tokener)
{
    if (*tokener) {
        json_tokener_free(*tokener);
    }
}

static struct qh_error *bad(const struct input *input, const char *format, ...)
    QH_PRINTF(2, 3);

static struct qh_error *bad(const struct input *input, const char *format, ...)
{
    va_list arguments;
    char what[256];

    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    return qh_error_path(
        qh_error_new(QH_ERR_BAD_REGISTERS, "registers: %s", what), input->name);
}

static struct qh_error *read_input(struct input *input, int fd)
{
    input->text = malloc(MAX_BYTES + 1);
    if (!input->text) {
        return qh_error_no_memory();
    }
    while (input->bytes <= MAX_BYTES) {
        ssize_t got =
            read(fd, input->text + input->bytes, MAX_BYTES + 1 - input->bytes);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return qh_error_path(
                qh_error_errno(QH_ERR_SYSTEM, errno, "cannot read registers"),
                input->name);
        }
        if (!got) {
            input->text[input->bytes] = '\0';
            return NULL;
        }
        input->bytes += (size_t)got;
    }
    return bad(input, "more than %d MiB", MAX_BYTES >> 20);
}

static struct qh_error *open_and_read(struct input *input, const char *path)
{
    QH_CLEANUP(qh_close_guard) int fd = -1;

    if (!strcmp(path, "-")) {
        input->name = "standard input";
        return read_input(input, STDIN_FILENO);
    }
    input->name = path;
    struct qh_error *error = qh_open_regular(AT_FDCWD, path, false, &fd);
    if (error) {
        return qh_error_try(error, "give a file with registers, or - for "
                                   "standard input");
    }
    return read_input(input, fd);
}

/* "line 3, column 17" is where an editor goes to. */
static struct qh_error *no_json(const struct input *input, size_t at,
                                const char *why)
{
    size_t line = 1, column = 1;

    for (size_t i = 0; i < at && i < input->bytes; i++) {
        column = input->text[i] == '\n' ? 1 : column + 1;
        line += input->text[i] == '\n';
    }
    return bad(input, "no JSON at line %zu, column %zu: %s", line, column, why);
}

static struct qh_error *parse(const struct input *input,
                              struct json_object **ret)
{
    QH_CLEANUP(tokener_guard)
    struct json_tokener *tokener = json_tokener_new_ex(MAX_DEPTH);

    if (!tokener) {
        return qh_error_no_memory();
    }
    if (strlen(input->text) != input->bytes) {
        return no_json(input, strlen(input->text), "a NUL byte");
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    /* With the NUL, which tells that no more is to come. */
    *ret = json_tokener_parse_ex(tokener, input->text, (int)input->bytes + 1);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    if (error == json_tokener_error_parse_eof) {
        return no_json(input, input->bytes, "it ends too early");
    }
    return error == json_tokener_success
               ? NULL
               : no_json(input, json_tokener_get_parse_end(tokener),
                         json_tokener_error_desc(error));
}

/* The end of the string that begins at `at`, one past its quote. */
static const char *end_of_string(const char *at)
{
    for (at++; *at && *at != '"'; at++) {
        at += *at == '\\' && at[1];
    }
    return *at ? at + 1 : at;
}

/* Notes the member name at `at`, `bytes` long with its quotes, as seen. */
static struct qh_error *see_name(const struct input *input,
                                 struct json_object *seen, const char *at,
                                 size_t bytes, bool is_thread)
{
    char name[64];

    snprintf(name, sizeof(name), "%.*s", (int)bytes - 2, at + 1);
    if (json_object_object_get_ex(seen, name, NULL)) {
        return bad(input, "%s %s is there twice",
                   is_thread ? "thread" : "register", name);
    }
    return json_object_object_add(seen, name, NULL) < 0 ? qh_error_no_memory()
                                                        : NULL;
}

/*
 * Of two members with the same name json-c keeps the last and says nothing. The
 * text is valid JSON by now, so that a string before a colon is a name, and
 * those of depth 1 and 2 are the threads' and registers'.
 */
static struct qh_error *refuse_twins(const struct input *input)
{
    QH_CLEANUP(object_guard)
    struct json_object *threads = json_object_new_object();
    QH_CLEANUP(object_guard) struct json_object *registers = NULL;
    int depth = 0;

    for (const char *at = input->text; *at;) {
        if (*at != '"') {
            depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
            if (*at == '{' && depth == 2) {
                json_object_put(registers);
                registers = json_object_new_object();
            }
            at++;
            continue;
        }
        const char *end = end_of_string(at);
        struct json_object *seen = depth == 1 ? threads : registers;
        if (depth <= 2 && end[strspn(end, " \t\r\n")] == ':') {
            QH_TRY(
                seen ? see_name(input, seen, at, (size_t)(end - at), depth == 1)
                     : qh_error_no_memory());
        }
        at = end;
    }
    return NULL;
}

static bool read_hex(const char *text, uint64_t *ret)
{
    size_t digits = strspn(text + 2, "0123456789abcdefABCDEF");

    if (strncmp(text, "0x", 2) != 0 || !digits || digits > 16 ||
        text[2 + digits]) {
        return false;
    }
    *ret = strtoull(text, NULL, 16);
    return true;
}

/* Signed ones only: json-c cuts what does not fit down to the least or largest
 * number and says nothing, so these two are refused. */
static bool read_integer(struct json_object *value, uint64_t *ret)
{
    int64_t number = json_object_get_int64(value);

    *ret = (uint64_t)number;
    return number > INT64_MIN && number < INT64_MAX;
}

static bool read_value(struct json_object *value, uint64_t *ret)
{
    switch (json_object_get_type(value)) {
    case json_type_string:
        return read_hex(json_object_get_string(value), ret);
    case json_type_int:
        return read_integer(value, ret);
    default:
        return false;
    }
}

/* `*ret_has` tells whether the register is there at all. */
static struct qh_error *read_register(const struct input *input,
                                      const char *thread,
                                      struct json_object *registers,
                                      const char *name, uint64_t *ret,
                                      bool *ret_has)
{
    struct json_object *value;

    *ret_has = json_object_object_get_ex(registers, name, &value);
    if (*ret_has && !read_value(value, ret)) {
        return bad(input,
                   "thread %s, %s: neither a hex string nor a signed integer "
                   "of 64 bits",
                   thread, name);
    }
    return NULL;
}

static struct qh_error *read_thread(const struct input *input, const char *name,
                                    struct json_object *registers,
                                    struct qh_handed *ret)
{
    char *end;
    uint64_t orig_rax = 0;
    long tid = strtol(name, &end, 10);

    /* So written that there is one name for each. */
    if (*name < '1' || *name > '9' || *end || tid > INT_MAX) {
        return bad(input, "no tid: %.32s", name);
    }
    if (!json_object_is_type(registers, json_type_object)) {
        return bad(input, "thread %s: no object", name);
    }
    ret->tid = (pid_t)tid;
    for (unsigned i = 0; i < QH_REG_COUNT; i++) {
        bool has;
        QH_TRY(read_register(input, name, registers, qh_arch_register_name(i),
                             &ret->regs.dwarf[i], &has));
        ret->regs.known |= (uint32_t)has << i;
    }
    QH_TRY(read_register(input, name, registers, "fs_base", &ret->fs_base,
                         &ret->has_fs_base));
    QH_TRY(read_register(input, name, registers, "orig_rax", &orig_rax,
                         &ret->has_orig_rax));
    ret->orig_rax = (int64_t)orig_rax;
    return NULL;
}

struct qh_error *qh_handed_read(const char *path, struct qh_handed **ret,
                                size_t *ret_count)
{
    QH_CLEANUP(input_deinit) struct input input = { 0 };
    QH_CLEANUP(object_guard) struct json_object *root = NULL;
    QH_CLEANUP(qh_free_guard) struct qh_handed *handed = NULL;
    size_t count = 0;

    QH_TRY(open_and_read(&input, path));
    QH_TRY(parse(&input, &root));
    if (!json_object_is_type(root, json_type_object)) {
        return bad(&input, "no object from tid to registers");
    }
    QH_TRY(refuse_twins(&input));
    handed =
        calloc((size_t)json_object_object_length(root) + 1, sizeof(*handed));
    if (!handed) {
        return qh_error_no_memory();
    }
    json_object_object_foreach(root, name, registers)
    {
        QH_TRY(read_thread(&input, name, registers, &handed[count++]));
    }
    *ret = handed;
    *ret_count = count;
    handed = NULL;
    return NULL;
}
