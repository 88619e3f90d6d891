/* Where bytes come from: a live process or a core, behind one interface.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Nothing above this room knows which of them it reads. Nothing above it
 * calls ptrace. Nothing here writes to the target.
 *
 * A live target is read with process_vm_readv through a page cache. The cache
 * is emptied when the threads are stopped; what was read during the stop goes
 * on to be served from it after the resume, so that the stacks can be unwound
 * and the objects judged in peace, as they were. What was not read during the
 * stop is read late, from the running process; qh_target_late_reads
 * counts those.
 *
 * A held target is a live one that another tracer, gdb say, keeps stopped. It
 * can have one tracer only, so qhang does not attach: memory is read as of any
 * live target, and whoever holds it hands in the registers.
 *
 * A live target may also be left running: then nothing is stopped or traced.
 * "Stopped" is only how long it is looked at; the kernel shows the stack
 * pointer, pc and arguments of threads that are off the CPU. At the end all
 * that was read is read again, and what differs is told: who ran meanwhile has
 * no registers after all, and qh_target_changed_pages() counts the pages.
 *
 * A core is read from its PT_LOAD segments. A page that the core leaves out
 * (FileSz below MemSz) is unreadable, not zero; but where NT_FILE says that a
 * read-only page belongs to a file, and the file's build-id is the one that
 * the core had mapped, it is read from the file. A core of `qhang capture`
 * tells more (note.h): the whole map, the clocks, names and eventfds, and that
 * what was never touched is zero.
 *
 * Sources of facts: ptrace(2), proc(5), core(5); fs/binfmt_elf.c for what a
 * kernel core holds, gdb's gcore for the other kind.
 */
#ifndef QH_TARGET_H
#define QH_TARGET_H

#include "base/base.h"

struct qh_target;

enum qh_target_kind { QH_TARGET_LIVE, QH_TARGET_HELD, QH_TARGET_CORE };

struct qh_live_options {
    /* A thread that has not stopped by then is left alone; 0: 50 ms. */
    int64_t stop_bound_ns;
    /* Nothing is ever stopped; see qh_target_leave_running(). */
    bool leave_running;
};

/*
 * Registers by their DWARF number on x86-64: 0 rax, 1 rdx, 2 rcx, 3 rbx, 4 rsi,
 * 5 rdi, 6 rbp, 7 rsp, 8..15 r8..r15, 16 rip (System V ABI, AMD64 supplement,
 * figure 3.36). Bit n of `known` says whether `dwarf[n]` has a value.
 */
enum {
    QH_REG_RAX = 0,
    QH_REG_RDX = 1,
    QH_REG_RBX = 3,
    QH_REG_RSI = 4,
    QH_REG_RDI = 5,
    QH_REG_RBP = 6,
    QH_REG_RSP = 7,
    QH_REG_R10 = 10,
    QH_REG_R12 = 12,
    QH_REG_RIP = 16,
    QH_REG_COUNT = 17
};

struct qh_registers {
    uint64_t dwarf[QH_REG_COUNT];
    uint32_t known;
};

/* Words of struct user_regs_struct (sys/user.h). */
enum { QH_USER_REGS = 27 };

/* What became of a thread when the target was stopped. */
enum qh_task_stop {
    QH_TASK_STOPPED,   /* registers are valid */
    QH_TASK_IN_KERNEL, /* did not stop within the bound (state D) */
    QH_TASK_UNTOLD,    /* held, but its registers were not handed in */
    QH_TASK_RUNNING,   /* left running, and it ran while it was looked at */
    QH_TASK_GONE       /* exited meanwhile */
};

struct qh_task {
    pid_t tid;
    pid_t own_tid;  /* in its own pid namespace; 0 when that is not known */
    char name[64];  /* comm, raw bytes of the target, NUL-terminated */
    char state;     /* R, S, D, T, ... before the stop; 0: a core knows none */
    char wchan[64]; /* kernel function it waits in, "" when not known */
    enum qh_task_stop stop;
    /* It was only looked at: STOPPED means that it slept all the while, and of
     * its registers those are known that the kernel shows of a sleeper. */
    bool unstopped;
    /* How often it has left the CPU, of one that is unstopped or did not stop;
     * else 0. */
    uint64_t switches;
    /* What of its registers was not handed in, in words; NULL: nothing. Owned
     * by the target. */
    const char *untold;
    struct qh_registers regs;
    /* The whole register set as NT_PRSTATUS of a core has it, for who writes
     * one; 0 unless STOPPED by qhang. */
    uint64_t user[QH_USER_REGS];
    uint64_t fs_base;
    int64_t orig_rax; /* number of the system call that it is in, else -1 */
    /* CLOCK_MONOTONIC when it last was on a CPU, as read before the first
     * stop disturbed it; 0 when not known, as of a held thread. From
     * se.exec_start in /proc/PID/task/TID/sched, kernel/sched/debug.c. */
    int64_t last_ran_ns;
};

/* One line of the memory map; addresses [start, end). */
struct qh_mapping {
    uint64_t start;
    uint64_t end;
    uint64_t file_offset;
    bool readable, writable, executable, shared;
    /* Core: bytes from `start` on that the core itself holds (what is read from
     * mapped files comes on top); live, and in a capture: all or none. */
    uint64_t present_bytes;
    const char *path; /* owned by the target; "" for anonymous memory */
};

/* One ELF file in the target's memory. */
struct qh_module {
    uint64_t start; /* lowest mapped address */
    uint64_t end;
    const char *path;   /* as the target sees it, " (deleted)" taken off */
    bool is_exe;        /* the main executable */
    bool deleted;       /* replaced or removed on disk */
    char build_id[129]; /* lower-case hex from memory or file, "" if none */
};

struct qh_process {
    enum qh_target_kind kind;
    pid_t pid;
    pid_t inner_pid;  /* what it is to itself, in a pid namespace; else pid */
    char name[64];    /* comm */
    const char *exe;  /* path of the executable, "" if not known */
    const char *core; /* path of the core, NULL for a process */
    bool unstopped;   /* live: the last stop was only a look ... */
    bool is_glance;   /* ... and a stop is to follow: it must cost little */
    pid_t held_by;    /* held, or left running: the tracer, 0 when none is seen;
                       * it need not keep any thread stopped */
    char holder[64];  /* its comm */
    /* Why the core is not whole ("cut short at ..."), or NULL. */
    const char *damage;
};

/*
 * Opens a running process; stops nothing yet. Errors: NO_PROCESS (none such,
 * a zombie, a kernel thread: the message says which), PERMISSION (names sudo
 * and CAP_SYS_PTRACE, and yama's ptrace_scope when that is what refuses),
 * TRACED (says by whom), EXITED, ARCH (not x86-64).
 * `options` may be NULL.
 */
struct qh_error *qh_target_open_live(pid_t pid,
                                     const struct qh_live_options *options,
                                     struct qh_target **ret) QH_MUST_CHECK;

/*
 * Opens a process that another tracer holds stopped; attaches to nothing.
 * `registers` is the path of a file, or "-" for standard input, with a JSON
 * object from tid (a string) to an object from register ("rax" to "r15",
 * "rip", "fs_base", "orig_rax") to value (a hex string, or a signed integer);
 * others are passed over, what is not there is not known. Errors: as of
 * qh_target_open_live() but TRACED; NOT_HELD (a thread is not stopped),
 * BAD_REGISTERS (no such object, or not these threads' registers).
 */
struct qh_error *qh_target_open_held(pid_t pid, const char *registers,
                                     struct qh_target **ret) QH_MUST_CHECK;

/*
 * Opens a core file: the kernel's or gcore's, cut short or zstd-compressed (it
 * is then unpacked into an unlinked temporary file). `exe` is the executable
 * that made it, or NULL to find it by the path and build-id in the core.
 * Errors: BAD_CORE (no ELF core, empty, cut before its notes), ARCH,
 * WRONG_EXE (build-ids differ; both are named), SYSTEM.
 */
struct qh_error *qh_target_open_core(const char *core, const char *exe,
                                     struct qh_target **ret) QH_MUST_CHECK;

/* Resumes the target if it is stopped, and frees it; NULL is fine. */
void qh_target_destroy(struct qh_target *target);
void qh_target_guard(struct qh_target **target);

const struct qh_process *qh_target_process(const struct qh_target *target);

/*
 * Stops every thread: lists and seizes until no new one appears, waits for
 * each within the bound. Empties the page cache and reads the map anew. A core
 * is always stopped; there this only prepares its tasks. A held target is seen
 * to be held. Errors: EXITED, TRACED, PERMISSION, and of a held target those of
 * its opening.
 */
struct qh_error *qh_target_stop(struct qh_target *target) QH_MUST_CHECK;
/* Puts every thread back to the state that it was in (also one that SIGSTOP
 * had stopped; signals that arrived meanwhile are delivered). Never fails: a
 * thread that is gone is gone. */
void qh_target_resume(struct qh_target *target);
/*
 * From the next stop on a live target is left running, or stopped again; not
 * to be called between a stop and its resume. For a look before the first stop,
 * which may cure a hang. Nothing changes for any other kind of target.
 */
void qh_target_leave_running(struct qh_target *target, bool running);
/* How many of the `*ret_pages` pages that were read of a target left running
 * had changed by the end of the last look; 0 for any other. */
size_t qh_target_changed_pages(const struct qh_target *target,
                               size_t *ret_pages);
/* How a live process has ended. */
struct qh_ending {
    enum {
        QH_ENDING_UNKNOWN, /* the kernel does not tell, or it runs */
        QH_ENDING_EXITED,  /* by itself, with `number` as its status */
        QH_ENDING_KILLED   /* by signal `number` */
    } how;
    int number;
};
/* Of one that was found to be gone, see qh_error_is_gone(), after an eventfd of
 * it was taken; waits until it has ended in full, 10 s at most. Once its parent
 * has waited for it, Linux tells from 6.15 on. */
struct qh_ending qh_target_ending(const struct qh_target *target);

/* A guard for the stopped target: resumes it at the end of the scope. */
void qh_target_resume_guard(struct qh_target **target);

/* How long the last stop lasted, first thread stopped to last one resumed. */
int64_t qh_target_pause_ns(const struct qh_target *target);

/* The threads at the last stop, in order of tid; owned by the target. */
const struct qh_task *qh_target_tasks(const struct qh_target *target,
                                      size_t *ret_count);
/* The memory map at the last stop (or at open), in order of address. */
const struct qh_mapping *qh_target_mappings(const struct qh_target *target,
                                            size_t *ret_count);
/* The mapping that holds `address`, or NULL. */
const struct qh_mapping *qh_target_mapping_at(const struct qh_target *target,
                                              struct raddr address);
/* The ELF files in memory, as found at open. */
const struct qh_module *qh_target_modules(const struct qh_target *target,
                                          size_t *ret_count);

/*
 * Opens the very file that is mapped, even where it was replaced on disk
 * (/proc/PID/exe, map_files) or lies in another mount namespace
 * (/proc/PID/root, no link may lead out; regular files only, not blocking).
 * `*ret_fd` is the caller's to close. Errors: NO_DEBUGINFO when it cannot be
 * had (says which path was tried), WRONG_EXE when the build-id differs.
 */
struct qh_error *qh_target_open_module(struct qh_target *target,
                                       const struct qh_module *module,
                                       int *ret_fd) QH_MUST_CHECK;

/* Whether a live target sees other files than qhang does: it lives in a
 * container, in a mount namespace or a root of its own. */
bool qh_target_has_own_root(const struct qh_target *target);
/*
 * Opens a regular file by the path that the live target knows it by; no link
 * leads out of its root. ABSENT for a core, SYSTEM when there is no such file.
 * `*ret_fd` is the caller's.
 */
struct qh_error *qh_target_open_inside(struct qh_target *target,
                                       const char *path,
                                       int *ret_fd) QH_MUST_CHECK;

/*
 * Reads `bytes` at `address`, all of them or none: UNREADABLE names the first
 * address that could not be read. Served from the page cache.
 */
struct qh_error *qh_target_read(struct qh_target *target, struct raddr address,
                                void *buffer, size_t bytes) QH_MUST_CHECK;

/* [start, end) to be brought into the cache; see qh_target_prefetch(). */
struct qh_range {
    uint64_t start;
    uint64_t end;
};
/*
 * Brings the pages of many ranges into the cache with few system calls. What
 * cannot be read is left out and fails when it is read. Only running out of
 * memory is an error.
 */
struct qh_error *qh_target_prefetch(struct qh_target *target,
                                    const struct qh_range *ranges,
                                    size_t count) QH_MUST_CHECK;
/* Whether the byte is in the cache of a process, so that to read it costs no
 * system call; of a core always. */
bool qh_target_is_cached(const struct qh_target *target, struct raddr address);
/*
 * Has memory ready in the cache of a process, for so many pages, of which so
 * many bytes will be read: the next stop meets no page fault of qhang's own.
 */
struct qh_error *qh_target_make_room(struct qh_target *target, size_t pages,
                                     size_t bytes) QH_MUST_CHECK;
/*
 * Reads past the cache, for searches through much memory: as many of `bytes`
 * as are there in one piece; `*ret_bytes` may be 0.
 */
struct qh_error *qh_target_read_some(struct qh_target *target,
                                     struct raddr address, void *buffer,
                                     size_t bytes,
                                     size_t *ret_bytes) QH_MUST_CHECK;

/* Bytes fetched so far from the process, or from the core (not from the files
 * that stand in for what it leaves out), and pages read late (see above). */
uint64_t qh_target_bytes_read(const struct qh_target *target);
uint64_t qh_target_late_reads(const struct qh_target *target);
/* Whether what was read at `address` may be younger than the stop: that part of
 * its page is a late one, or is not in the cache. Never of a target that stands
 * still. */
bool qh_target_is_late(const struct qh_target *target, struct raddr address);

/*
 * What CLOCK_MONOTONIC or CLOCK_REALTIME (`clock`, as in <time.h>) showed in
 * the target at the last stop, in ns; time namespaces are allowed for. For a
 * held target that is when its tracer stopped it, where the kernel tells when a
 * thread last ran. A capture has both; any other core stores no clock: what can be
 * told from the age of the core file, when it comes from this boot of this
 * kernel (same vdso build-id), else ABSENT. That is an upper bound: a copy of a
 * core is younger than its process.
 */
struct qh_error *qh_target_clock(struct qh_target *target, int clock,
                                 int64_t *ret_ns) QH_MUST_CHECK;

/* The counter of the eventfd `fd` of the target (/proc/PID/fdinfo).
 * ABSENT in a core that is no capture, or when `fd` is no eventfd. */
struct qh_error *qh_target_eventfd_count(struct qh_target *target, int fd,
                                         uint64_t *ret_count) QH_MUST_CHECK;

#endif
