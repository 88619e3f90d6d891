/* Whether anything refers to a suspended coroutine.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Whoever is to wake a coroutine knows it: by the address of the Coroutine, or
 * of something on its stack, an AIOCB, a CoWaitRecord, a ThreadPoolCo. In which
 * of QEMU's many structures that address stands differs by version and by
 * driver, and a list of them would never be whole: each one that is missing
 * would make a finding of a healthy coroutine. So all memory is looked through
 * for such an address, and all registers. That errs on the other side only: by
 * an address that somebody forgot to take away an orphan is missed.
 *
 * Not looked for are those whose waker a reader has found, those whose stack
 * could not be walked, and those that wait for the kernel by Linux AIO or by an
 * io_uring: it has their address, and does not tell.
 *
 * Addresses that do not wake anybody do not count: the list of a node's tracked
 * requests, a CoMutex that names its holder, the BdrvPollCo of the thread that
 * waits for the coroutine's end. Each is told by what stands around it.
 *
 * While the target runs, an address on its way from one place to another may
 * be missed; while it stands, it stands for longer than for anything else. So
 * the first sample looks when the target runs on; only those that nothing was
 * then seen to refer to are looked for in the stop of the next sample. Among
 * healthy coroutines that is hardly ever one. */
#include "qemu/references.h"
#include "target/arch.h"

#include <string.h>

struct subject {
    size_t index; /* of the coroutine */
    bool found;
    uint64_t mutexes; /* that name it as their holder */
};

/* An address in [start, end) refers to the subject. */
struct span {
    uint64_t start, end;
    size_t subject;
};

struct search {
    struct qh_reader *reader;
    struct subject *subjects;
    struct span *spans; /* sorted */
    size_t count, left;
    uint64_t lowest, highest;
    bool whole;
};

static uint64_t end_of_context(const struct qh_reader *reader,
                               struct raddr ucontext)
{
    return ucontext.value + reader->layout->ucontext_bytes;
}

/* ---- hits ---- */

/* The subject that `value` leads to, or NULL. */
static struct subject *subject_of(const struct search *search, uint64_t value)
{
    size_t low = 0, high = 2 * search->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct span *span = &search->spans[middle];
        if (value < span->start) {
            high = middle;
        } else if (value >= span->end) {
            low = middle + 1;
        } else {
            return &search->subjects[span->subject];
        }
    }
    return NULL;
}

/* Below its stack pointer there is nothing any more. */
static bool is_live(const struct search *search, const struct subject *subject,
                    uint64_t value)
{
    const struct qh_coroutine *coroutine =
        &search->reader->snapshot->coroutines[subject->index];

    return value < coroutine->stack_start.value ||
           value >= coroutine->regs.dwarf[QH_REG_RSP];
}

static void hit(struct search *search, struct subject *subject)
{
    search->left -= !subject->found;
    subject->found = true;
}

/* What stands in itself, in its own stack included, is known to nobody else. */
static bool look(void *opaque, uint64_t at, const unsigned char *data,
                 size_t bytes)
{
    struct search *search = opaque;
    size_t i = (8 - at) % 4;

    for (; i + 8 <= bytes; i += 4) {
        uint64_t value;
        memcpy(&value, data + i, 8);
        if (value < search->lowest || value >= search->highest) {
            continue;
        }
        struct subject *subject = subject_of(search, value);
        if (subject && !subject->found &&
            subject_of(search, at + i) != subject &&
            is_live(search, subject, value) &&
            qh_reference_wakes(
                search->reader,
                &search->reader->snapshot->coroutines[subject->index], at + i,
                value, &subject->mutexes)) {
            hit(search, subject);
            if (!search->left) {
                return false;
            }
        }
    }
    return true;
}

/* Nobody's own: they are what a thread or another coroutine goes on with. */
static void look_at_registers(struct search *search,
                              const struct qh_registers *regs,
                              const struct subject *owner)
{
    for (size_t i = 0; i < QH_REG_RIP; i++) {
        struct subject *subject =
            regs->known & (1u << i) ? subject_of(search, regs->dwarf[i]) : NULL;
        if (subject && subject != owner &&
            is_live(search, subject, regs->dwarf[i])) {
            hit(search, subject);
        }
    }
}

static bool has_no_registers(const struct qh_task *task)
{
    return !strncmp(task->name, "iou-", 4) || task->stop == QH_TASK_GONE;
}

static struct qh_error *look_at_threads(struct search *search)
{
    struct qh_reader *reader = search->reader;
    struct qh_registers below;

    for (size_t i = 0; i < reader->snapshot->thread_count; i++) {
        const struct qh_thread_work *work = &reader->threads[i];
        if (work->task->stop != QH_TASK_STOPPED) {
            search->whole &= has_no_registers(work->task);
            continue;
        }
        look_at_registers(search, &work->task->regs, NULL);
        QH_TRY(qh_read_below(reader, work, &below));
        look_at_registers(search, &below, NULL);
    }
    return NULL;
}

static void look_at_coroutines(struct search *search)
{
    const struct qh_snapshot *snapshot = search->reader->snapshot;

    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        const struct qh_coroutine *coroutine = &snapshot->coroutines[i];
        if (coroutine->state == QH_CO_SUSPENDED ||
            coroutine->state == QH_CO_ENTERED) {
            search->whole &= coroutine->regs.known != 0;
            look_at_registers(search, &coroutine->regs,
                              subject_of(search, coroutine->address.value));
        }
    }
}

/* ---- a search ---- */

static int by_start(const void *a, const void *b)
{
    const struct span *left = a, *right = b;

    return (left->start > right->start) - (left->start < right->start);
}

static void make_spans(struct search *search)
{
    struct qh_reader *reader = search->reader;

    for (size_t i = 0; i < search->count; i++) {
        size_t index = search->subjects[i].index;
        const struct qh_coroutine *at = &reader->snapshot->coroutines[index];
        struct raddr ucontext = reader->coroutines[index].ucontext;
        search->spans[2 * i] =
            (struct span){ at->stack_start.value,
                           at->stack_start.value + at->stack_bytes, i };
        search->spans[2 * i + 1] =
            (struct span){ ucontext.value, end_of_context(reader, ucontext),
                           i };
    }
    qsort(search->spans, 2 * search->count, sizeof(*search->spans), by_start);
    search->lowest = search->spans[0].start;
    for (size_t i = 0; i < 2 * search->count; i++) {
        if (search->spans[i].end > search->highest) {
            search->highest = search->spans[i].end;
        }
    }
}

/* Whether it has run since the stop: its saved registers are others by now. */
static bool has_moved(struct qh_reader *reader, size_t index)
{
    unsigned char then[QH_ARCH_JMPBUF_SLOTS * 8], now[sizeof(then)];
    struct raddr env =
        qh_field_at(reader, reader->coroutines[index].ucontext, QH_F_UC_ENV);
    size_t have = 0;
    struct qh_error *error =
        qh_target_read(reader->target, env, then, sizeof(then));

    if (!error) {
        error =
            qh_target_read_some(reader->target, env, now, sizeof(now), &have);
    }
    bool moved =
        error || have != sizeof(now) || memcmp(then, now, sizeof(now)) != 0;
    qh_error_destroy(error);
    return moved;
}

static struct qh_error *note_result(struct search *search, bool still)
{
    struct qh_reader *reader = search->reader;

    for (size_t i = 0; i < search->count; i++) {
        struct subject *subject = &search->subjects[i];
        struct qh_coroutine *coroutine =
            &reader->snapshot->coroutines[subject->index];
        if (subject->found || (!still && has_moved(reader, subject->index))) {
            coroutine->referred = QH_REFERRED_YES;
            continue;
        }
        coroutine->referred =
            still && search->whole ? QH_REFERRED_NO : QH_REFERRED_PERHAPS_NOT;
        if (still && !search->whole) {
            QH_TRY(qh_snapshot_gap(
                reader->snapshot, "what refers to a coroutine",
                coroutine->address, "some of the memory cannot be looked at",
                "look at where that coroutine waits by hand"));
        }
    }
    return NULL;
}

/* Where the subjects are given by their indices; sets `referred` of each. */
static struct qh_error *search_for(struct qh_reader *reader,
                                   struct subject *subjects, size_t count,
                                   bool still)
{
    QH_CLEANUP(qh_free_guard)
    struct span *spans = calloc(2 * count + 1, sizeof(*spans));
    struct search search = {
        .reader = reader,
        .subjects = subjects,
        .spans = spans,
        .count = count,
        .left = count,
        .whole = reader->has_pointer_guard,
    };
    bool whole = true;

    if (!spans) {
        return qh_error_no_memory();
    }
    if (!count) {
        return NULL;
    }
    make_spans(&search);
    look_at_coroutines(&search);
    QH_NOTE(reader, "registers of threads", look_at_threads(&search));
    if (search.left) {
        QH_TRY(qh_each_memory(reader, still, look, &search, &whole));
    }
    search.whole &= whole;
    return note_result(&search, still);
}

/* ---- who is looked for ---- */

static bool is_parked_like(const struct qh_coroutine *coroutine,
                           const struct qh_suspect *suspect)
{
    return coroutine->state == QH_CO_SUSPENDED && coroutine->regs.known &&
           coroutine->regs.dwarf[QH_REG_RSP] == suspect->sp &&
           coroutine->regs.dwarf[QH_REG_RIP] == suspect->pc;
}

struct qh_error *qh_search_suspects(struct qh_reader *reader)
{
    const struct qh_process *process = qh_target_process(reader->target);
    const struct qh_qemu *qemu = reader->qemu;
    size_t count = 0;

    if (process->kind != QH_TARGET_LIVE || process->unstopped ||
        !qemu->suspect_count) {
        return NULL;
    }
    QH_CLEANUP(qh_free_guard)
    struct subject *subjects = calloc(qemu->suspect_count, sizeof(*subjects));
    if (!subjects) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < qemu->suspect_count; i++) {
        size_t index = qh_coroutine_index(reader, qemu->suspects[i].coroutine);
        if (index != SIZE_MAX &&
            is_parked_like(&reader->snapshot->coroutines[index],
                           &qemu->suspects[i])) {
            subjects[count++].index = index;
        }
    }
    return search_for(reader, subjects, count, true);
}

static bool operand_is(const struct qh_wait *wait, const char *what,
                       uint64_t value)
{
    for (size_t i = 0; i < wait->operand_count; i++) {
        const struct qh_operand *operand = &wait->operands[i];
        if (!strcmp(operand->what, what)) {
            return operand->known && (uint64_t)operand->value == value;
        }
    }
    return false;
}

/* Whether a reader has found what will wake it, or a rule of its own says that
 * nothing will. */
static bool has_waker(const struct qh_wait *wait)
{
    switch (wait->kind) {
    case QH_WAIT_SLEEP:
    case QH_WAIT_TIMER:
    case QH_WAIT_EVENTS:
        return true;
    case QH_WAIT_FD:
        return operand_is(wait, "read_coroutine", wait->coroutine.value) ||
               operand_is(wait, "write_coroutine", wait->coroutine.value);
    default:
        return operand_is(wait, "listed", 1);
    }
}

/* Linux AIO, and what uses an io_uring, by itself or through a library. */
static bool may_wait_for_kernel(const struct qh_backtrace *stack)
{
    static const char *const parts[] = { "laio", "uring", "blkio" };

    for (size_t i = 0; i < stack->count; i++) {
        const char *name = stack->frames[i].function;
        if (!name) {
            return true;
        }
        for (size_t j = 0; j < QH_COUNT(parts); j++) {
            if (strstr(name, parts[j])) {
                return true;
            }
        }
    }
    return !stack->count || stack->cut;
}

static bool is_looked_for(const struct qh_coroutine *coroutine,
                          const struct qh_wait *wait)
{
    return coroutine->state == QH_CO_SUSPENDED && coroutine->regs.known &&
           coroutine->referred == QH_REFERRED_UNKNOWN && !has_waker(wait) &&
           !may_wait_for_kernel(&coroutine->stack);
}

static struct qh_error *keep_suspects(struct qh_reader *reader)
{
    const struct qh_snapshot *snapshot = reader->snapshot;
    struct qh_qemu *qemu = reader->qemu;

    qemu->suspect_count = 0;
    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        const struct qh_coroutine *coroutine = &snapshot->coroutines[i];
        if (coroutine->referred < QH_REFERRED_PERHAPS_NOT) {
            continue;
        }
        QH_TRY(qh_array_reserve(&qemu->suspects, &qemu->suspect_room,
                                qemu->suspect_count + 1,
                                sizeof(*qemu->suspects)));
        qemu->suspects[qemu->suspect_count++] = (struct qh_suspect){
            .coroutine = coroutine->address,
            .sp = coroutine->regs.dwarf[QH_REG_RSP],
            .pc = coroutine->regs.dwarf[QH_REG_RIP],
        };
    }
    return NULL;
}

struct qh_error *qh_search_references(struct qh_reader *reader)
{
    const struct qh_process *process = qh_target_process(reader->target);
    const struct qh_snapshot *snapshot = reader->snapshot;
    size_t count = 0;

    if (process->unstopped) {
        return NULL;
    }
    QH_CLEANUP(qh_free_guard)
    struct subject *subjects =
        calloc(snapshot->wait_count + 1, sizeof(*subjects));
    if (!subjects) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_wait *wait = &snapshot->waits[i];
        size_t index =
            wait->tid ? SIZE_MAX : qh_coroutine_index(reader, wait->coroutine);
        if (index != SIZE_MAX &&
            is_looked_for(&snapshot->coroutines[index], wait)) {
            subjects[count++].index = index;
        }
    }
    QH_TRY(qh_note_frames(reader));
    QH_TRY(
        search_for(reader, subjects, count, process->kind != QH_TARGET_LIVE));
    return process->kind == QH_TARGET_LIVE ? keep_suspects(reader) : NULL;
}
