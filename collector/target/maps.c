/* The memory map of a live process, from the text of /proc/PID/maps.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/ops.h"

#include <string.h>

bool qh_maps_is_special(const char *path)
{
    return strncmp(path, "[vvar", 5) == 0 || strcmp(path, "[vsyscall]") == 0;
}

/* Parsed by hand: with 10,000 coroutines there are 20,000 lines, and they are
 * parsed while the target is stopped. */
static const char *take_hex(const char *text, uint64_t *ret)
{
    uint64_t value = 0;

    for (;; text++) {
        unsigned char c = (unsigned char)*text;
        if (c >= '0' && c <= '9') {
            value = value << 4 | (c - '0');
        } else if (c >= 'a' && c <= 'f') {
            value = value << 4 | (c - 'a' + 10);
        } else {
            break;
        }
    }
    *ret = value;
    return text;
}

static const char *skip_field(const char *text)
{
    while (*text && *text != ' ') {
        text++;
    }
    while (*text == ' ') {
        text++;
    }
    return text;
}

/* start-end rwxp offset major:minor inode    path */
static bool parse_line(const char *line, struct qh_mapping *ret)
{
    struct qh_mapping mapping = { 0 };
    const char *at = take_hex(line, &mapping.start);

    if (at == line || *at != '-') {
        return false;
    }
    at = take_hex(at + 1, &mapping.end);
    if (*at != ' ' || strlen(at) < 5 || mapping.end <= mapping.start) {
        return false;
    }
    mapping.readable = at[1] == 'r';
    mapping.writable = at[2] == 'w';
    mapping.executable = at[3] == 'x';
    mapping.shared = at[4] == 's';
    at = take_hex(skip_field(at + 1), &mapping.file_offset);
    mapping.path = skip_field(skip_field(skip_field(at)));
    if (mapping.readable && !qh_maps_is_special(mapping.path)) {
        mapping.present_bytes = mapping.end - mapping.start;
    }
    *ret = mapping;
    return true;
}

static size_t count_lines(const char *text)
{
    size_t lines = 0;

    while ((text = strchr(text, '\n'))) {
        lines++;
        text++;
    }
    return lines;
}

/* Into `mappings`, which has room; their paths stay in `text`. */
static struct qh_error *parse(char *text, struct qh_mapping *mappings,
                              size_t *ret_count)
{
    size_t count = 0;

    for (char *end; (end = strchr(text, '\n')); text = end + 1) {
        *end = '\0';
        /* The kernel writes them in order, one never overlaps the next. */
        if (!parse_line(text, &mappings[count]) ||
            (count && mappings[count].start < mappings[count - 1].end)) {
            return qh_error_new(QH_ERR_INCONSISTENT,
                                "cannot understand the memory map: %.100s",
                                text);
        }
        count++;
    }
    *ret_count = count;
    return NULL;
}

struct qh_error *qh_maps_parse(struct qh_target *target, const char *text)
{
    struct qh_arena arena = { 0 };
    char *copy = qh_arena_strdup(&arena, text);
    struct qh_mapping *mappings =
        copy ? qh_arena_alloc(&arena,
                              (count_lines(copy) + 1) * sizeof(*mappings))
             : NULL;
    size_t count = 0;
    struct qh_error *error =
        mappings ? parse(copy, mappings, &count) : qh_error_no_memory();

    if (error) {
        qh_arena_deinit(&arena);
        return error;
    }
    qh_arena_deinit(&target->mapping_arena);
    target->mapping_arena = arena;
    target->mappings = mappings;
    target->mapping_count = count;
    return NULL;
}
