/* One sample, start to end: stop, read, resume, walk, judge.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/reader.h"

#include <string.h>
#include <time.h>

/* For all samples of a target together; see search.c. */
#define SEARCH_BUDGET_BYTES (UINT64_C(48) << 20)

struct qh_error *qh_qemu_create(struct qh_target *target,
                                struct qh_debug *debug, struct qh_qemu **ret)
{
    QH_CLEANUP(qh_qemu_guard) struct qh_qemu *qemu = calloc(1, sizeof(*qemu));

    if (!qemu) {
        return qh_error_no_memory();
    }
    qemu->target = target;
    qemu->debug = debug;
    qemu->search_budget = SEARCH_BUDGET_BYTES;
    QH_TRY(qh_layout_load(debug, &qemu->layout));
    *ret = qemu;
    qemu = NULL;
    return NULL;
}

void qh_qemu_destroy(struct qh_qemu *qemu)
{
    if (qemu) {
        free(qemu->hints);
        free(qemu->suspects);
        free(qemu->poll_frames);
        free(qemu->stale_words);
        qh_ranges_guard(&qemu->wanted);
        free(qemu);
    }
}

void qh_qemu_guard(struct qh_qemu **qemu)
{
    qh_qemu_destroy(*qemu);
}

static void reader_guard(struct qh_reader *reader)
{
    qh_snapshot_destroy(reader->snapshot);
    free(reader->threads);
    free(reader->coroutines);
    free(reader->unresolved);
}

static struct qh_error *copy_string(struct qh_arena *arena, const char *text,
                                    const char **ret)
{
    *ret = qh_arena_strdup(arena, text);
    return text && !*ret ? qh_error_no_memory() : NULL;
}

/* The kernel keeps 15 bytes of a program's name; the executable's name is the
 * whole of it, unless the process has given itself another one. */
static const char *whole_name(const struct qh_process *process)
{
    const char *slash = strrchr(process->exe, '/');
    const char *base = slash ? slash + 1 : process->exe;
    size_t length = strlen(process->name);

    return length && !strncmp(base, process->name, length) ? base
                                                           : process->name;
}

static struct qh_error *describe_process(struct qh_reader *reader)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    struct qh_arena *arena = &snapshot->arena;
    const struct qh_process *process = qh_target_process(reader->target);

    snapshot->kind = process->kind;
    if (snapshot->kind == QH_TARGET_HELD) {
        snapshot->held_by = process->held_by;
        QH_TRY(copy_string(arena, process->holder, &snapshot->holder));
    }
    snapshot->pid = process->pid;
    snapshot->inner_pid = process->inner_pid;
    QH_TRY(copy_string(arena, whole_name(process), &snapshot->name));
    QH_TRY(copy_string(arena, process->exe, &snapshot->exe));
    QH_TRY(copy_string(arena, process->core, &snapshot->core));
    QH_TRY(copy_string(arena, qh_debug_build_id(reader->qemu->debug),
                       &snapshot->build_id));
    snapshot->version = qh_debug_qemu_version(reader->qemu->debug, arena);
    if (process->damage) {
        return qh_snapshot_gap(snapshot, "core file", qh_raddr(0),
                               process->damage,
                               "take a whole core; check disk space and the "
                               "core size limit");
    }
    return NULL;
}

/* The kernel shows the system call of a stopped thread, but not whether that
 * has come to an end: only registers tell whether it sleeps on in there. */
static struct qh_error *note_halted_look(struct qh_reader *reader)
{
    if (!qh_target_process(reader->target)->unstopped) {
        return NULL;
    }
    return qh_snapshot_gap(
        reader->snapshot, "whether stopped threads sleep", qh_raddr(0),
        "a look does not show it",
        reader->snapshot->halted == QH_HALT_SIGNAL
            ? "run it again without --no-stop"
            : "have the tracer let it go, or hand in its --registers");
}

/* As each thread was before qhang came to it. */
static struct qh_error *describe_halt(struct qh_reader *reader)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    const struct qh_process *process = qh_target_process(reader->target);

    for (size_t i = 0; i < snapshot->thread_count; i++) {
        enum qh_halt halt = snapshot->threads[i].halt;
        snapshot->halted_count += halt != QH_HALT_NONE;
        snapshot->halted = halt > snapshot->halted ? halt : snapshot->halted;
    }
    if (snapshot->halted == QH_HALT_TRACER) {
        snapshot->held_by = process->held_by;
        QH_TRY(
            copy_string(&snapshot->arena, process->holder, &snapshot->holder));
    }
    return snapshot->halted == QH_HALT_NONE ? NULL : note_halted_look(reader);
}

/* A core stores no clock; then no time left can be told, and nothing else is
 * lost, so it is no gap. */
static void read_clock(struct qh_reader *reader)
{
    struct qh_error *error = qh_target_clock(reader->target, CLOCK_MONOTONIC,
                                             &reader->snapshot->monotonic_ns);

    qh_error_destroy(error);
}

/* Stacks first: the timers and wait records that others lead to lie on them,
 * and are there when they are asked for. */
static struct qh_error *read_stopped(struct qh_reader *reader)
{
    QH_TRY(qh_read_ram(reader));
    QH_TRY(qh_read_threads(reader));
    QH_TRY(qh_read_coroutines(reader));
    QH_TRY(qh_copy_stacks(reader));
    QH_TRY(qh_read_contexts(reader));
    QH_TRY(qh_read_sleepers(reader));
    QH_TRY(qh_read_locks(reader));
    QH_TRY(qh_read_monitors(reader));
    QH_TRY(qh_prefetch_waits(reader));
    QH_TRY(qh_copy_pointees(reader));
    return qh_search_suspects(reader);
}

static struct qh_error *stop_and_read(struct qh_reader *reader)
{
    QH_TRY(qh_make_room(reader));
    QH_TRY(qh_target_stop(reader->target));
    QH_CLEANUP(qh_target_resume_guard)
    struct qh_target *stopped __attribute__((unused)) = reader->target;

    return read_stopped(reader);
}

/* What was read of a process that went on meanwhile need not fit together. */
static struct qh_error *note_changed(struct qh_reader *reader)
{
    struct qh_snapshot *snapshot = reader->snapshot;
    size_t pages;
    size_t changed = qh_target_changed_pages(reader->target, &pages);

    snapshot->unstopped = qh_target_process(reader->target)->unstopped;
    snapshot->torn = changed > 0;
    if (!changed) {
        return NULL;
    }
    const char *why = qh_arena_printf(&snapshot->arena,
                                      "%zu of %zu pages changed while they "
                                      "were read",
                                      changed, pages);
    return why ? qh_snapshot_gap(snapshot, "memory that stands still",
                                 qh_raddr(0), why,
                                 "run it again without --no-stop")
               : qh_error_no_memory();
}

static struct qh_error *judge_copies(struct qh_reader *reader)
{
    QH_TRY(qh_walk_stacks(reader));
    QH_TRY(qh_judge_threads(reader));
    QH_TRY(qh_finish_sleepers(reader));
    QH_TRY(qh_finish_locks(reader));
    QH_TRY(qh_read_thread_waits(reader));
    QH_TRY(qh_check_queues(reader));
    QH_TRY(qh_find_qmp_command(reader));
    QH_TRY(qh_find_co_waits(reader));
    QH_TRY(qh_search_references(reader));
    return qh_measure_blocked(reader);
}

static struct qh_error *note_unresolved(struct qh_reader *reader)
{
    const char *advice = reader->snapshot->kind == QH_TARGET_CORE
                             ? "diagnose the process itself, if it still runs"
                             : "take a core and diagnose that";

    for (size_t i = 0; i < reader->unresolved_count; i++) {
        QH_TRY(qh_snapshot_gap(
            reader->snapshot, "coroutine", qh_raddr(reader->unresolved[i]),
            "no CoroutineUContext names this stack", advice));
    }
    return NULL;
}

/* Who stops the target for a sample, and lets it go. */
enum stopping { SAMPLE_STOPS, CALLER_STOPS };

/* `*ret_again`: stacks could not be resolved, hints were gathered for the next
 * try. */
static struct qh_error *sample_once(struct qh_qemu *qemu,
                                    enum stopping stopping, bool last,
                                    struct qh_snapshot **ret, bool *ret_again)
{
    QH_CLEANUP(reader_guard)
    struct qh_reader reader = {
        .qemu = qemu,
        .target = qemu->target,
        .layout = &qemu->layout,
    };

    QH_TRY(qh_snapshot_create(&reader.snapshot));
    QH_TRY(describe_process(&reader));
    QH_TRY(stopping == SAMPLE_STOPS ? stop_and_read(&reader)
                                    : read_stopped(&reader));
    QH_TRY(describe_halt(&reader));
    read_clock(&reader);
    QH_TRY(note_changed(&reader));
    if (stopping == SAMPLE_STOPS && reader.snapshot->kind == QH_TARGET_LIVE &&
        !reader.snapshot->unstopped) {
        reader.snapshot->pause_ns = qh_target_pause_ns(qemu->target);
    }
    *ret_again = !last && reader.unresolved_count > 0;
    if (*ret_again) {
        QH_TRY(qh_search_contexts(&reader));
    } else {
        QH_TRY(note_unresolved(&reader));
        QH_TRY(judge_copies(&reader));
    }
    reader.snapshot->bytes_read = qh_target_bytes_read(qemu->target);
    *ret = reader.snapshot;
    reader.snapshot = NULL;
    return NULL;
}

static struct qh_error *sample(struct qh_qemu *qemu, enum stopping stopping,
                               struct qh_snapshot **ret)
{
    bool again = false;

    QH_TRY(sample_once(qemu, stopping, false, ret, &again));
    if (again) {
        int64_t pause_ns = (*ret)->pause_ns;
        qh_snapshot_destroy(*ret);
        *ret = NULL;
        QH_TRY(sample_once(qemu, stopping, true, ret, &again));
        if (pause_ns > (*ret)->pause_ns) {
            (*ret)->pause_ns = pause_ns;
        }
    }
    return NULL;
}

struct qh_error *qh_qemu_sample(struct qh_qemu *qemu, struct qh_snapshot **ret)
{
    return sample(qemu, SAMPLE_STOPS, ret);
}

struct qh_error *qh_qemu_sample_stopped(struct qh_qemu *qemu,
                                        struct qh_snapshot **ret)
{
    return sample(qemu, CALLER_STOPS, ret);
}
