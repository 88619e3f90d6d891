/* Facts of the architecture's ABI that no debug information holds.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * One implementation an architecture (arch_x86_64.c), each fact with the
 * recipe to derive it again.
 */
#ifndef QH_ARCH_H
#define QH_ARCH_H

#include "target/target.h"

struct user_regs_struct;

/* From what ptrace and NT_PRSTATUS hand out. `*ret_orig` is the number of the
 * system call that the thread is in, -1 for none. */
void qh_arch_registers(const struct user_regs_struct *user,
                       struct qh_registers *ret, uint64_t *ret_fs_base,
                       int64_t *ret_orig);

/* "rax" of 0, and so on by DWARF number; `reg` < QH_REG_COUNT. */
const char *qh_arch_register_name(unsigned reg);

/* Where a thread keeps the guard that setjmp mixes into its pointers. */
struct raddr qh_arch_pointer_guard(uint64_t fs_base);

/* The words at the start of a sigjmp_buf that hold registers; the one of the
 * pc is written last, and never 0 once it was. */
enum { QH_ARCH_JMPBUF_SLOTS = 8, QH_ARCH_JMPBUF_PC = 7 };

/* The registers that a sigsetjmp saved: callee-saved ones, sp and pc, with
 * the pointer guard taken off. */
void qh_arch_jmpbuf(const uint64_t slots[QH_ARCH_JMPBUF_SLOTS], uint64_t guard,
                    struct qh_registers *ret);

/* Start of the main executable's thread-local block (TLS variant II) for the
 * PT_TLS segment that is described. */
uint64_t qh_arch_tls_block(uint64_t fs_base, uint64_t memsz, uint64_t align,
                           uint64_t vaddr);

/* The name of a system call that threads sleep in ("ppoll"), static; NULL for
 * none or one without a name here. */
const char *qh_arch_call_name(int64_t number);

/* How a stopped thread stands to the kernel. */
enum qh_kernel_wait {
    QH_WAIT_NONE,    /* in user code, or about to return to it: runnable */
    QH_WAIT_BLOCKED, /* asleep in a system call when it was stopped */
    QH_WAIT_UNSURE,  /* that, or what it waited for had just come */
};

/*
 * Tells whether a thread was asleep. A system call that the stop interrupted
 * returns a restart code (or EINTR, from io_uring_enter and epoll) only when
 * nothing that it waited for had come: a thread whose event was already there
 * comes back with a result, and so is runnable. io_uring_enter is UNSURE when
 * it has submitted something before it waited: it then returns how much that
 * was, interrupted or not, and only its next call says more. A thread that was
 * only looked at was off the CPU in the call: it is asleep unless it was state
 * D or a signal that kept it. `*ret_name` is the
 * call's name ("ppoll"), static, or NULL for none or one without a name here.
 * Source: signal handling of Linux, arch/x86/kernel/signal.c; the codes in
 * include/linux/errno.h; io_uring_enter in io_uring/io_uring.c.
 */
enum qh_kernel_wait qh_arch_wait(const struct qh_task *task,
                                 const char **ret_name);

/* How long poll, ppoll, epoll_wait or one of its kin is to wait at most. */
enum qh_call_timeout {
    QH_TIMEOUT_UNKNOWN, /* another call; io_uring_enter has it elsewhere */
    QH_TIMEOUT_NONE,    /* it waits for ever */
    QH_TIMEOUT_ZERO,    /* it does not wait, and only looks */
    QH_TIMEOUT_SOME,
    QH_TIMEOUT_TIMESPEC /* as a struct timespec in memory says */
};

/*
 * The timeout of the system call that a thread is in, by its arguments. Where a
 * struct timespec holds it, `*ret_timespec` is its address, else 0; an
 * interrupted ppoll has counted that down to what was left.
 *
 * One that only looks does not sleep, though it looks so when it is stopped:
 * with a signal to be taken, the kernel gives a poll that has found nothing the
 * same restart code, whatever its timeout.
 * Source: do_poll, poll_select_finish in fs/select.c of Linux.
 */
enum qh_call_timeout qh_arch_timeout(const struct qh_task *task,
                                     struct raddr *ret_timespec);

#endif
