/* Integers, pointers, strings and links out of the target.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/reader.h"

#include <string.h>

/* More than all lists of a real QEMU have together: with 10,000 coroutines
 * there may be 26 for each. It is one budget for the whole sample: lists of
 * lists could be made to lead to one another. What is kept of a node takes up
 * to 2 KiB until it is printed, so that this bounds qhang's memory, too. */
#define MAX_NODES (1u << 18)

bool qh_has_field(const struct qh_reader *reader, enum qh_field_id id)
{
    return reader->layout->fields[id].present;
}

struct raddr qh_symbol(const struct qh_reader *reader, enum qh_symbol_id id)
{
    return reader->layout->symbols[id];
}

struct raddr qh_field_at(const struct qh_reader *reader, struct raddr object,
                         enum qh_field_id id)
{
    return qh_raddr_add(object, reader->layout->fields[id].at.offset);
}

static uint64_t extend_sign(uint64_t value, unsigned bits)
{
    uint64_t sign = UINT64_C(1) << (bits - 1);

    return (value ^ sign) - sign;
}

/* Cuts a field's value out of the word that was read for it. */
static uint64_t shape(uint64_t word, const struct qh_field *field)
{
    unsigned bits = field->bit_width ? field->bit_width : field->bytes * 8;

    word >>= field->bit_shift;
    if (bits < 64) {
        word &= (UINT64_C(1) << bits) - 1;
        if (field->is_signed) {
            word = extend_sign(word, bits);
        }
    }
    return word;
}

struct qh_error *qh_read_field(struct qh_reader *reader, struct raddr object,
                               enum qh_field_id id, uint64_t *ret)
{
    const struct qh_field *field = &reader->layout->fields[id].at;
    uint64_t word = 0;

    if (!reader->layout->fields[id].present) {
        return qh_error_new(QH_ERR_ABSENT, "this build has no %s",
                            qh_layout_field_name(id));
    }
    if (field->bytes == 0 || field->bytes > sizeof(word)) {
        return qh_error_new(QH_ERR_INCONSISTENT, "%s is no integer",
                            qh_layout_field_name(id));
    }
    QH_TRY(qh_target_read(reader->target, qh_raddr_add(object, field->offset),
                          &word, field->bytes));
    *ret = shape(word, field);
    return NULL;
}

struct qh_error *qh_read_image(struct qh_reader *reader, struct raddr object,
                               enum qh_field_id last, size_t more,
                               struct qh_image *ret)
{
    uint64_t bytes = reader->layout->fields[last].at.offset + more;

    if (bytes > sizeof(ret->data)) {
        return qh_error_new(QH_ERR_INCONSISTENT, "%s is too far in its struct",
                            qh_layout_field_name(last));
    }
    QH_TRY(qh_target_read(reader->target, object, ret->data, bytes));
    ret->at = object;
    ret->bytes = bytes;
    return NULL;
}

struct qh_error *qh_image_field(struct qh_reader *reader,
                                const struct qh_image *image,
                                struct raddr object, enum qh_field_id id,
                                uint64_t *ret)
{
    const struct qh_field *field = &reader->layout->fields[id].at;
    uint64_t offset = object.value - image->at.value + field->offset;
    uint64_t word = 0;

    if (!reader->layout->fields[id].present || field->bytes == 0 ||
        field->bytes > sizeof(word) || offset > image->bytes ||
        image->bytes - offset < field->bytes) {
        return qh_read_field(reader, object, id, ret);
    }
    memcpy(&word, image->data + offset, field->bytes);
    *ret = shape(word, field);
    return NULL;
}

struct qh_error *qh_read_link(struct qh_reader *reader, struct raddr object,
                              enum qh_field_id id, struct raddr *ret)
{
    return qh_read_field(reader, object, id, &ret->value);
}

struct qh_error *qh_read_pointer(struct qh_reader *reader, struct raddr address,
                                 struct raddr *ret)
{
    return qh_target_read(reader->target, address, &ret->value,
                          sizeof(ret->value));
}

struct qh_error *qh_read_u32(struct qh_reader *reader, struct raddr address,
                             uint32_t *ret)
{
    return qh_target_read(reader->target, address, ret, sizeof(*ret));
}

/* Reads up to the next page boundary at a time, so that a string at the end of
 * a mapping is had whole. */
static const char *read_string(struct qh_reader *reader, struct raddr address)
{
    char text[QH_MAX_STRING];
    size_t have = 0;

    while (address.value && have < sizeof(text)) {
        uint64_t at = address.value + have;
        size_t step = 4096 - at % 4096;
        if (step > sizeof(text) - have) {
            step = sizeof(text) - have;
        }
        struct qh_error *error =
            qh_target_read(reader->target, qh_raddr(at), text + have, step);
        if (error) {
            qh_error_destroy(error);
            return NULL;
        }
        if (memchr(text + have, 0, step)) {
            return qh_arena_strdup(&reader->snapshot->arena, text);
        }
        have += step;
    }
    return NULL;
}

static const char **memo_slot(struct qh_memo *memo, struct raddr address,
                              bool *ret_known)
{
    size_t index = (address.value ^ address.value >> 8) % QH_MEMO_SLOTS;

    *ret_known = qh_raddr_equal(memo->slots[index].address, address);
    memo->slots[index].address = address;
    return &memo->slots[index].text;
}

const char *qh_read_string(struct qh_reader *reader, struct raddr address)
{
    bool known;

    if (!address.value) {
        return NULL;
    }
    const char **slot = memo_slot(&reader->strings, address, &known);
    if (!known) {
        *slot = read_string(reader, address);
    }
    return *slot;
}

const char *qh_function_name(struct qh_reader *reader, struct raddr code)
{
    bool known;

    if (!code.value) {
        return NULL;
    }
    const char **slot = memo_slot(&reader->functions, code, &known);
    if (!known) {
        *slot =
            qh_arena_strdup(&reader->snapshot->arena,
                            qh_debug_function_at(reader->qemu->debug, code));
    }
    return *slot;
}

struct qh_error *qh_loop_check(struct qh_reader *reader,
                               struct qh_loop_guard *guard, struct raddr node)
{
    if (guard->count > 0 && qh_raddr_equal(node, guard->anchor)) {
        return qh_error_at(qh_error_new(QH_ERR_INCONSISTENT,
                                        "the list runs in a circle after "
                                        "%llu entries",
                                        (unsigned long long)guard->count),
                           node);
    }
    if (reader->nodes == MAX_NODES) {
        return qh_error_new(QH_ERR_INCONSISTENT, "the lists have no end");
    }
    reader->nodes++;
    if (++guard->count > guard->power) {
        guard->power = guard->count * 2;
        guard->anchor = node;
    }
    return NULL;
}

struct qh_error *qh_ranges_add(struct qh_ranges *ranges, uint64_t start,
                               uint64_t end)
{
    QH_TRY(qh_array_reserve(&ranges->items, &ranges->room, ranges->count + 1,
                            sizeof(*ranges->items)));
    ranges->items[ranges->count++] = (struct qh_range){ start, end };
    return NULL;
}

void qh_ranges_guard(struct qh_ranges *ranges)
{
    free(ranges->items);
}
