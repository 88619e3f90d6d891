/* Where guest RAM lies: not to be read, and nothing of QEMU's to be found in.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source of facts: include/exec/ramlist.h; ram_list.blocks is a list of
 * RAMBlock, in system emulators only. Where it cannot be read, `ram.known`
 * stays false, and the report has a gap. */
#include "qemu/reader.h"

/* More than a QEMU has; each stack that may be a coroutine's is held against
 * all of them. */
enum { MAX_BLOCKS = 4096 };

static struct qh_error *add_block(struct qh_reader *reader, struct raddr block)
{
    struct qh_ram *ram = &reader->ram;
    uint64_t host, bytes;

    if (ram->count == MAX_BLOCKS) {
        return qh_error_new(QH_ERR_INCONSISTENT,
                            "there are more blocks of guest RAM than a QEMU "
                            "has");
    }
    QH_TRY(qh_read_field(reader, block, QH_F_RAM_HOST, &host));
    QH_TRY(qh_read_field(reader, block, QH_F_RAM_BYTES, &bytes));
    struct qh_range *range =
        qh_list_add(&reader->snapshot->arena, &ram->blocks, &ram->count,
                    &ram->room, sizeof(*range));
    if (!range) {
        return qh_error_no_memory();
    }
    range->start = host;
    range->end = host + bytes < host ? UINT64_MAX : host + bytes;
    return NULL;
}

static struct qh_error *read_blocks(struct qh_reader *reader)
{
    struct qh_loop_guard guard = { 0 };
    struct raddr block;

    QH_TRY(qh_read_link(reader, qh_symbol(reader, QH_S_RAM_LIST),
                        QH_F_RAM_FIRST, &block));
    while (block.value) {
        QH_TRY(qh_loop_check(reader, &guard, block));
        QH_TRY(add_block(reader, block));
        QH_TRY(qh_read_link(reader, block, QH_F_RAM_NEXT, &block));
    }
    reader->ram.known = true;
    return NULL;
}

struct qh_error *qh_read_ram(struct qh_reader *reader)
{
    if (!qh_symbol(reader, QH_S_RAM_LIST).value) {
        reader->ram.known = true; /* no guest in this program */
        return NULL;
    }
    QH_NOTE(reader, "place of guest RAM", read_blocks(reader));
    return NULL;
}

bool qh_is_ram(const struct qh_reader *reader, uint64_t start, uint64_t end)
{
    for (size_t i = 0; i < reader->ram.count; i++) {
        if (start < reader->ram.blocks[i].end &&
            reader->ram.blocks[i].start < end) {
            return true;
        }
    }
    return false;
}
