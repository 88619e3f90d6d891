/* What a report must be, whatever it is about.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuzz.h"

#include <json-c/json.h>
#include <string.h>

/* The bytes of the UTF-8 sequence at `text`, 0 where there is none. */
static size_t sequence(const unsigned char *text)
{
    size_t bytes = text[0] < 0x80             ? 1
                   : (text[0] & 0xe0) == 0xc0 ? 2
                   : (text[0] & 0xf0) == 0xe0 ? 3
                   : (text[0] & 0xf8) == 0xf0 ? 4
                                              : 0;

    for (size_t i = 1; i < bytes; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return bytes;
}

void fuzz_check_text(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    fuzz_require(*at);
    while (*at) {
        size_t bytes = sequence(at);
        fuzz_require(bytes);
        fuzz_require(*at >= 0x20 || *at == '\n');
        fuzz_require(*at != 0x7f);
        fuzz_require(bytes != 2 || at[0] != 0xc2 || at[1] >= 0xa0);
        at += bytes;
    }
}

/* A longer one is only more of the same, and parsing it takes the time. */
enum { MAX_JSON_BYTES = 1 << 20 };

void fuzz_check_json(const char *text)
{
    enum json_tokener_error error;

    if (strlen(text) > MAX_JSON_BYTES) {
        return;
    }
    struct json_object *object = json_tokener_parse_verbose(text, &error);
    fuzz_require(error == json_tokener_success);
    json_object_put(object);
}
