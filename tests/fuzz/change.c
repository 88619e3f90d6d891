/* Changes to a frozen victim, one kind a function.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "change.h"

#include <string.h>

static void put(struct frozen *frozen, const struct change *change,
                uint64_t word)
{
    frozen_patch(frozen, frozen_spot(frozen, change->spot), &word,
                 sizeof(word));
}

static uint64_t value_of(const struct change *change)
{
    return (uint64_t)(int64_t)(int32_t)change->value << change->arg % 64;
}

static uint64_t near_other(const struct frozen *frozen,
                           const struct change *change)
{
    return frozen_spot(frozen, change->other) + (uint64_t)change->delta;
}

static void copy(struct frozen *frozen, const struct change *change)
{
    uint8_t bytes[FROZEN_PATCH_BYTES];
    size_t length = change->arg % sizeof(bytes) + 1, have;

    qh_error_destroy(qh_target_read_some(&frozen->target,
                                         qh_raddr(near_other(frozen, change)),
                                         bytes, length, &have));
    frozen_patch(frozen, frozen_spot(frozen, change->spot), bytes, have);
}

static void swap(struct frozen *frozen, const struct change *change)
{
    uint64_t one = frozen_spot(frozen, change->spot);
    uint64_t two = frozen_spot(frozen, change->other);
    uint64_t first = frozen_word(frozen, one);
    uint64_t second = frozen_word(frozen, two);

    frozen_patch(frozen, one, &second, sizeof(second));
    frozen_patch(frozen, two, &first, sizeof(first));
}

static void fill(struct frozen *frozen, const struct change *change)
{
    uint8_t bytes[FROZEN_PATCH_BYTES];

    memset(bytes, (int)(change->value & 255), sizeof(bytes));
    frozen_patch(frozen, frozen_spot(frozen, change->spot), bytes,
                 change->arg % sizeof(bytes) + 1);
}

/* One of the offsets at which readers look into the object at `model`; false
 * when they never do. */
static bool offset_within(const struct frozen *frozen, uint64_t model,
                          unsigned number, uint64_t *ret)
{
    uint64_t offsets[FROZEN_STRIDE / 8];
    size_t count = 0;

    for (size_t i = 0; i < frozen->spot_count && count < QH_COUNT(offsets);
         i++) {
        uint64_t offset = frozen->spots[i].address - model;
        if (offset <= FROZEN_STRIDE - 8) {
            offsets[count++] = offset;
        }
    }
    if (count) {
        *ret = offsets[number % count];
    }
    return count;
}

/* The object that the spot links to is there a thousand times, or a million,
 * each linking to the next by the word at one and the same offset. */
static void chain(struct frozen *frozen, const struct change *change)
{
    uint64_t model = frozen_word(frozen, frozen_spot(frozen, change->spot));
    uint64_t link;

    if (!offset_within(frozen, model, change->other, &link)) {
        return;
    }
    frozen->chain_model = model;
    frozen->chain_link = link;
    /* Long ones cost seconds: they shall be rare. */
    frozen->chain_bytes = UINT64_C(1) << (10 + change->arg / 14);
    put(frozen, change, FROZEN_PLANT);
}

static struct qh_task *task_of(struct frozen *frozen,
                               const struct change *change)
{
    return &frozen->target.tasks[change->spot % frozen->target.task_count];
}

static void set_register(struct frozen *frozen, const struct change *change)
{
    struct qh_registers *regs = &task_of(frozen, change)->regs;
    unsigned reg = change->arg % QH_REG_COUNT;

    switch (change->value % 4) {
    case 0:
        regs->dwarf[reg] = near_other(frozen, change);
        break;
    case 1:
        regs->dwarf[reg] += (uint64_t)change->delta;
        break;
    case 2:
        regs->dwarf[reg] = value_of(change);
        break;
    default:
        regs->known &= ~(1u << reg);
        break;
    }
}

static void set_thread(struct frozen *frozen, const struct change *change)
{
    static const char states[] = "RSDTtZXI";
    struct qh_task *task = task_of(frozen, change);

    switch (change->arg % 5) {
    case 0:
        task->stop = (enum qh_task_stop)(change->value % (QH_TASK_GONE + 1));
        task->untold = task->stop == QH_TASK_UNTOLD ? "not handed in" : NULL;
        break;
    case 1:
        task->state = states[change->value % (sizeof(states) - 1)];
        break;
    case 2:
        task->orig_rax = (int32_t)change->value;
        break;
    case 3:
        task->fs_base = near_other(frozen, change);
        break;
    default: /* what a name may hold */
        memset(task->name, (int)(change->value & 255), 15);
        break;
    }
}

/* The map stays in order and without overlaps, as the kernel and the reader of
 * cores both see to. */
static void set_mapping(struct frozen *frozen, const struct change *change)
{
    struct qh_target *target = &frozen->target;
    size_t at = change->spot % target->mapping_count;
    struct qh_mapping *map = &target->mappings[at];
    uint64_t pages = (map->end - map->start) / QH_PAGE_BYTES;

    switch (change->arg % 4) {
    case 0:
        map->present_bytes = change->value % (pages + 1) * QH_PAGE_BYTES;
        break;
    case 1:
        map->readable = change->value & 1;
        map->writable = change->value & 2;
        map->executable = change->value & 4;
        map->shared = change->value & 8;
        break;
    case 2:
        map->end -= change->value % pages * QH_PAGE_BYTES;
        if (map->present_bytes > map->end - map->start) {
            map->present_bytes = map->end - map->start;
        }
        break;
    default:
        if (target->mapping_count > 1) {
            memmove(map, map + 1,
                    (--target->mapping_count - at) * sizeof(*map));
        }
        break;
    }
}

static void plant(struct frozen *frozen, const struct change *change)
{
    uint64_t word =
        change->arg & 1 ? near_other(frozen, change) : (uint64_t)change->value;

    frozen_patch(frozen, FROZEN_PLANT + change->spot, &word, sizeof(word));
}

/* The kinds that put one word into one spot. */
static void change_word(struct frozen *frozen, const struct change *change)
{
    uint64_t at = frozen_spot(frozen, change->spot);
    uint64_t word = frozen_word(frozen, at);

    switch (change->kind % CHANGE_KINDS) {
    case CHANGE_WORD:
        word = value_of(change);
        break;
    case CHANGE_POINTER:
        word = near_other(frozen, change);
        break;
    case CHANGE_CIRCLE:
        word = at + (uint64_t)change->delta;
        break;
    case CHANGE_PLANT:
        word = FROZEN_PLANT + change->other;
        break;
    case CHANGE_ADD:
        word += (uint64_t)change->delta;
        break;
    case CHANGE_FLIP:
        word ^= UINT64_C(1) << change->arg % 64;
        break;
    default:
        word = (word >> 32 << 32) | change->value;
        break;
    }
    put(frozen, change, word);
}

void change_apply(struct frozen *frozen, const struct change *change)
{
    switch (change->kind % CHANGE_KINDS) {
    case CHANGE_COPY:
        copy(frozen, change);
        break;
    case CHANGE_SWAP:
        swap(frozen, change);
        break;
    case CHANGE_FILL:
        fill(frozen, change);
        break;
    case CHANGE_HIDE:
        frozen_hide(frozen, frozen_spot(frozen, change->spot));
        break;
    case CHANGE_CHAIN:
        chain(frozen, change);
        break;
    case CHANGE_REGISTER:
        set_register(frozen, change);
        break;
    case CHANGE_THREAD:
        set_thread(frozen, change);
        break;
    case CHANGE_MAP:
        set_mapping(frozen, change);
        break;
    case CHANGE_PLANTED:
        plant(frozen, change);
        break;
    default:
        change_word(frozen, change);
        break;
    }
}
