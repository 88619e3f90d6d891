/* Watching one QEMU: what is kept of a hang, and told of it and of its end.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/capture.h"
#include "cli/journal.h"
#include "cli/watcher_parts.h"
#include "report/escape.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* Of one run: a process that hangs again and again must not fill the disk. */
enum { MAX_CAPTURES = 10 };

struct qh_finding qh_watcher_print(const struct qh_finding *finding)
{
    return (struct qh_finding){ .rule = finding->rule,
                                .tid = finding->tid,
                                .coroutine = finding->coroutine,
                                .context = finding->context };
}

bool qh_watcher_knows(const struct qh_watcher *watcher,
                      const struct qh_finding *finding)
{
    for (size_t i = 0; i < watcher->known_count; i++) {
        if (qh_finding_is_same(&watcher->known[i], finding)) {
            return true;
        }
    }
    return false;
}

void qh_watcher_forget(struct qh_watcher *watcher,
                       const struct qh_findings *findings)
{
    size_t kept = 0;

    for (size_t i = 0; i < watcher->known_count; i++) {
        bool stands = false;
        for (size_t j = 0; j < findings->count; j++) {
            stands |=
                qh_finding_is_same(&watcher->known[i], &findings->items[j]);
        }
        if (stands) {
            watcher->known[kept++] = watcher->known[i];
            continue;
        }
        qh_journal_over(watcher->pid, &watcher->known[i], false,
                        qh_watcher_now() - watcher->known_ns);
    }
    watcher->known_count = kept;
}

static void count(struct qh_watcher *watcher, const char *rule)
{
    for (size_t i = 0; i < watcher->hangs_count; i++) {
        if (!strcmp(watcher->hangs[i].rule, rule)) {
            watcher->hangs[i].count++;
            return;
        }
    }
    if (watcher->hangs_count < QH_MAX_RULES) {
        watcher->hangs[watcher->hangs_count++] =
            (struct qh_metric_hangs){ rule, 1 };
    }
}

/* The file of the next capture; false when there is to be none. */
static bool name_capture(const struct qh_watcher *watcher, char *ret,
                         size_t size)
{
    const char *path = watcher->request->capture;
    struct stat stat_;
    char when[32];
    time_t now = time(NULL);
    struct tm parts;

    if (!path || watcher->captures >= MAX_CAPTURES) {
        return false;
    }
    if (stat(path, &stat_) < 0 || !S_ISDIR(stat_.st_mode)) {
        return (size_t)snprintf(ret, size, "%s", path) < size;
    }
    gmtime_r(&now, &parts);
    strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &parts);
    return (size_t)snprintf(ret, size, "%s/qhang-%d-%s.core", path,
                            (int)watcher->pid, when) < size;
}

bool qh_watcher_is_final(const struct qh_error *error)
{
    return qh_error_is_gone(error) || error->code == QH_ERR_MEMORY;
}

static struct qh_error *write_capture(struct qh_inquiry *inquiry,
                                      const char *path)
{
    QH_CLEANUP(qh_target_guard) struct qh_target *target = NULL;
    const struct qh_capture_options options = { .tool_version = QHANG_VERSION };
    struct qh_capture_result result;

    /* One of its own: what it reads is not what the session has read. */
    QH_TRY(qh_target_open_live(inquiry->watcher->pid, NULL, &target));
    QH_TRY(qh_capture(target, path, &options, &result));
    inquiry->watcher->captures++;
    strcpy(inquiry->capture, path);
    return NULL;
}

struct qh_error *qh_inquiry_capture(struct qh_inquiry *inquiry)
{
    char path[PATH_MAX];

    if (*inquiry->capture ||
        !name_capture(inquiry->watcher, path, sizeof(path))) {
        return NULL;
    }
    struct qh_error *error = write_capture(inquiry, path);
    if (!error || qh_watcher_is_final(error)) {
        return error;
    }
    qh_watcher_complain(inquiry->watcher, error);
    return NULL;
}

/* `text` safe to print; malloc'd, or NULL. */
static char *escaped(const char *text)
{
    char *safe = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&safe, &bytes);
    struct qh_rune rune;

    if (!out) {
        return NULL;
    }
    while ((rune = qh_rune_at(text)).bytes) {
        qh_print_rune(text, rune, out);
        text += rune.bytes;
    }
    fclose(out);
    return safe;
}

static struct qh_error *run_command(struct qh_inquiry *inquiry,
                                    const struct qh_finding *finding,
                                    const char *summary)
{
    struct qh_watcher *watcher = inquiry->watcher;
    const struct qh_hook_facts facts = { .pid = watcher->pid,
                                         .rule = finding->rule,
                                         .capture = inquiry->capture,
                                         .summary = summary };

    return watcher->request->command
               ? qh_hook_run(&watcher->hook, watcher->request->command, &facts)
               : NULL;
}

struct qh_error *qh_inquiry_tell(struct qh_inquiry *inquiry,
                                 const struct qh_findings *findings)
{
    struct qh_watcher *watcher = inquiry->watcher;
    const struct qh_finding *worst = NULL;

    for (size_t i = 0; i < findings->count; i++) {
        const struct qh_finding *finding = &findings->items[i];
        if (qh_watcher_knows(watcher, finding) ||
            watcher->known_count == QH_MAX_KNOWN) {
            continue;
        }
        QH_CLEANUP(qh_free_guard) char *summary = escaped(finding->summary);
        if (!summary) {
            return qh_error_no_memory();
        }
        worst = worst ? worst : finding;
        watcher->found++;
        watcher->known[watcher->known_count++] = qh_watcher_print(finding);
        count(watcher, finding->rule);
        qh_journal_hang(watcher->pid, finding, summary, inquiry->capture);
        if (worst == finding) {
            struct qh_error *error = run_command(inquiry, finding, summary);
            if (error) {
                qh_watcher_complain(watcher, error);
            }
        }
    }
    return NULL;
}

bool qh_watcher_has_new(const struct qh_watcher *watcher,
                        const struct qh_findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        if (!qh_watcher_knows(watcher, &findings->items[i])) {
            return true;
        }
    }
    return false;
}
