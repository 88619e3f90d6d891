/* Progress of processes over time, from counters: nothing is stopped.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Two readings of /proc, some time apart, tell of each QEMU on this host
 * whether its main thread has run, and where it sleeps. No memory is read and
 * no debug information needed, so this never says "hang": a main thread that
 * has not woken from its poll is idle, or stuck. It says which process is worth
 * a diagnosis.
 *
 * A process is taken for a QEMU by the name of its executable, else by what it
 * calls itself (argv[0]); where the kernel shows neither to this user, by its
 * comm: qemu-system-*, qemu-storage-daemon, qemu-nbd, qemu-img, qemu-io,
 * qemu-kvm, kvm. One that was renamed is not found; `qhang diagnose` takes its
 * pid all the same. Those in containers are seen from the host like all others.
 *
 * Source of facts: proc(5); fs/proc/ and kernel/sched/stats.h of Linux.
 */
#ifndef QH_WATCH_H
#define QH_WATCH_H

#include "base/base.h"

/* What the main thread did between the readings. X(constant, name in JSON,
 * words of at most 16 columns, whether it is worth a diagnosis) */
#define QH_PROGRESSES(X)                                                       \
    X(QH_PROGRESS_BUSY, "busy", "looks busy", false)                           \
    X(QH_PROGRESS_TURNS, "turns", "its loop turns", false)                     \
    X(QH_PROGRESS_STILL, "still", "idle, or stuck", false)                     \
    X(QH_PROGRESS_STARVED, "starved", "gets no CPU", true)                     \
    X(QH_PROGRESS_ELSEWHERE, "elsewhere", "worth a diagnose", true)            \
    X(QH_PROGRESS_KERNEL, "kernel", "storage? state D", true)                  \
    X(QH_PROGRESS_STOPPED, "stopped", "is stopped", true)                      \
    X(QH_PROGRESS_ENDED, "ended", "main has ended", true)                      \
    X(QH_PROGRESS_UNKNOWN, "unknown", "not permitted", false)

#define QH_PROGRESS_ENUMERATOR(constant, name, words, worth) constant,
enum qh_progress { QH_PROGRESSES(QH_PROGRESS_ENUMERATOR) };
#undef QH_PROGRESS_ENUMERATOR

const char *qh_progress_name(enum qh_progress progress);
const char *qh_progress_words(enum qh_progress progress);
/* Whether it should be looked at. */
bool qh_progress_is_suspicious(enum qh_progress progress);

/* Names are raw bytes of the target. */
struct qh_watched {
    pid_t pid;         /* as this host sees it */
    pid_t inner_pid;   /* as it sees itself: another in a pid namespace */
    const char *name;  /* of its executable, without the folder */
    const char *guest; /* what -name calls the guest, or NULL */
    long uid;
    int64_t age_ns;
    size_t threads;
    /* Threads in state D at both readings, without a switch in between. */
    size_t in_kernel;
    char state;        /* of the main thread, at the second reading */
    pid_t tracer;      /* of the main thread, or 0 */
    const char *wait;  /* the system call that it sleeps in, else the kernel
                        * function; NULL: it runs, or that is not shown */
    uint64_t switches; /* of the main thread, between the readings */
    enum qh_progress progress;
    char *why; /* one line */
};

struct qh_watch {
    struct qh_arena arena;
    struct qh_watched *items; /* in order of pid */
    size_t count, room;
    int64_t interval_ns; /* between the readings */
};

/* Lists the QEMUs of this host; takes `interval_ns`. Only that /proc cannot be
 * read is an error, and lack of memory. */
struct qh_error *qh_watch_list(int64_t interval_ns,
                               struct qh_watch **ret) QH_MUST_CHECK;
void qh_watch_destroy(struct qh_watch *watch); /* NULL is fine */
void qh_watch_guard(struct qh_watch **watch);

/* Whether a program of this name, without folder, is a QEMU. */
bool qh_watch_is_qemu(const char *name);

#endif
