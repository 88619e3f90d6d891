/* x86-64: registers, jmp_buf, thread-local storage, waiting.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/arch.h"

#include <string.h>
#include <sys/syscall.h>
#include <sys/user.h>

/* fs:0x30 is tcbhead_t.pointer_guard. To derive it again: disassemble the
 * start of __sigsetjmp in libc, which xors rbp, rsp and rip with it. */
#define POINTER_GUARD_OFFSET 0x30
/* The same code rotates left by this much after the xor. */
#define POINTER_ROTATION 17

/* What the kernel puts into rax of a system call that it means to restart;
 * user space never sees these, a tracer does. */
enum {
    ERESTARTSYS = 512,
    ERESTARTNOINTR = 513,
    ERESTARTNOHAND = 514,
    ERESTART_RESTARTBLOCK = 516,
    INTERRUPTED = 4 /* EINTR */
};

void qh_arch_registers(const struct user_regs_struct *user,
                       struct qh_registers *ret, uint64_t *ret_fs_base,
                       int64_t *ret_orig)
{
    const uint64_t dwarf[QH_REG_COUNT] = {
        user->rax, user->rdx, user->rcx, user->rbx, user->rsi, user->rdi,
        user->rbp, user->rsp, user->r8,  user->r9,  user->r10, user->r11,
        user->r12, user->r13, user->r14, user->r15, user->rip,
    };

    memcpy(ret->dwarf, dwarf, sizeof(dwarf));
    ret->known = (1u << QH_REG_COUNT) - 1;
    *ret_fs_base = user->fs_base;
    *ret_orig = (int64_t)user->orig_rax;
}

const char *qh_arch_register_name(unsigned reg)
{
    static const char *const names[QH_REG_COUNT] = {
        "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8",
        "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "rip",
    };

    return names[reg];
}

struct raddr qh_arch_pointer_guard(uint64_t fs_base)
{
    return qh_raddr(fs_base + POINTER_GUARD_OFFSET);
}

static uint64_t demangle(uint64_t value, uint64_t guard)
{
    value = value >> POINTER_ROTATION | value << (64 - POINTER_ROTATION);
    return value ^ guard;
}

/* Order of the slots: JB_RBX .. JB_PC of glibc's sysdeps/x86_64. */
void qh_arch_jmpbuf(const uint64_t slots[QH_ARCH_JMPBUF_SLOTS], uint64_t guard,
                    struct qh_registers *ret)
{
    static const struct {
        unsigned reg;
        bool mangled;
    } order[QH_ARCH_JMPBUF_SLOTS] = {
        { QH_REG_RBX, false },     { QH_REG_RBP, true },
        { QH_REG_R12, false },     { QH_REG_R12 + 1, false },
        { QH_REG_R12 + 2, false }, { QH_REG_R12 + 3, false },
        { QH_REG_RSP, true },      { QH_REG_RIP, true },
    };

    memset(ret, 0, sizeof(*ret));
    for (unsigned i = 0; i < QH_ARCH_JMPBUF_SLOTS; i++) {
        ret->dwarf[order[i].reg] =
            order[i].mangled ? demangle(slots[i], guard) : slots[i];
        ret->known |= 1u << order[i].reg;
    }
}

/* The block ends at the thread pointer; its start keeps p_vaddr's place within
 * the alignment (ELF Handling For Thread-Local Storage, section 3.4.6; glibc
 * elf/dl-tls.c). */
uint64_t qh_arch_tls_block(uint64_t fs_base, uint64_t memsz, uint64_t align,
                           uint64_t vaddr)
{
    if (!align || (align & (align - 1))) {
        align = 1;
    }
    uint64_t first_byte = -vaddr & (align - 1);
    uint64_t bytes = memsz - first_byte;
    return fs_base - ((bytes + align - 1) / align * align + first_byte);
}

static const struct {
    long number;
    const char *name;
    bool eintr; /* ends with EINTR instead of a restart code */
} calls[] = {
    { SYS_poll, "poll", true },
    { SYS_ppoll, "ppoll", true },
    { SYS_select, "select", false },
    { SYS_pselect6, "pselect6", false },
    { SYS_epoll_wait, "epoll_wait", true },
    { SYS_epoll_pwait, "epoll_pwait", true },
    { SYS_epoll_pwait2, "epoll_pwait2", true },
    { SYS_io_uring_enter, "io_uring_enter", true },
    { SYS_futex, "futex", true },
    { SYS_restart_syscall, "restart_syscall", true },
    { SYS_clock_nanosleep, "clock_nanosleep", true },
    { SYS_nanosleep, "nanosleep", true },
    { SYS_pause, "pause", false },
    { SYS_rt_sigtimedwait, "rt_sigtimedwait", true },
    { SYS_rt_sigsuspend, "rt_sigsuspend", false },
    { SYS_read, "read", false },
    { SYS_write, "write", false },
    { SYS_recvmsg, "recvmsg", false },
    { SYS_sendmsg, "sendmsg", false },
    { SYS_recvfrom, "recvfrom", false },
    { SYS_sendto, "sendto", false },
    { SYS_accept4, "accept4", false },
    { SYS_accept, "accept", false },
    { SYS_connect, "connect", false },
    { SYS_wait4, "wait4", false },
    { SYS_waitid, "waitid", false },
    { SYS_ioctl, "ioctl", true },
    { SYS_fsync, "fsync", false },
    { SYS_fdatasync, "fdatasync", false },
    { SYS_preadv, "preadv", false },
    { SYS_pwritev, "pwritev", false },
    { SYS_pread64, "pread64", false },
    { SYS_pwrite64, "pwrite64", false },
    { SYS_io_getevents, "io_getevents", true },
    { SYS_vfork, "vfork", false },
    { SYS_flock, "flock", false },
    { SYS_fcntl, "fcntl", false },
    { SYS_openat, "openat", false },
};

const char *qh_arch_call_name(int64_t number)
{
    for (size_t i = 0; i < QH_COUNT(calls); i++) {
        if (calls[i].number == number) {
            return calls[i].name;
        }
    }
    return NULL;
}

/* Whether io_uring_enter(fd, to_submit, min_complete, flags) was to wait, and
 * came back with what it had submitted. */
static bool has_submitted(const struct qh_task *task)
{
    enum { GETEVENTS = 1 }; /* IORING_ENTER_GETEVENTS, linux/io_uring.h */
    const uint64_t *regs = task->regs.dwarf;
    uint32_t to_submit = (uint32_t)regs[QH_REG_RSI];

    return task->orig_rax == SYS_io_uring_enter && to_submit &&
           regs[QH_REG_RAX] == to_submit && (uint32_t)regs[QH_REG_RDX] &&
           (regs[QH_REG_R10] & GETEVENTS);
}

enum qh_kernel_wait qh_arch_wait(const struct qh_task *task,
                                 const char **ret_name)
{
    int64_t result = -(int64_t)task->regs.dwarf[QH_REG_RAX];
    bool eintr = false;

    *ret_name = NULL;
    if (task->orig_rax < 0 || task->stop != QH_TASK_STOPPED) {
        return QH_WAIT_NONE;
    }
    for (size_t i = 0; i < QH_COUNT(calls); i++) {
        if (calls[i].number == task->orig_rax) {
            *ret_name = calls[i].name;
            eintr = calls[i].eintr;
        }
    }
    if (task->unstopped) {
        return task->state == 'S' ? QH_WAIT_BLOCKED : QH_WAIT_NONE;
    }
    if (has_submitted(task)) {
        return QH_WAIT_UNSURE;
    }
    bool restarts = result == ERESTARTSYS || result == ERESTARTNOINTR ||
                    result == ERESTARTNOHAND ||
                    result == ERESTART_RESTARTBLOCK ||
                    (eintr && result == INTERRUPTED);
    return restarts ? QH_WAIT_BLOCKED : QH_WAIT_NONE;
}

static enum qh_call_timeout of_ms(uint64_t argument)
{
    int32_t ms = (int32_t)argument;

    return ms < 0 ? QH_TIMEOUT_NONE : ms ? QH_TIMEOUT_SOME : QH_TIMEOUT_ZERO;
}

static enum qh_call_timeout of_timespec(uint64_t argument,
                                        struct raddr *ret_timespec)
{
    *ret_timespec = qh_raddr(argument);
    return argument ? QH_TIMEOUT_TIMESPEC : QH_TIMEOUT_NONE;
}

/* Arguments stand in rdi, rsi, rdx, r10 (System V ABI, A.2.1); the kernel
 * leaves them there. */
enum qh_call_timeout qh_arch_timeout(const struct qh_task *task,
                                     struct raddr *ret_timespec)
{
    const uint64_t *regs = task->regs.dwarf;

    *ret_timespec = qh_raddr(0);
    switch (task->orig_rax) {
    case SYS_ppoll:
        return of_timespec(regs[QH_REG_RDX], ret_timespec);
    case SYS_poll:
        return of_ms(regs[QH_REG_RDX]);
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
        return of_ms(regs[QH_REG_R10]);
    case SYS_epoll_pwait2:
        return of_timespec(regs[QH_REG_R10], ret_timespec);
    default:
        return QH_TIMEOUT_UNKNOWN;
    }
}
