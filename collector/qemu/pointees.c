/* Copies what the innermost frames of suspended coroutines point to.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a coroutine waits on, a lock, a queue, a QemuCoSleep, is known only
 * once its frames have been walked, and that is done when the target runs
 * again. But a pointer to it is in a register that was saved, or in the first
 * words of the stack: the pages that those lead to are copied now. It is a
 * guess that costs a copy at worst. Guest RAM is never touched.
 */
#include "qemu/reader.h"

#include <string.h>

/* Words of the stack that are looked at, and how far behind a pointer the
 * members lie that are wanted. */
enum { WORDS = 64, MEMBERS_BYTES = 512, PAGE_BYTES = 4096, RECENT = 4096 };

/* So many pages at most for each coroutine, on average. */
enum { PAGES_EACH = 4, PAGES_MORE = 1024 };

struct pointees {
    struct qh_reader *reader;
    struct qh_ranges ranges;
    size_t most; /* ranges */
    /* page + 1, by its low bits: what a thousand coroutines point to is looked
     * up once. */
    uint64_t recent[RECENT];
};

/* Of stacks the part in use has been copied, which reaches to the page's end;
 * of all else whole pages are. */
static bool is_wanted(struct qh_reader *reader, uint64_t page)
{
    struct raddr at = { page * PAGE_BYTES };

    if (qh_target_is_cached(reader->target, qh_raddr_add(at, PAGE_BYTES - 1))) {
        return false;
    }
    const struct qh_mapping *mapping = qh_target_mapping_at(reader->target, at);
    return mapping && mapping->writable && mapping->present_bytes &&
           qh_coroutine_by_stack(reader, at) == SIZE_MAX &&
           !qh_is_ram(reader, at.value, at.value + PAGE_BYTES);
}

static struct qh_error *add_page(struct pointees *pointees, uint64_t page)
{
    uint64_t *recent = &pointees->recent[page % RECENT];

    if (*recent == page + 1) {
        return NULL;
    }
    *recent = page + 1;
    if (pointees->ranges.count >= pointees->most ||
        !is_wanted(pointees->reader, page)) {
        return NULL;
    }
    return qh_ranges_add(&pointees->ranges, page * PAGE_BYTES,
                         (page + 1) * PAGE_BYTES);
}

static struct qh_error *add_pointer(struct pointees *pointees, uint64_t value)
{
    uint64_t page = value / PAGE_BYTES;

    /* No small number and no address of the kernel's half. */
    if (value % 4 || page < 16 || value >> 47) {
        return NULL;
    }
    QH_TRY(add_page(pointees, page));
    return value % PAGE_BYTES > PAGE_BYTES - MEMBERS_BYTES
               ? add_page(pointees, page + 1)
               : NULL;
}

static struct qh_error *add_coroutine(struct pointees *pointees,
                                      const struct qh_coroutine *coroutine)
{
    const uint64_t start = coroutine->stack_start.value;
    const uint64_t bytes = coroutine->stack_bytes;
    uint64_t sp = coroutine->regs.dwarf[QH_REG_RSP];
    uint64_t words[WORDS + QH_REG_COUNT];
    size_t count = 0;

    if (sp >= start && sp - start < bytes) {
        count = (start + bytes - sp) / sizeof(*words);
        count = count < WORDS ? count : WORDS;
    }
    struct qh_error *error =
        count ? qh_target_read(pointees->reader->target, qh_raddr(sp), words,
                               count * sizeof(*words))
              : NULL;
    if (error) { /* the walk will meet it again, and say so */
        qh_error_destroy(error);
        count = 0;
    }
    for (size_t i = 0; i < QH_REG_RIP; i++) {
        if (coroutine->regs.known & (1u << i)) {
            words[count++] = coroutine->regs.dwarf[i];
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (words[i] - start >= bytes) {
            QH_TRY(add_pointer(pointees, words[i]));
        }
    }
    return NULL;
}

static struct qh_error *add_all(struct pointees *pointees)
{
    const struct qh_snapshot *snapshot = pointees->reader->snapshot;

    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        const struct qh_coroutine *coroutine = &snapshot->coroutines[i];
        if (coroutine->state == QH_CO_SUSPENDED && coroutine->regs.known) {
            QH_TRY(add_coroutine(pointees, coroutine));
        }
    }
    return qh_target_prefetch(pointees->reader->target, pointees->ranges.items,
                              pointees->ranges.count);
}

struct qh_error *qh_copy_pointees(struct qh_reader *reader)
{
    QH_CLEANUP(qh_free_guard) struct pointees *pointees = NULL;

    if (qh_target_process(reader->target)->kind == QH_TARGET_CORE) {
        return NULL; /* it stays as it is */
    }
    pointees = calloc(1, sizeof(*pointees));
    if (!pointees) {
        return qh_error_no_memory();
    }
    pointees->reader = reader;
    pointees->most =
        PAGES_EACH * reader->snapshot->coroutine_count + PAGES_MORE;
    struct qh_error *error = add_all(pointees);
    qh_ranges_guard(&pointees->ranges);
    return error;
}
