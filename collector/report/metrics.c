/* What a watch has seen, for Prometheus.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/metrics.h"

#include "report/escape.h"

#include <inttypes.h>
#include <string.h>

/* Whole and fraction apart: a double has no room for both of a date. */
#define SECONDS "%" PRId64 ".%09" PRId64
#define SECONDS_OF(ns) (ns) / 1000000000, (ns) % 1000000000

/* Quote, backslash and newline are escaped; the rest must be UTF-8. */
static void print_label(const char *name, const char *value, FILE *out)
{
    fprintf(out, "%s=\"", name);
    for (; *value; value++) {
        if (*value == '\n') {
            fputs("\\n", out);
            continue;
        }
        if (*value == '"' || *value == '\\') {
            fputc('\\', out);
        }
        fputc(*value, out);
    }
    fputc('"', out);
}

static void print_labels(const struct qh_metrics *metrics, const char *comm,
                         const char *rule, FILE *out)
{
    fprintf(out, "{pid=\"%d\",", (int)metrics->pid);
    print_label("comm", comm, out);
    if (rule) {
        fputc(',', out);
        print_label("rule", rule, out);
    }
    fputs("} ", out);
}

static void print_head(const char *name, const char *type, const char *help,
                       FILE *out)
{
    fprintf(out, "# HELP qhang_%s %s\n# TYPE qhang_%s %s\n", name, help, name,
            type);
}

static void print_count(const struct qh_metrics *metrics, const char *comm,
                        const char *name, const char *type, const char *help,
                        uint64_t value, FILE *out)
{
    print_head(name, type, help, out);
    fprintf(out, "qhang_%s", name);
    print_labels(metrics, comm, NULL, out);
    fprintf(out, "%" PRIu64 "\n", value);
}

static void print_seconds(const struct qh_metrics *metrics, const char *comm,
                          const char *name, const char *type, const char *help,
                          int64_t ns, FILE *out)
{
    print_head(name, type, help, out);
    fprintf(out, "qhang_%s", name);
    print_labels(metrics, comm, NULL, out);
    fprintf(out, SECONDS "\n", SECONDS_OF(ns));
}

static void print_hangs(const struct qh_metrics *metrics, const char *comm,
                        FILE *out)
{
    print_head("hangs_total", "counter", "Hangs seen, by rule.", out);
    for (size_t i = 0; i < metrics->hangs_count; i++) {
        fputs("qhang_hangs_total", out);
        print_labels(metrics, comm, metrics->hangs[i].rule, out);
        fprintf(out, "%" PRIu64 "\n", metrics->hangs[i].count);
    }
}

struct qh_error *qh_metrics_text(const struct qh_metrics *metrics, FILE *out)
{
    struct qh_arena arena = { NULL };
    const char *comm = qh_valid_utf8(&arena, metrics->comm);

    if (!comm) {
        return qh_error_no_memory();
    }
    print_count(metrics, comm, "up", "gauge",
                "Whether the QEMU is there and watched.", metrics->up, out);
    print_seconds(metrics, comm, "main_loop_stalled_seconds", "gauge",
                  "How long the main loop has been in one wait that is not its "
                  "idle poll.",
                  metrics->stalled_ns, out);
    print_count(metrics, comm, "hung", "gauge",
                "Whether a hang was found and still stands.", metrics->hung,
                out);
    print_hangs(metrics, comm, out);
    print_count(metrics, comm, "diagnoses_total", "counter",
                "Diagnoses made, most of them without a stop.",
                metrics->diagnoses, out);
    print_count(metrics, comm, "diagnoses_failed_total", "counter",
                "Diagnoses that failed.", metrics->diagnoses_failed, out);
    print_seconds(metrics, comm, "last_diagnosis_timestamp_seconds", "gauge",
                  "When the last diagnosis was made; 0: none was.",
                  metrics->diagnosed_realtime_ns, out);
    print_count(metrics, comm, "captures_total", "counter", "Captures kept.",
                metrics->captures, out);
    print_seconds(metrics, comm, "cpu_seconds_total", "counter",
                  "CPU time that the watch has used itself.", metrics->cpu_ns,
                  out);
    qh_arena_deinit(&arena);
    return NULL;
}
