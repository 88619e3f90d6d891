/* The one plain-data model of a QEMU at one instant.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The readers of qemu/ fill it; diagnose/ and report/ read it. It holds no
 * pointer into the target and does no I/O: a rule can be tested on a snapshot
 * that a test wrote by hand. Everything in it lives in its arena.
 *
 * Names that come from the target (comm, iothread ids, node names) are raw
 * bytes: whoever prints them escapes them.
 *
 * Addresses with value 0 mean "none"; times are in ns of the clock that is
 * named; QH_TIME_UNKNOWN is a time that could not be told.
 */
#ifndef QH_SNAPSHOT_H
#define QH_SNAPSHOT_H

#include "base/base.h"
#include "dwarf/dwarf.h" /* struct qh_frame */
#include "snapshot/wait.h"

#define QH_TIME_UNKNOWN INT64_MIN

/* a + b and a - b; UNKNOWN when one of them is, and when the result is no time:
 * what comes from the target may be any number. */
int64_t qh_time_add(int64_t a, int64_t b);
int64_t qh_time_sub(int64_t a, int64_t b);

/* A backtrace, innermost first. */
struct qh_backtrace {
    struct qh_frame *frames;
    size_t count;
    const char *cut; /* NULL when whole, else why it ends early */
};

/* Something that could not be read or told. */
struct qh_gap {
    const char *what;     /* "timers of iothread io0" */
    struct raddr address; /* where, or 0 */
    const char *reason;   /* "unreadable", "loop after 3 entries", ... */
    const char *advice;   /* what to try next */
};

/* X(constant, name in JSON) */
#define QH_ROLES(X)                                                            \
    X(QH_ROLE_MAIN, "main")                                                    \
    X(QH_ROLE_IOTHREAD, "iothread")                                            \
    X(QH_ROLE_VCPU, "vcpu")                                                    \
    X(QH_ROLE_RCU, "rcu")                                                      \
    X(QH_ROLE_WORKER, "worker")                                                \
    X(QH_ROLE_MIGRATION, "migration")                                          \
    X(QH_ROLE_OTHER, "other")
#define QH_COROUTINE_STATES(X)                                                 \
    X(QH_CO_SUSPENDED, "suspended") /* parked in a yield */                    \
    X(QH_CO_RUNNING, "running")     /* current in some thread */               \
    X(QH_CO_ENTERED, "entered")     /* has entered another one */              \
    X(QH_CO_POOLED, "pooled")       /* ended, its stack kept for re-use */     \
    X(QH_CO_CREATED, "created")     /* not entered yet */
/* How a sleeper's to_wake stands (struct QemuCoSleep). */
#define QH_ARMED_STATES(X)                                                     \
    X(QH_ARMED_YES, "armed")       /* to_wake names the sleeper */             \
    X(QH_ARMED_NO, "erased")       /* to_wake is NULL */                       \
    X(QH_ARMED_PENDING, "pending") /* holds a fixed version's sentinel */      \
    X(QH_ARMED_OTHER, "other")     /* names another coroutine */               \
    X(QH_ARMED_UNKNOWN, "unknown") /* could not be read */
/* What keeps the threads of a process stopped, other than qhang. X(constant,
 * name in JSON) */
#define QH_HALTS(X)                                                            \
    X(QH_HALT_NONE, NULL)                                                      \
    X(QH_HALT_SIGNAL, "signal") /* SIGSTOP, or a terminal's: state T */        \
    X(QH_HALT_TRACER, "tracer") /* a debugger, say: state t */
#define QH_CLOCKS(X)                                                           \
    X(QH_CLOCK_REALTIME, "realtime")                                           \
    X(QH_CLOCK_VIRTUAL, "virtual")                                             \
    X(QH_CLOCK_HOST, "host")                                                   \
    X(QH_CLOCK_VIRTUAL_RT, "virtual-rt")

#define QH_ENUMERATOR(constant, name) constant,
enum qh_role { QH_ROLES(QH_ENUMERATOR) };
enum qh_coroutine_state { QH_COROUTINE_STATES(QH_ENUMERATOR) };
enum qh_armed { QH_ARMED_STATES(QH_ENUMERATOR) };
enum qh_halt { QH_HALTS(QH_ENUMERATOR) };
enum qh_clock { QH_CLOCKS(QH_ENUMERATOR) QH_CLOCK_COUNT };
#undef QH_ENUMERATOR

const char *qh_role_name(enum qh_role role);
const char *qh_coroutine_state_name(enum qh_coroutine_state state);
const char *qh_armed_name(enum qh_armed armed);
const char *qh_clock_name(enum qh_clock clock);
const char *qh_halt_name(enum qh_halt halt); /* NULL: nothing does */

enum qh_thread_state {
    QH_THREAD_RUNNABLE,  /* in user code, its event has come, or it did not
                          * get to a CPU to be stopped (then no frames) */
    QH_THREAD_BLOCKED,   /* asleep in a system call, nothing has come */
    QH_THREAD_IN_KERNEL, /* did not stop: state D; no frames but of one that
                          * was not to be stopped */
};

struct qh_thread {
    pid_t tid;
    const char *name;     /* comm */
    const char *iothread; /* id of its IOThread object ("io0"), or NULL */
    enum qh_role role;
    enum qh_halt halt; /* of a live process: what kept it stopped before */
    enum qh_thread_state state;
    bool perhaps_awake;     /* BLOCKED, but its event may have come already */
    /* RUNNABLE, but may only have been made so by the stop: it was handed back
     * what it had submitted before it went to sleep. */
    bool perhaps_asleep;
    const char *blocked_in; /* system call or kernel function; NULL: none */
    /* Its wait's timeout: ns, -1 for ever, or QH_TIME_UNKNOWN. */
    int64_t timeout_ns;
    int64_t last_ran_ns;    /* CLOCK_MONOTONIC, or QH_TIME_UNKNOWN */
    /* How often it has left the CPU, of one that was not stopped; else 0. */
    uint64_t switches;
    struct raddr home;      /* its AioContext (co_tls_my_aiocontext), or 0 */
    struct raddr polls;     /* the AioContext whose aio_poll it is in, or 0 */
    struct raddr coroutine; /* the coroutine that it is inside of, or 0 */
    bool holds_bql;
    struct qh_backtrace stack; /* through the coroutine, down to its start */
};

/* A bottom half that is scheduled and not deleted. */
struct qh_bh {
    struct raddr address;
    const char *callback; /* function name, or NULL */
    const char *name;     /* QEMUBH.name, or NULL */
    bool idle; /* it wakes nobody; the loop comes by within 10 ms */
};

/* The worker threads of a context (util/thread-pool.c). */
struct qh_pool {
    struct raddr address; /* of its ThreadPoolAio; 0: none, or not read */
    struct raddr request; /* the first that no worker has taken, or 0 */
    struct raddr request_address;
    int32_t threads; /* cur_threads */
    struct raddr threads_address;
    bool starting; /* more of them are about to start */
    bool locked;
    struct raddr condition; /* what they wait on for work */
    uint64_t condition_bytes;
};

struct qh_context {
    struct raddr address;
    const char *name; /* "main", "iohandler", "iothread io0", ... */
    pid_t tid;        /* the thread whose home it is, 0 for none */
    pid_t poller;     /* the thread that is in its aio_poll, or 0 */
    int32_t notify_me;
    bool notified;
    int event_fd;          /* its notifier, -1 when not known */
    struct raddr notifier; /* address of its EventNotifier */
    int64_t event_count;   /* counter of that eventfd, -1 when not known */
    struct qh_bh *pending; /* scheduled bottom halves */
    size_t pending_count;
    struct raddr *scheduled; /* scheduled_coroutines */
    size_t scheduled_count;
    bool work_unknown;     /* those two could not be read to their ends */
    bool graph_known;      /* whether graph_readers says anything */
    int32_t graph_readers; /* BdrvGraphRWlock.reader_count, may be < 0 */
    struct raddr graph_address;
    struct qh_pool pool;
};

struct qh_timer {
    struct raddr address;
    struct raddr context; /* 0: main_loop_tlg */
    struct raddr list;    /* its QEMUTimerList */
    enum qh_clock clock;
    bool clock_enabled;
    int64_t expire_ns;    /* in its clock */
    size_t position;      /* 0: first of its list */
    const char *callback; /* function name, or NULL */
    struct raddr opaque;
};

/* Whether anything but itself refers to a suspended coroutine. */
enum qh_referred {
    QH_REFERRED_UNKNOWN, /* not looked for */
    QH_REFERRED_YES, /* or it has run on since */
    QH_REFERRED_PERHAPS_NOT, /* nothing was seen to, while the target ran on, or
                              * in what could be read */
    QH_REFERRED_NO           /* nothing does, and all of it stood still */
};

struct qh_coroutine {
    struct raddr address;
    const char *entry; /* function name, or NULL */
    struct raddr entry_arg;
    enum qh_coroutine_state state;
    struct raddr context;    /* the AioContext it last ran in, or 0 */
    struct raddr caller;     /* the coroutine that entered it, or 0 */
    const char *scheduled;   /* Coroutine.scheduled as a string, or NULL */
    struct raddr queue_next; /* co_queue_next */
    uint64_t locks_held;
    struct raddr stack_start; /* the guard page */
    uint64_t stack_bytes;
    pid_t tid; /* running or entered: the thread; else 0 */
    /* What it will go on with: those that setjmp saves, with the pointer guard
     * taken off. Of a running one what it once went on with. None are known
     * when they could not be read. */
    struct qh_registers regs;
    enum qh_referred referred;
    struct qh_backtrace stack;
};

/* The user of a sleep, and what it alone can say. */
enum qh_sleep_user {
    QH_USER_UNKNOWN,
    QH_USER_QCOW2_CACHE_CLEANER, /* block/qcow2.c, cache_clean_timer() */
    QH_USER_BLOCK_COPY, /* block/block-copy.c, block_copy_dirty_clusters() */
    QH_USER_CO_TIMEOUT, /* util/qemu-co-timeout.c, qemu_co_timeout() */
};

/* As findings and reports call it ("co-timeout"); NULL of an unknown one. */
const char *qh_sleep_user_name(enum qh_sleep_user user);

/* struct BDRVQcow2State as the cache cleaner uses it (block/qcow2.c, 10.2). */
struct qh_cache_cleaner {
    struct raddr state;  /* the BDRVQcow2State */
    uint64_t interval_s; /* cache_clean_interval; 0: told to stop */
    struct raddr interval_address;
    struct raddr timer_co;   /* cache_clean_timer_co */
    struct raddr exit_queue; /* address of cache_clean_timer_exit */
    struct raddr *waiters;   /* coroutines in that queue */
    size_t waiter_count;
    /* The thread that waits synchronously for one of the waiters (its
     * entry_arg lies in that thread's stack), or 0. */
    pid_t waiter_tid;
    const char *node; /* node name, or NULL when not known */
};

/* A coroutine parked in qemu_co_sleep() (util/qemu-coroutine-sleep.c). */
struct qh_sleeper {
    struct raddr coroutine;
    struct raddr wake;    /* address of its QemuCoSleep, 0: unknown */
    struct raddr frame_wake; /* the same as its frames have it, 0: they do not
                              * tell; `wake` may be its timer's word alone */
    struct raddr to_wake; /* its value */
    enum qh_armed armed;
    struct raddr timer;      /* its QEMUTimer, 0: unknown */
    struct raddr timer_list; /* the list that it is (was) on */
    bool timer_linked;       /* on its list; false: fired or deleted */
    size_t timer_position;   /* timer_linked: place in the list, 0 first */
    enum qh_clock clock;
    int64_t expire_ns; /* in its clock; QH_TIME_UNKNOWN if not armed */
    int64_t left_ns;   /* from now; < 0: overdue; or UNKNOWN */
    int64_t asked_ns;  /* how long it meant to sleep, or UNKNOWN */
    enum qh_sleep_user user;
    /* Of a block-copy and a co-timeout: whether it has been asked to wake. */
    bool asked_known, asked_to_wake;
    struct raddr asked_address;
    bool has_cleaner; /* whether `cleaner` could be read */
    struct qh_cache_cleaner cleaner;
};

/* block/graph-lock.c */
struct qh_graph_lock {
    bool present;  /* false: a build without it (7.2) */
    bool readable; /* false: present, but not to be read */
    int32_t has_writer;
    struct raddr has_writer_address;
    int32_t readers; /* reader_count(): all contexts + orphaned */
    int32_t orphaned;
    struct raddr orphaned_address;
    struct raddr *queue; /* coroutines in reader_queue */
    size_t queue_count;
    uint32_t num_waiters; /* global_aio_wait.num_waiters */
    struct raddr num_waiters_address;
    pid_t writer_tid; /* thread with bdrv_graph_wrlock() on its
                         stack above aio_poll, or 0 */
};

/* A QMP monitor: it takes in no command while it is suspended, which it is for
 * the sake of a request that is queued or being served (monitor/qmp.c). */
struct qh_monitor {
    struct raddr address; /* of its Monitor */
    const char *chardev;  /* label of its character device, or NULL */
    int32_t suspended;    /* suspend_cnt */
    struct raddr suspended_address;
    uint32_t requests; /* in its queue */
    struct raddr requests_address;
};

struct qh_snapshot {
    struct qh_arena arena;

    /* Of a core, and of a process that another tracer holds, there is one
     * sample: nothing in it moves. */
    enum qh_target_kind kind;
    /* Of a process that runs on while it is read: nobody was stopped. Of its
     * threads those that slept have frames; `torn` when some of the memory
     * that was read was another by the end. */
    bool unstopped;
    bool torn;
    /* Of a live process that somebody else keeps stopped: the most of what
     * keeps a thread so, and how many threads. */
    enum qh_halt halted;
    size_t halted_count;
    pid_t held_by;      /* the tracer of one that is held, or halted by it;
                         * 0 when none is to be seen */
    const char *holder; /* its comm */
    pid_t pid;
    pid_t inner_pid;  /* what it is to itself; 0: not known */
    const char *name; /* comm */
    const char *exe;
    const char *core; /* path, NULL for a process */
    const char *build_id;
    const char *version; /* "10.2.2", or NULL */

    int64_t pause_ns;     /* the stop of this sample; UNKNOWN: none was made */
    int64_t monotonic_ns; /* CLOCK_MONOTONIC at the sample, or UNKNOWN */
    uint64_t bytes_read;  /* from the target's memory or the core, since it was
                             opened: this sample and those before it */

    struct qh_thread *threads;
    size_t thread_count;
    struct qh_context *contexts;
    size_t context_count;
    struct qh_timer *timers;
    size_t timer_count;
    struct qh_coroutine *coroutines;
    size_t coroutine_count;
    size_t *coroutine_order; /* their indices by address; NULL: none made */
    struct qh_sleeper *sleepers;
    size_t sleeper_count;
    struct qh_wait *waits; /* in no order; at most one of each waiter */
    size_t wait_count;
    struct qh_graph_lock graph;
    struct raddr main_context;
    pid_t bql_owner; /* 0: nobody, or no BQL in this program */

    const char *qmp_command; /* name of the command in progress, or NULL */
    struct raddr qmp_coroutine;
    struct qh_monitor *monitors; /* of QMP; those of HMP are not read */
    size_t monitor_count;
    struct raddr qmp_dispatcher; /* who serves their requests; 0: it has
                                    ended, or is not known */
    bool qmp_busy;               /* it was woken, or is at work */
    struct raddr qmp_busy_address;

    /* How long the blocked waiter (else the main thread) has stood still, and
     * how that is known; `blocked_at_least`: only a lower bound. */
    int64_t blocked_ns;
    const char *blocked_source; /* "timer", "last-ran", NULL: not known */
    bool blocked_at_least;

    struct qh_gap *gaps;
    size_t gap_count;

    /* Capacities of the arrays above, for qh_list_add(). */
    struct {
        size_t threads, contexts, timers, coroutines, sleepers, waits, gaps,
            monitors;
    } room;
};

struct qh_error *qh_snapshot_create(struct qh_snapshot **ret) QH_MUST_CHECK;
void qh_snapshot_destroy(struct qh_snapshot *snapshot); /* NULL is fine */
void qh_snapshot_guard(struct qh_snapshot **snapshot);

/* Notes that something could not be read, once, and no more than 1000 of them;
 * strings are copied. */
struct qh_error *qh_snapshot_gap(struct qh_snapshot *snapshot, const char *what,
                                 struct raddr address, const char *reason,
                                 const char *advice) QH_MUST_CHECK;
/* The same from an error, which it takes over; only a lack of memory is
 * handed back, and that the process has exited: nothing more will be read of
 * it. NULL is fine and does nothing. */
struct qh_error *qh_snapshot_gap_error(struct qh_snapshot *snapshot,
                                       const char *what,
                                       struct qh_error *error) QH_MUST_CHECK;

/* Orders the coroutines for qh_snapshot_coroutine(), which else looks at each
 * in turn; for after the last one has been added. */
struct qh_error *qh_snapshot_order(struct qh_snapshot *snapshot) QH_MUST_CHECK;

/* Look-ups; NULL when there is none. */
const struct qh_thread *qh_snapshot_thread(const struct qh_snapshot *snapshot,
                                           pid_t tid);
const struct qh_context *qh_snapshot_context(const struct qh_snapshot *snapshot,
                                             struct raddr address);
const struct qh_coroutine *
qh_snapshot_coroutine(const struct qh_snapshot *snapshot, struct raddr address);
/* The sleeper that the coroutine is. */
const struct qh_sleeper *qh_snapshot_sleeper(const struct qh_snapshot *snapshot,
                                             struct raddr coroutine);
/* From the sample until `expire_ns` by that clock, negative when that is past;
 * QH_TIME_UNKNOWN for clocks whose time is not known. */
int64_t qh_snapshot_left_ns(const struct qh_snapshot *snapshot,
                            enum qh_clock clock, int64_t expire_ns);
/* Whether `function` is on the stack, inlined or not. */
bool qh_backtrace_has(const struct qh_backtrace *stack, const char *function);

#endif
