/* What two readings make of a process. Pure but for the arena.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/units.h"
#include "target/arch.h"
#include "watch/reading.h"
#include "watch/watch.h"

#include <inttypes.h>
#include <string.h>

#define QH_PROGRESS_NAME(constant, name, words, worth) [constant] = name,
#define QH_PROGRESS_WORDS(constant, name, words, worth) [constant] = words,
#define QH_PROGRESS_WORTH(constant, name, words, worth) [constant] = worth,

const char *qh_progress_name(enum qh_progress progress)
{
    static const char *const names[] = { QH_PROGRESSES(QH_PROGRESS_NAME) };

    return names[progress];
}

const char *qh_progress_words(enum qh_progress progress)
{
    static const char *const words[] = { QH_PROGRESSES(QH_PROGRESS_WORDS) };

    return words[progress];
}

bool qh_progress_is_suspicious(enum qh_progress progress)
{
    static const bool worth[] = { QH_PROGRESSES(QH_PROGRESS_WORTH) };

    return worth[progress];
}

/* Whether QEMU's loops sleep in it: glib's and aio_poll()'s (util/main-loop.c,
 * util/fdmon-*.c). A call that a signal interrupted shows another number. */
bool qh_reading_is_poll(const struct qh_reading *reading)
{
    static const char *const polls[] = { "ppoll",        "poll",
                                         "epoll_wait",   "epoll_pwait",
                                         "epoll_pwait2", "io_uring_enter",
                                         "select",       "pselect6" };
    static const char *const places[] = { "do_poll", "do_sys_poll",
                                          "poll_schedule_timeout", "ep_poll",
                                          "io_cqring_wait" };
    const char *name = qh_arch_call_name(reading->call);

    for (size_t i = 0; name && i < QH_COUNT(polls); i++) {
        if (!strcmp(name, polls[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < QH_COUNT(places); i++) {
        if (!strncmp(reading->wchan, places[i], strlen(places[i]))) {
            return true;
        }
    }
    return false;
}

/* Where it sleeps: the system call, else the kernel function; or NULL. */
static const char *wait_of(const struct qh_reading *reading)
{
    const char *name = qh_arch_call_name(reading->call);

    if (reading->state != 'S' && reading->state != 'D') {
        return NULL;
    }
    if (reading->wchan[0] && (!name || reading->state == 'D')) {
        return reading->wchan;
    }
    return name;
}

static enum qh_progress judge_sleeper(const struct qh_reading *before,
                                      const struct qh_reading *now)
{
    bool slept = before->switches == now->switches && before->state == 'S';

    if (!now->permitted && !now->wchan[0]) {
        return slept ? QH_PROGRESS_UNKNOWN : QH_PROGRESS_TURNS;
    }
    if (!slept) {
        return QH_PROGRESS_TURNS;
    }
    return qh_reading_is_poll(now) ? QH_PROGRESS_STILL : QH_PROGRESS_ELSEWHERE;
}

static enum qh_progress judge_main(const struct qh_watch *watch,
                                   const struct qh_reading *before,
                                   const struct qh_reading *now)
{
    uint64_t half = (uint64_t)watch->interval_ns / 2;
    bool same = before->switches == now->switches;

    switch (now->state) {
    case 'T':
    case 't':
        return QH_PROGRESS_STOPPED;
    case 'Z':
    case 'X':
        return QH_PROGRESS_ENDED;
    case 'D':
        return same && before->state == 'D' ? QH_PROGRESS_KERNEL
                                            : QH_PROGRESS_BUSY;
    case 'S':
        if (now->run_ns - before->run_ns <= half) {
            return judge_sleeper(before, now);
        }
        return QH_PROGRESS_BUSY;
    default: /* it runs, or would */
        return now->starved_ns - before->starved_ns > half ||
                       (same && now->run_ns == before->run_ns &&
                        before->state == 'R')
                   ? QH_PROGRESS_STARVED
                   : QH_PROGRESS_BUSY;
    }
}

static size_t stuck_in_kernel(const struct qh_readings *before,
                              const struct qh_readings *after)
{
    size_t count = 0;

    for (size_t i = 0; i < after->in_kernel_count; i++) {
        const struct qh_reading *now = &after->in_kernel[i];
        for (size_t j = 0; j < before->in_kernel_count; j++) {
            count += before->in_kernel[j].tid == now->tid &&
                     before->in_kernel[j].switches == now->switches;
        }
    }
    return count;
}

static char *explain_tracer(struct qh_arena *arena,
                            const struct qh_watched *watched)
{
    return watched->tracer
               ? qh_arena_printf(arena, "kept stopped by its tracer %d",
                                 (int)watched->tracer)
               : qh_arena_strdup(arena, "kept stopped by a tracer");
}

static char *explain(struct qh_watch *watch, const struct qh_watched *watched)
{
    const struct qh_duration duration = qh_duration(watch->interval_ns);
    const char *time = duration.text;
    const char *wait = watched->wait ? watched->wait : "a system call";
    struct qh_arena *arena = &watch->arena;

    switch (watched->progress) {
    case QH_PROGRESS_BUSY:
        return qh_arena_strdup(arena, "the main thread runs");
    case QH_PROGRESS_TURNS:
        return qh_arena_printf(
            arena, "the main thread went to sleep %" PRIu64 " times in %s",
            watched->switches, time);
    case QH_PROGRESS_STILL:
        return qh_arena_printf(arena,
                               "the main thread has not woken from its poll "
                               "for %s: idle, or stuck in one; diagnose it if "
                               "it does not answer",
                               time);
    case QH_PROGRESS_STARVED:
        return qh_arena_printf(arena,
                               "the main thread would run and gets no CPU");
    case QH_PROGRESS_ELSEWHERE:
        return qh_arena_printf(arena,
                               "the main thread has slept in %s, not in its "
                               "poll, for %s: it may wait for a lock, a thread "
                               "or storage",
                               wait, time);
    case QH_PROGRESS_KERNEL:
        return qh_arena_printf(arena,
                               "the main thread has been in state D in %s for "
                               "%s: look at its storage",
                               wait, time);
    case QH_PROGRESS_STOPPED:
        return watched->state == 'T'
                   ? qh_arena_printf(arena,
                                     "stopped by a signal: kill -CONT %d lets "
                                     "it go on",
                                     (int)watched->pid)
                   : explain_tracer(arena, watched);
    case QH_PROGRESS_ENDED:
        return qh_arena_strdup(arena, "the main thread has ended");
    case QH_PROGRESS_UNKNOWN:
        break;
    }
    return qh_arena_printf(arena,
                           "the main thread has slept for %s; where, is shown "
                           "to root only",
                           time);
}

struct qh_error *qh_watch_judge(struct qh_watch *watch,
                                const struct qh_readings *before,
                                const struct qh_readings *after,
                                struct qh_watched *watched)
{
    const struct qh_reading *now = &after->main;
    const char *wait = wait_of(now);

    watched->threads = after->threads;
    watched->in_kernel = stuck_in_kernel(before, after);
    watched->state = now->state;
    watched->tracer = now->tracer;
    watched->switches = now->switches - before->main.switches;
    watched->wait = qh_arena_strdup(&watch->arena, wait);
    watched->progress = judge_main(watch, &before->main, now);
    if (watched->in_kernel && watched->progress != QH_PROGRESS_KERNEL &&
        watched->progress != QH_PROGRESS_STOPPED &&
        watched->progress != QH_PROGRESS_ENDED) {
        watched->progress = QH_PROGRESS_KERNEL;
        watched->why = qh_arena_printf(
            &watch->arena,
            "%zu thread%s in state D for %s: look at the storage",
            watched->in_kernel, watched->in_kernel == 1 ? "" : "s",
            qh_duration(watch->interval_ns).text);
    } else {
        watched->why = explain(watch, watched);
    }
    return (wait && !watched->wait) || !watched->why ? qh_error_no_memory()
                                                     : NULL;
}
