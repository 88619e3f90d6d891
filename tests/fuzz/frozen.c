/* A frozen victim as a target: reads its copy, with the changes laid over it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "frozen.h"

#include "fuzz.h"

#include <fcntl.h>
#include <string.h>

static struct frozen *frozen_of(struct qh_target *target)
{
    return (struct frozen *)target;
}

/* A word that some reader looks at, noted once. Larger pieces (a jmp_buf, the
 * top of a stack) are taken apart. */
static void record(struct frozen *frozen, uint64_t address, size_t bytes)
{
    while (bytes) {
        uint32_t piece = bytes < 8 ? (uint32_t)bytes : 8;
        size_t i = 0;
        while (i < frozen->spot_count && frozen->spots[i].address != address) {
            i++;
        }
        if (i == frozen->spot_count) {
            fuzz_require(!qh_array_reserve(&frozen->spots, &frozen->spot_room,
                                           i + 1, sizeof(*frozen->spots)));
            frozen->spots[frozen->spot_count++] =
                (struct frozen_spot){ address, piece };
        }
        address += piece;
        bytes -= piece;
    }
}

static const struct frozen_page *page_at(const struct frozen *frozen,
                                         uint64_t page)
{
    size_t low = 0, high = frozen->page_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (frozen->pages[middle].address < page) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < frozen->page_count && frozen->pages[low].address == page
               ? &frozen->pages[low]
               : NULL;
}

static bool is_hidden(const struct frozen *frozen, uint64_t page)
{
    for (size_t i = 0; i < frozen->hidden_count; i++) {
        if (frozen->hidden[i] == page) {
            return true;
        }
    }
    return false;
}

static bool is_plant(uint64_t page)
{
    return page >= FROZEN_PLANT && page < FROZEN_PLANT + FROZEN_PLANT_BYTES;
}

/* The bytes of the frozen page from `address` on, never over its end. */
static void copy_page(struct frozen *frozen, uint64_t address, uint8_t *out,
                      size_t bytes)
{
    const struct frozen_page *page =
        page_at(frozen, address & -(uint64_t)QH_PAGE_BYTES);

    if (page) {
        memcpy(out, page->bytes + address % QH_PAGE_BYTES, bytes);
    } else {
        memset(out, 0, bytes);
    }
}

/* One byte of the endless chain. */
static uint8_t chain_byte(struct frozen *frozen, uint64_t offset)
{
    uint64_t within = offset % FROZEN_STRIDE, next;
    uint8_t byte;

    if (within - frozen->chain_link < sizeof(next)) {
        next = offset - within + FROZEN_STRIDE;
        next = next < frozen->chain_bytes ? FROZEN_PLANT + next : 0;
        return (uint8_t)(next >> 8 * (within - frozen->chain_link));
    }
    copy_page(frozen, frozen->chain_model + within, &byte, 1);
    return byte;
}

static void copy_plant(struct frozen *frozen, uint64_t address, uint8_t *out,
                       size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        uint64_t offset = address - FROZEN_PLANT + i;
        out[i] = offset < frozen->chain_bytes ? chain_byte(frozen, offset) : 0;
    }
}

static void overlay(const struct frozen *frozen, uint64_t address, uint8_t *out,
                    size_t bytes)
{
    for (size_t i = 0; i < frozen->patch_count; i++) {
        const struct frozen_patch *patch = &frozen->patches[i];
        uint64_t start = patch->address > address ? patch->address : address;
        uint64_t patch_end = patch->address + patch->length;
        uint64_t end = address + bytes;

        end = patch_end < end ? patch_end : end;
        if (start < end) {
            memcpy(out + (start - address),
                   patch->bytes + (start - patch->address), end - start);
        }
    }
}

/* As much as there is within one page; 0 when it cannot be read. */
static size_t read_piece(struct frozen *frozen, uint64_t address, uint8_t *out,
                         size_t bytes)
{
    const struct qh_mapping *mapping =
        qh_target_mapping_at(&frozen->target, qh_raddr(address));
    uint64_t page = address & -(uint64_t)QH_PAGE_BYTES;
    size_t rest = QH_PAGE_BYTES - address % QH_PAGE_BYTES;

    if (!mapping || address - mapping->start >= mapping->present_bytes ||
        is_hidden(frozen, page)) {
        return 0;
    }
    bytes = bytes < rest ? bytes : rest;
    if (is_plant(page)) {
        copy_plant(frozen, address, out, bytes);
    } else {
        copy_page(frozen, address, out, bytes);
    }
    overlay(frozen, address, out, bytes);
    return bytes;
}

static struct qh_error *frozen_read_some(struct qh_target *target,
                                         uint64_t address, void *buffer,
                                         size_t bytes, size_t *ret_bytes)
{
    uint8_t *out = buffer;
    size_t have = 0, piece;

    while (have < bytes &&
           (piece = read_piece(frozen_of(target), address + have, out + have,
                               bytes - have)) > 0) {
        have += piece;
    }
    target->bytes_read += have;
    *ret_bytes = have;
    return NULL;
}

static struct qh_error *frozen_read(struct qh_target *target, uint64_t address,
                                    void *buffer, size_t bytes)
{
    size_t have;

    if (frozen_of(target)->recording) {
        record(frozen_of(target), address, bytes);
    }
    QH_TRY(frozen_read_some(target, address, buffer, bytes, &have));
    return have == bytes ? NULL : qh_unreadable(address + have);
}

static struct qh_error *frozen_stop(struct qh_target *target)
{
    target->pause_ns = 1000000;
    return NULL;
}

static void frozen_nothing(struct qh_target *target)
{
}

static struct qh_error *frozen_prefetch(struct qh_target *target,
                                        const struct qh_range *ranges,
                                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fuzz_require(ranges[i].start <= ranges[i].end);
    }
    return NULL;
}

static struct qh_error *frozen_open_file(struct qh_target *target,
                                         const struct qh_module *module,
                                         int *ret_fd)
{
    return qh_open_regular(AT_FDCWD, module->path, false, ret_fd);
}

static struct qh_error *frozen_clock(struct qh_target *target, int clock,
                                     int64_t *ret_ns)
{
    if (frozen_of(target)->clock_absent) {
        return qh_error_new(QH_ERR_ABSENT, "no clock");
    }
    *ret_ns = frozen_of(target)->clock_ns;
    return NULL;
}

static struct qh_error *frozen_eventfd_count(struct qh_target *target, int fd,
                                             uint64_t *ret_count)
{
    if (frozen_of(target)->event_count < 0) {
        return qh_error_new(QH_ERR_ABSENT, "no eventfd");
    }
    *ret_count = (uint64_t)frozen_of(target)->event_count;
    return NULL;
}

static const struct qh_target_ops frozen_ops = {
    .destroy = frozen_nothing,
    .stop = frozen_stop,
    .resume = frozen_nothing,
    .read = frozen_read,
    .read_some = frozen_read_some,
    .prefetch = frozen_prefetch,
    .open_file = frozen_open_file,
    .clock = frozen_clock,
    .eventfd_count = frozen_eventfd_count,
};

void frozen_reset(struct frozen *frozen)
{
    struct qh_target *target = &frozen->target;

    target->ops = &frozen_ops;
    memcpy(target->mappings, frozen->mappings,
           frozen->mapping_count * sizeof(*target->mappings));
    memcpy(target->tasks, frozen->tasks,
           frozen->task_count * sizeof(*target->tasks));
    target->mapping_count = frozen->mapping_count;
    target->task_count = frozen->task_count;
    target->process.kind = QH_TARGET_CORE;
    target->process.unstopped = false;
    target->looked_pages = target->changed_pages = 0;
    frozen->patch_count = 0;
    frozen->hidden_count = 0;
    frozen->chain_bytes = 0;
    frozen->clock_absent = false;
    frozen->event_count = 0;
}

uint64_t frozen_spot(const struct frozen *frozen, unsigned number)
{
    return frozen->spots[number % frozen->spot_count].address;
}

uint64_t frozen_word(struct frozen *frozen, uint64_t address)
{
    uint64_t word = 0;
    size_t have;

    fuzz_require(!frozen_read_some(&frozen->target, address, &word,
                                   sizeof(word), &have));
    return word;
}

void frozen_patch(struct frozen *frozen, uint64_t address, const void *bytes,
                  size_t length)
{
    struct frozen_patch *patch = &frozen->patches[frozen->patch_count];

    if (frozen->patch_count == FROZEN_PATCHES || length > FROZEN_PATCH_BYTES ||
        address > UINT64_MAX - length) {
        return;
    }
    patch->address = address;
    patch->length = length;
    memcpy(patch->bytes, bytes, length);
    frozen->patch_count++;
}

void frozen_hide(struct frozen *frozen, uint64_t address)
{
    if (frozen->hidden_count < FROZEN_HIDDEN) {
        frozen->hidden[frozen->hidden_count++] =
            address & -(uint64_t)QH_PAGE_BYTES;
    }
}
