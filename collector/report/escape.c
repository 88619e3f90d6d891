/* Bytes of the target made safe to show.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/escape.h"

#include <string.h>

struct code_range {
    uint32_t first, last;
};

static bool in_ranges(uint32_t code, const struct code_range *ranges,
                      size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (code >= ranges[i].first && code <= ranges[i].last) {
            return true;
        }
    }
    return false;
}

/* How many bytes the sequence that begins with `lead` has, 0 for none. */
static unsigned sequence_bytes(unsigned char lead)
{
    if (lead < 0x80) {
        return 1;
    }
    return lead >= 0xc2 && lead <= 0xdf   ? 2
           : lead >= 0xe0 && lead <= 0xef ? 3
           : lead >= 0xf0 && lead <= 0xf4 ? 4
                                          : 0;
}

static bool is_scalar(uint32_t code, unsigned bytes)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };

    return code >= least[bytes] && code <= 0x10ffff &&
           (code < 0xd800 || code > 0xdfff);
}

struct qh_rune qh_rune_at(const char *text)
{
    const unsigned char *byte = (const unsigned char *)text;
    const struct qh_rune broken = { byte[0], 1, true };
    unsigned bytes = sequence_bytes(byte[0]);

    if (!byte[0]) {
        return (struct qh_rune){ 0, 0, false };
    }
    if (bytes < 2) {
        return bytes ? (struct qh_rune){ byte[0], 1, false } : broken;
    }
    uint32_t code = byte[0] & (0x7fU >> bytes);
    for (unsigned i = 1; i < bytes; i++) {
        if ((byte[i] & 0xc0) != 0x80) { /* the end of the string, too */
            return broken;
        }
        code = code << 6 | (byte[i] & 0x3f);
    }
    return is_scalar(code, bytes) ? (struct qh_rune){ code, bytes, false }
                                  : broken;
}

bool qh_rune_is_plain(struct qh_rune rune)
{
    /* Unicode's categories Cc, and of Cf, Zl, Zp what moves the cursor or the
     * direction of writing, or shows nothing. */
    static const struct code_range unseen[] = {
        { 0x0000, 0x001f },   { 0x007f, 0x009f },   { 0x00ad, 0x00ad },
        { 0x061c, 0x061c },   { 0x180e, 0x180e },   { 0x200b, 0x200f },
        { 0x2028, 0x202e },   { 0x2060, 0x206f },   { 0xfeff, 0xfeff },
        { 0xfff9, 0xfffb },   { 0x1d173, 0x1d17a }, { 0xe0000, 0xe0fff },
    };

    return !rune.broken && !in_ranges(rune.code, unseen, QH_COUNT(unseen));
}

unsigned qh_rune_columns(struct qh_rune rune)
{
    /* Unicode's East Asian Width W and F, coarsely; combining marks count as
     * one, which only makes a line shorter than it could be. */
    static const struct code_range wide[] = {
        { 0x1100, 0x115f },   { 0x231a, 0x231b },   { 0x2329, 0x232a },
        { 0x23e9, 0x23f3 },   { 0x25fd, 0x25fe },   { 0x2614, 0x2615 },
        { 0x2648, 0x27bf },   { 0x2b1b, 0x2b55 },   { 0x2e80, 0xa4cf },
        { 0xa960, 0xa97c },   { 0xac00, 0xd7a3 },   { 0xf900, 0xfaff },
        { 0xfe10, 0xfe6f },   { 0xff00, 0xff60 },   { 0xffe0, 0xffe6 },
        { 0x16fe0, 0x1b2ff }, { 0x1f000, 0x1faff }, { 0x20000, 0x3fffd },
    };

    if (!qh_rune_is_plain(rune)) {
        return 4 * rune.bytes;
    }
    return in_ranges(rune.code, wide, QH_COUNT(wide)) ? 2 : 1;
}

void qh_print_rune(const char *text, struct qh_rune rune, FILE *out)
{
    if (qh_rune_is_plain(rune)) {
        fwrite(text, 1, rune.bytes, out);
        return;
    }
    for (unsigned i = 0; i < rune.bytes; i++) {
        fprintf(out, "\\x%02x", (unsigned char)text[i]);
    }
}

size_t qh_text_columns(const char *text)
{
    size_t columns = 0;
    struct qh_rune rune;

    while ((rune = qh_rune_at(text)).bytes) {
        columns += qh_rune_columns(rune);
        text += rune.bytes;
    }
    return columns;
}

char *qh_valid_utf8(struct qh_arena *arena, const char *text)
{
    static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */
    char *valid = qh_arena_alloc(arena, 3 * strlen(text) + 1);
    char *to = valid;
    struct qh_rune rune;

    while (valid && (rune = qh_rune_at(text)).bytes) {
        /* json-c writes C0 as an escape, but not what is unseen above it. */
        bool shown = rune.code < 0x20 || qh_rune_is_plain(rune);
        size_t bytes = shown ? rune.bytes : sizeof(replacement) - 1;
        memcpy(to, shown ? text : replacement, bytes);
        to += bytes;
        text += rune.bytes;
    }
    return valid;
}
