/* A victim's memory, frozen: read again and again, changed differently.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A victim is brought into its scenario, stopped, copied and killed. What is
 * left is a target of a kind of its own, for which struct qh_target_ops is
 * what a process or a core is to the readers, so that all of what stands above
 * target/ runs as it is. Address space randomisation is off, so that one build
 * freezes to much the same addresses each time.
 *
 * One diagnosis of the unchanged memory is recorded: every word that a reader
 * looked at becomes a *spot*, numbered in the order of the first look. What
 * is to be changed is told by these numbers, so it stays where it hurts, and a
 * reader that is new is fuzzed without a line being written.
 *
 * Changes lie over the memory and are taken off again by frozen_reset().
 */
#ifndef QH_FROZEN_H
#define QH_FROZEN_H

#include "qemu/reader.h"
#include "target/ops.h"

/* A piece of memory that is like nothing in the victim: zeros, or copies of
 * an object that link to one another without an end. */
#define FROZEN_PLANT UINT64_C(0x10000000000)
#define FROZEN_PLANT_BYTES (UINT64_C(1) << 30)

enum {
    FROZEN_PATCHES = 256,
    FROZEN_PATCH_BYTES = 64,
    FROZEN_HIDDEN = 64,
    /* How far the copies in the plant are apart. */
    FROZEN_STRIDE = 512
};

struct frozen_page {
    uint64_t address;
    const uint8_t *bytes;
};

struct frozen_spot {
    uint64_t address;
    uint32_t bytes; /* at most 8 */
};

struct frozen_patch {
    uint64_t address;
    uint8_t bytes[FROZEN_PATCH_BYTES];
    size_t length;
};

struct frozen {
    struct qh_target target; /* first: the operations get back from it */
    struct qh_debug *debug;
    struct qh_qemu *qemu;
    /* As frozen. */
    struct frozen_page *pages; /* in order of address */
    size_t page_count, page_room;
    struct qh_mapping *mappings;
    struct qh_task *tasks;
    size_t mapping_count, task_count;
    int64_t clock_ns;
    struct frozen_spot *spots;
    size_t spot_count, spot_room;
    bool recording;
    /* As changed. */
    struct frozen_patch patches[FROZEN_PATCHES];
    size_t patch_count;
    uint64_t hidden[FROZEN_HIDDEN]; /* pages that cannot be read */
    size_t hidden_count;
    uint64_t chain_bytes; /* of the plant, taken by copies of ... */
    uint64_t chain_model; /* ... the object here, which link at ... */
    uint64_t chain_link;  /* ... this offset */
    bool clock_absent;
    int64_t event_count; /* of every eventfd; -1: not to be had */
};

/* Freezes the victim `program` in `scenario`, with what its --plant takes, or
 * NULL; aborts when that fails, for then nothing can be fuzzed. Never freed. */
struct frozen *frozen_create(const char *program, const char *scenario,
                             const char *plant);

/* Back to the victim as it was. */
void frozen_reset(struct frozen *frozen);

/* The address of spot `number`, whatever number that is. */
uint64_t frozen_spot(const struct frozen *frozen, unsigned number);
/* The word there, as changed so far; 0 where there is none. */
uint64_t frozen_word(struct frozen *frozen, uint64_t address);
/* Lays bytes over the memory; those that find no room any more are dropped. */
void frozen_patch(struct frozen *frozen, uint64_t address, const void *bytes,
                  size_t length);
/* Makes the page of `address` unreadable. */
void frozen_hide(struct frozen *frozen, uint64_t address);

/* rescues.c: reads and plans what a kick would, of each sleeper and context;
 * `findings` may be NULL: then it only reads. */
struct qh_findings;
void frozen_rescue(struct frozen *frozen, struct qh_snapshot *snapshot,
                   const struct qh_findings *findings);

#endif
