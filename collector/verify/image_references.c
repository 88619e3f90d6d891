/* Where strings stand, and who refers to what.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "verify/image_parts.h"

size_t qh_image_strings(const struct qh_image *image, const char *text,
                        uint64_t *ret, size_t most)
{
    size_t length = strlen(text) + 1;
    size_t count = 0;

    for (size_t i = 0; i < image->segment_count; i++) {
        const struct qh_segment *segment = &image->segments[i];
        const uint8_t *at = segment->bytes;
        size_t left = segment->end - segment->start;
        const uint8_t *hit;

        while (count < most && (hit = memmem(at, left, text, length))) {
            ret[count++] = segment->start + (uint64_t)(hit - segment->bytes);
            left -= (size_t)(hit + 1 - at);
            at = hit + 1;
        }
    }
    return count;
}

const char *qh_image_text(const struct qh_image *image, const char *text)
{
    for (size_t i = 0; i < image->segment_count; i++) {
        const struct qh_segment *segment = &image->segments[i];
        const void *hit = memmem(segment->bytes, segment->end - segment->start,
                                 text, strlen(text));
        if (hit) {
            return hit;
        }
    }
    return NULL;
}

/* More than there are copies of anything that is looked for. */
enum { MAX_TARGETS = 32 };

struct targets {
    uint64_t addresses[MAX_TARGETS];
    size_t count;
};

static void add_target(struct targets *targets, uint64_t address)
{
    if (targets->count < MAX_TARGETS) {
        targets->addresses[targets->count++] = address;
    }
}

/* The pointers that hold an address are referred to in its place. */
static void add_pointers_to(const struct qh_image *image,
                            struct targets *targets, uint64_t address)
{
    for (size_t i = 0; i < image->pointer_count; i++) {
        if (image->pointers[i].value == address) {
            add_target(targets, image->pointers[i].slot);
        }
    }
    for (size_t i = 0; !image->pointer_count && i < image->segment_count; i++) {
        const struct qh_segment *segment = &image->segments[i];

        for (uint64_t at = (segment->start + 7) & ~UINT64_C(7);
             !segment->executable && at + 8 <= segment->end; at += 8) {
            if (qh_read_u64(segment->bytes + (at - segment->start)) ==
                address) {
                add_target(targets, at);
            }
        }
    }
}

static bool is_target(const struct targets *targets, uint64_t address)
{
    for (size_t i = 0; i < targets->count; i++) {
        if (targets->addresses[i] == address) {
            return true;
        }
    }
    return false;
}

/*
 * Whether an instruction's operand may begin at `operand`, `before` bytes into
 * its segment: that of a call, a jump, or what is relative to the program
 * counter (AMD's manual, volume 3, appendix A). Asked only where no function
 * is known that could be decoded; elsewhere a wrong guess is followed and does
 * no harm.
 */
static bool may_be_operand(const uint8_t *operand, uint64_t before)
{
    return (before >= 1 && (operand[-1] == 0xe8 || operand[-1] == 0xe9 ||
                            (operand[-1] & 0xc7) == 0x05)) ||
           (before >= 2 && operand[-2] == 0x0f && (operand[-1] >> 4) == 8);
}

static struct qh_error *scan(const struct qh_image *image,
                             const struct qh_segment *segment,
                             const struct targets *targets,
                             struct qh_arena *arena, struct qh_reference **list,
                             size_t *count, size_t *capacity)
{
    for (uint64_t at = segment->start; at + 4 <= segment->end; at++) {
        const uint8_t *bytes = segment->bytes + (at - segment->start);
        uint32_t word = qh_read_u32(bytes);
        bool relative = is_target(targets, at + 4 + (uint64_t)(int32_t)word);
        const struct qh_function *function;
        struct qh_reference *added;

        if (!relative && !(image->fixed_address && is_target(targets, word))) {
            continue;
        }
        function = qh_image_function(image, at);
        if (!function && relative &&
            !may_be_operand(bytes, at - segment->start)) {
            continue;
        }
        added = qh_list_add(arena, list, count, capacity, sizeof(*added));
        if (!added) {
            return qh_error_no_memory();
        }
        *added = (struct qh_reference){ function, at };
    }
    return NULL;
}

struct qh_error *qh_image_references(const struct qh_image *image,
                                     struct qh_arena *arena,
                                     const uint64_t *addresses, size_t count,
                                     struct qh_reference **ret,
                                     size_t *ret_count)
{
    struct targets targets = { .count = 0 };
    struct qh_reference *list = NULL;
    size_t found = 0;
    size_t capacity = 0;

    for (size_t i = 0; i < count; i++) {
        add_target(&targets, addresses[i]);
        add_pointers_to(image, &targets, addresses[i]);
    }
    for (size_t i = 0; targets.count && i < image->segment_count; i++) {
        if (image->segments[i].executable) {
            QH_TRY(scan(image, &image->segments[i], &targets, arena, &list,
                        &found, &capacity));
        }
    }
    *ret = list;
    *ret_count = found;
    return NULL;
}
