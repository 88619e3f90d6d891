/* Whether anything moves between two samples.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a thread does shows in its stack; what it has served in between shows
 * in what was queued, armed, in flight. A thread that rests in the same place
 * as before may have moved all the same: "none" is what was seen, no proof.
 */
#include "diagnose/rules.h"

static uint64_t print_of_thread(const struct qh_thread *thread)
{
    uint64_t print =
        qh_fingerprint_mix(QH_FINGERPRINT, (uint64_t)thread->state);

    print = qh_fingerprint_mix(print, thread->coroutine.value);
    print = qh_fingerprint_mix(print, thread->switches);
    return qh_fingerprint_stack(print, &thread->stack);
}

static uint64_t print_of_waits(const struct qh_snapshot *snapshot,
                               uint64_t print)
{
    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_wait *wait = &snapshot->waits[i];
        for (size_t j = 0; j < wait->operand_count; j++) {
            print = qh_fingerprint_mix(print, wait->operands[j].address.value);
            print =
                qh_fingerprint_mix(print, (uint64_t)wait->operands[j].value);
        }
    }
    return print;
}

/* Everything but the threads: what is queued, armed, parked. */
static uint64_t print_of_rest(const struct qh_snapshot *snapshot)
{
    uint64_t print = QH_FINGERPRINT;

    for (size_t i = 0; i < snapshot->context_count; i++) {
        const struct qh_context *context = &snapshot->contexts[i];
        print = qh_fingerprint_mix(print, context->pending_count);
        print = qh_fingerprint_mix(print, context->scheduled_count);
    }
    for (size_t i = 0; i < snapshot->timer_count; i++) {
        print = qh_fingerprint_mix(print, snapshot->timers[i].address.value);
        print =
            qh_fingerprint_mix(print, (uint64_t)snapshot->timers[i].expire_ns);
    }
    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        const struct qh_coroutine *coroutine = &snapshot->coroutines[i];
        print = qh_fingerprint_mix(print, (uint64_t)coroutine->state);
        print = qh_fingerprint_stack(print, &coroutine->stack);
    }
    return print_of_waits(snapshot, print);
}

struct qh_error *qh_progress_take(const struct qh_snapshot *snapshot,
                                  struct qh_findings *findings)
{
    size_t count = snapshot->thread_count;
    struct qh_progress *progress = &findings->progress;

    progress->threads = qh_arena_alloc(
        &findings->arena, (count + 1) * sizeof(*progress->threads));
    if (!progress->threads) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < count; i++) {
        progress->threads[i].tid = snapshot->threads[i].tid;
        progress->threads[i].print = print_of_thread(&snapshot->threads[i]);
    }
    progress->count = count;
    progress->rest = print_of_rest(snapshot);
    return NULL;
}

static bool stood_still(const struct qh_progress *before,
                        const struct qh_thread_print *thread)
{
    for (size_t i = 0; i < before->count; i++) {
        if (before->threads[i].tid == thread->tid) {
            return before->threads[i].print == thread->print;
        }
    }
    return false;
}

void qh_progress_compare(const struct qh_progress *before,
                         struct qh_progress *after)
{
    size_t moved = 0;

    for (size_t i = 0; i < after->count; i++) {
        moved += !stood_still(before, &after->threads[i]);
    }
    after->moved = moved > before->moved ? moved : before->moved;
    after->rest_moved = before->rest_moved || before->rest != after->rest;
}

struct qh_error *qh_progress_note(struct qh_findings *findings)
{
    const struct qh_progress *progress = &findings->progress;
    struct qh_arena *arena = &findings->arena;
    unsigned samples = findings->samples;

    if (progress->moved) {
        return qh_note_add(
            findings, "progress.slow", 0,
            qh_arena_printf(arena, "%zu of %zu threads moved over %u samples",
                            progress->moved, progress->count, samples));
    }
    if (progress->rest_moved) {
        return qh_note_add(
            findings, "progress.slow", 0,
            qh_arena_printf(arena,
                            "no thread moved over %u samples, but what "
                            "is queued or in flight did",
                            samples));
    }
    return qh_note_add(
        findings, "progress.none", 0,
        qh_arena_printf(arena, "nothing moved over %u samples", samples));
}
