/* The log of hangs, and of what was changed in a process.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source: systemd.journal-fields(7), sd_journal_send(3). */
#include "cli/journal.h"

#include "base/units.h"
#include "report/kick.h"

#include <inttypes.h>
#include <stdio.h>
#include <syslog.h>
#include <unistd.h>

#ifdef QHANG_JOURNAL
/* The caller's place in the source would be ours. */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>
#endif

/* One message, and the fields that go with it. */
struct entry {
    pid_t pid;
    const struct qh_finding *finding; /* or NULL: about no one in particular */
    int priority;
    const char *message;
    const char *field; /* one more, "NAME=value" */
};

/* False when no journal took it. */
static bool send_journal(const struct entry *entry)
{
#ifdef QHANG_JOURNAL
    const struct qh_finding *finding = entry->finding;
    char rule[64], coroutine[48];

    /* Without a journal the library would tell of success. */
    if (access("/run/systemd/journal/socket", W_OK) == 0) {
        snprintf(rule, sizeof(rule), "QHANG_RULE=%s",
                 finding ? finding->rule : "");
        snprintf(coroutine, sizeof(coroutine), "QHANG_COROUTINE=0x%" PRIx64,
                 finding ? finding->coroutine.value : 0);
        return sd_journal_send("MESSAGE=%s", entry->message, "PRIORITY=%i",
                               entry->priority, "SYSLOG_IDENTIFIER=qhang",
                               "QHANG_PID=%d", (int)entry->pid, "%s",
                               entry->field, finding ? "%s" : NULL, rule, "%s",
                               coroutine, NULL) == 0;
    }
#endif
    return false;
}

static void say_as(const struct entry *entry)
{
    if (!send_journal(entry)) {
        fflush(stdout);
        fprintf(stderr, "qhang: %s\n", entry->message);
    }
}

static void say(pid_t pid, const struct qh_finding *finding,
                const char *message, const char *field)
{
    say_as(&(struct entry){ pid, finding, LOG_NOTICE, message, field });
}

/* Texts of bounded length: what does not fit is cut, which it never is. */
struct text {
    char bytes[8192]; /* a path, twice over */
    size_t used;
};

static void __attribute__((format(printf, 2, 3)))
add(struct text *text, const char *format, ...)
{
    size_t room = sizeof(text->bytes) - text->used;
    va_list args;

    va_start(args, format);
    int put = vsnprintf(text->bytes + text->used, room, format, args);
    va_end(args);
    text->used += put < 0 ? 0 : (size_t)put < room ? (size_t)put : room - 1;
}

void qh_journal_kick(pid_t pid, const struct qh_finding *finding,
                     const struct qh_rescue_plan *plan)
{
    struct text message = { .used = 0 }, field = { .used = 0 };

    add(&message, "process %d, %s: %s;", (int)pid, finding->rule, plan->what);
    add(&field, "QHANG_WRITES=");
    for (size_t i = 0; i < plan->write_count; i++) {
        const struct qh_word *word = &plan->writes[i].word;
        add(&message, " %s at 0x%" PRIx64 ": 0x%" PRIx64 " -> 0x%" PRIx64 ";",
            plan->writes[i].name, word->address.value, word->before,
            word->after);
        add(&field, "%s0x%" PRIx64 "=0x%" PRIx64 "->0x%" PRIx64, i ? " " : "",
            word->address.value, word->before, word->after);
    }
    add(&message, " eventfd %d", plan->notifier.write_fd);
    say(pid, finding, message.bytes, field.bytes);
}

void qh_journal_refused(pid_t pid, const struct qh_finding *finding)
{
    struct text message = { .used = 0 };

    add(&message, "process %d, %s: refused, nothing was written", (int)pid,
        finding->rule);
    say(pid, finding, message.bytes, "QHANG_OUTCOME=refused");
}

void qh_journal_outcome(pid_t pid, const struct qh_finding *finding,
                        const struct qh_rescue_outcome *outcome)
{
    static const char *const fields[] = {
        [QH_RESCUE_UNSTUCK] = "QHANG_OUTCOME=unstuck",
        [QH_RESCUE_WAITS] = "QHANG_OUTCOME=still-waiting",
        [QH_RESCUE_STUCK] = "QHANG_OUTCOME=still-stuck",
        [QH_RESCUE_UNCLEAR] = "QHANG_OUTCOME=unclear",
        [QH_RESCUE_ENDED] = "QHANG_OUTCOME=ended",
    };
    bool killed = outcome->result == QH_RESCUE_ENDED &&
                  outcome->ending.how == QH_ENDING_KILLED;
    struct text message = { .used = 0 };

    add(&message, "process %d, %s: ", (int)pid, finding->rule);
    switch (outcome->result) {
    case QH_RESCUE_UNSTUCK:
        add(&message, "unstuck after %s", qh_duration(outcome->took_ns).text);
        break;
    case QH_RESCUE_WAITS:
        add(&message, "it is over, and the waiter still waits");
        break;
    case QH_RESCUE_STUCK:
        add(&message, "still stuck");
        break;
    case QH_RESCUE_UNCLEAR:
        add(&message, "whether it is over cannot be told");
        break;
    case QH_RESCUE_ENDED:
        add(&message, "%s after %s, %s", killed ? "killed" : "ended",
            qh_duration(outcome->took_ns).text,
            qh_ending_text(&outcome->ending).text);
        break;
    }
    say(pid, finding, message.bytes,
        killed ? "QHANG_OUTCOME=killed" : fields[outcome->result]);
}

void qh_journal_went_on(pid_t pid, const struct qh_finding *finding)
{
    struct text message = { .used = 0 };

    add(&message, "process %d, %s: its waiter has gone on", (int)pid,
        finding->rule);
    say(pid, finding, message.bytes, "QHANG_OUTCOME=unstuck");
}

void qh_journal_ended(pid_t pid, const struct qh_ending *ending)
{
    bool killed = ending->how == QH_ENDING_KILLED;
    struct text message = { .used = 0 };

    add(&message, "process %d: %s, %s", (int)pid, killed ? "killed" : "ended",
        qh_ending_text(ending).text);
    say(pid, NULL, message.bytes,
        killed ? "QHANG_OUTCOME=killed" : "QHANG_OUTCOME=ended");
}

void qh_journal_notify(pid_t pid, const struct qh_rescue_loops *loops)
{
    struct text message = { .used = 0 }, field = { .used = 0 };

    add(&message, "process %d: notify %zu event loop%s, eventfd", (int)pid,
        loops->count, loops->count == 1 ? "" : "s");
    add(&field, "QHANG_EVENTFDS=");
    for (size_t i = 0; i < loops->count; i++) {
        int fd = loops->items[i].write_fd;
        add(&message, "%s %d", i ? "," : "", fd);
        add(&field, "%s%d", i ? " " : "", fd);
    }
    say(pid, NULL, message.bytes, field.bytes);
}

void qh_journal_notified(pid_t pid, size_t count)
{
    struct text message = { .used = 0 };

    add(&message, "process %d: %zu event loop%s notified", (int)pid, count,
        count == 1 ? "" : "s");
    say(pid, NULL, message.bytes,
        count ? "QHANG_OUTCOME=notified" : "QHANG_OUTCOME=refused");
}

void qh_journal_hang(pid_t pid, const struct qh_finding *finding,
                     const char *summary, const char *capture)
{
    struct text message = { .used = 0 }, field = { .used = 0 };

    add(&message, "process %d hangs, %s (%s): %s", (int)pid, finding->rule,
        qh_certainty_name(finding->certainty), summary);
    if (*capture) {
        add(&message, "; kept in %s", capture);
    }
    add(&field, "QHANG_CAPTURE=%s", capture);
    say_as(&(struct entry){ pid, finding, LOG_WARNING, message.bytes,
                            field.bytes });
}

void qh_journal_over(pid_t pid, const struct qh_finding *finding,
                     bool was_cured, int64_t lasted_ns)
{
    struct text message = { .used = 0 };

    if (was_cured) {
        add(&message,
            "process %d looked like %s until it was stopped for a "
            "diagnosis, and hangs no more",
            (int)pid, finding->rule);
    } else {
        add(&message, "process %d, %s: goes on, %s after it was found",
            (int)pid, finding->rule, qh_duration(lasted_ns).text);
    }
    say(pid, finding, message.bytes,
        was_cured ? "QHANG_OUTCOME=cured" : "QHANG_OUTCOME=went-on");
}
