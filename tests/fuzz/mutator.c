/* Teaches libFuzzer that inputs of fuzz_memory are records.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "change.h"
#include "fuzz.h"

#include <string.h>

/* libFuzzer's own; of compiler-rt, lib/fuzzer/FuzzerInterface.h. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t room,
                               unsigned seed);

enum { RECORD = sizeof(struct change), HEAD = sizeof(struct change_head) };

static unsigned next(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void random_record(uint8_t *record, unsigned *seed)
{
    struct change change = {
        .kind = (uint8_t)(next(seed) % CHANGE_KINDS),
        .arg = (uint8_t)next(seed),
        .spot = (uint16_t)next(seed),
        .other = (uint16_t)next(seed),
        .delta = (int16_t)((next(seed) % 65 - 32) * 8),
        .value = next(seed) % 3 ? next(seed) % 32 : next(seed) << 8,
    };
    memcpy(record, &change, sizeof(change));
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t room,
                               unsigned seed)
{
    size_t count = bytes < HEAD ? 0 : (bytes - HEAD) / RECORD;
    size_t most = room < HEAD ? 0 : (room - HEAD) / RECORD;

    if (bytes < HEAD) {
        memset(data, 0, HEAD < room ? HEAD : room);
    }
    uint8_t *at = data + HEAD + (count ? next(&seed) % count : 0) * RECORD;
    switch (next(&seed) % 8) {
    case 0:
        LLVMFuzzerMutate(data, HEAD, HEAD);
        break;
    case 1:
    case 2:
        if (count < most) {
            random_record(data + HEAD + count++ * RECORD, &seed);
        }
        break;
    case 3: /* one away; the last takes its place */
        if (count) {
            memmove(at, data + HEAD + --count * RECORD, RECORD);
        }
        break;
    case 4:
        if (count) {
            random_record(at, &seed);
        }
        break;
    default:
        if (count) {
            LLVMFuzzerMutate(at, RECORD, RECORD);
        }
        break;
    }
    return HEAD + count * RECORD;
}
