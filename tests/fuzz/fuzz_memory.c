/* Every reader, rule and renderer, on a QEMU's memory that lies.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * $FUZZ_VICTIM is the program to freeze (frozen.h); the input says what is
 * changed in its memory (change.h). */
#include "change.h"
#include "diagnose/diagnose.h"
#include "fuzz.h"
#include "report/report.h"

#include <string.h>

enum {
    /* More would only be slower. */
    MAX_CHANGES = 64,
    /* So much is searched besides the heap: less than in earnest. */
    SEARCH_BYTES = 256 << 10
};

/* Bits of change_head.kind. */
enum { UNSTOPPED = 64, NO_CLOCK = 128 };

/* New ones go to the end: inputs name them by number. */
static const struct {
    const char *scenario;
    const char *plant; /* NULL: nothing */
} bases[] = {
    { "wake-lost", NULL }, { "erased-fired", NULL }, { "graph-unkicked", NULL },
    { "mid-wake", NULL },  { "wake-lost", "ram" },   { "orphan", NULL },
    { "erased", NULL },    { "handoff-lost", NULL }, { "rwlock-stalled", NULL },
    { "pool-idle", NULL }, { "stop-unkicked", NULL }, { "throttle-unarmed", NULL },
};

static struct frozen *victim(unsigned number)
{
    static struct frozen *frozen[QH_COUNT(bases)];
    const char *program = getenv("FUZZ_VICTIM");

    number = number < QH_COUNT(bases) ? number : 0;
    if (!program) {
        fprintf(stderr, "FUZZ_VICTIM must name the victim; see fuzz.sh\n");
        abort();
    }
    if (!frozen[number]) {
        frozen[number] =
            frozen_create(program, bases[number].scenario, bases[number].plant);
    }
    return frozen[number];
}

static char *render(const struct qh_report *report,
                    struct qh_error *(*write)(const struct qh_report *, FILE *))
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    fuzz_require(out);
    qh_error_destroy(write(report, out));
    fuzz_require(fclose(out) == 0);
    return text;
}

static struct qh_error *write_html(const struct qh_report *report, FILE *out)
{
    return qh_report_html(report, NULL, out);
}

static void check_reports(const struct qh_snapshot *snapshot,
                          const struct qh_findings *findings)
{
    QH_CLEANUP(qh_wait_graph_guard) struct qh_wait_graph *graph = NULL;
    struct qh_report report = {
        .snapshot = snapshot,
        .findings = findings,
        .samples = findings->samples,
        .pause_ns = snapshot->pause_ns,
        .tool_version = "fuzz",
    };

    qh_error_destroy(qh_wait_graph_build(snapshot, findings, &graph));
    fuzz_require(graph);
    report.graph = graph;
    char *text = render(&report, qh_report_text);
    fuzz_check_text(text);
    free(text);
    text = render(&report, qh_report_json);
    fuzz_check_json(text);
    free(text);
    text = render(&report, qh_report_dot);
    fuzz_check_text(text);
    free(text);
    text = render(&report, write_html);
    fuzz_check_text(text);
    free(text);
}

/* What an earlier sample has taught must not reach the next input. */
static void forget(struct qh_qemu *qemu)
{
    free(qemu->hints);
    qemu->hints = NULL;
    qemu->hint_count = qemu->hint_room = 0;
    qemu->search_budget = SEARCH_BYTES;
    qemu->suspect_count = 0;
    qemu->poll_frame_count = qemu->stale_word_count = 0;
    qemu->start_bytes = 0;
}

static void sample(struct frozen *frozen, struct qh_findings **findings)
{
    QH_CLEANUP(qh_snapshot_guard) struct qh_snapshot *snapshot = NULL;
    struct qh_findings *now = NULL;
    struct qh_error *error = qh_qemu_sample(frozen->qemu, &snapshot);

    if (error) {
        fuzz_require(!snapshot);
        qh_error_destroy(error);
        return;
    }
    qh_error_destroy(qh_diagnose(snapshot, &now));
    fuzz_require(now);
    if (*findings) {
        qh_findings_confirm(*findings, now);
        qh_error_destroy(qh_findings_settle(now));
    }
    check_reports(snapshot, now);
    frozen_rescue(frozen, snapshot, now);
    qh_findings_destroy(*findings);
    *findings = now;
}

/* As qhang diagnose --no-stop has it. */
static void leave_running(struct qh_target *target)
{
    target->process.unstopped = true;
    target->looked_pages = 2;
    target->changed_pages = 1;
    for (size_t i = 0; i < target->task_count; i++) {
        target->tasks[i].unstopped = true;
        target->tasks[i].regs.known &= 1u << QH_REG_RIP | 1u << QH_REG_RSP;
    }
}

static enum qh_target_kind kind_of(const struct change_head *head)
{
    static const enum qh_target_kind kinds[] = { QH_TARGET_CORE, QH_TARGET_LIVE,
                                                 QH_TARGET_HELD };

    return head->kind & UNSTOPPED ? QH_TARGET_LIVE
                                  : kinds[head->kind % QH_COUNT(kinds)];
}

static void begin(struct frozen *frozen, const struct change_head *head)
{
    frozen_reset(frozen);
    frozen->target.process.kind = kind_of(head);
    frozen->clock_absent = head->kind & NO_CLOCK;
    frozen->event_count = head->events == 255 ? -1 : head->events;
    if (head->kind & UNSTOPPED) {
        leave_running(&frozen->target);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    QH_CLEANUP(qh_findings_guard) struct qh_findings *findings = NULL;
    struct change_head head;
    struct change changes[MAX_CHANGES];

    if (bytes < sizeof(head)) {
        return 0;
    }
    memcpy(&head, data, sizeof(head));
    size_t count = (bytes - sizeof(head)) / sizeof(changes[0]);
    count = count < MAX_CHANGES ? count : MAX_CHANGES;
    memcpy(changes, data + sizeof(head), count * sizeof(changes[0]));

    struct frozen *frozen = victim(head.base);
    bool live = kind_of(&head) == QH_TARGET_LIVE;
    size_t late = live && head.late < count ? head.late : 0;
    forget(frozen->qemu);
    begin(frozen, &head);
    for (size_t i = 0; i < count; i++) {
        if (i == count - late) {
            sample(frozen, &findings);
        }
        change_apply(frozen, &changes[i]);
    }
    sample(frozen, &findings);
    return 0;
}
