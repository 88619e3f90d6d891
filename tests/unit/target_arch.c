/* What the ABI says and no debug information: tried on this very program.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/arch.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static _Thread_local uint64_t own_variable = 42;

static uint64_t own_fs_base(void)
{
    uint64_t base;

    __asm__("mov %%fs:0, %0" : "=r"(base)); /* tcbhead_t.tcb points to itself */
    return base;
}

/* sigsetjmp of this libc, demangled by what qh_arch_jmpbuf() knows of it. */
static void test_jmpbuf(void **state)
{
    struct qh_registers regs;
    sigjmp_buf env;
    uint64_t sp;

    (void)state;
    if (sigsetjmp(env, 0)) {
        fail();
    }
    __asm__("mov %%rsp, %0" : "=r"(sp));
    struct raddr guard = qh_arch_pointer_guard(own_fs_base());
    qh_arch_jmpbuf((const uint64_t *)env, *(uint64_t *)guard.value, &regs);
    assert_int_equal(regs.dwarf[QH_REG_RSP], sp);
    uint64_t start = (uint64_t)test_jmpbuf;
    assert_true(regs.dwarf[QH_REG_RIP] > start &&
                regs.dwarf[QH_REG_RIP] < start + 4096);
    assert_true(regs.known & 1u << QH_REG_RBX);
    assert_string_equal(qh_arch_register_name(QH_REG_RBX), "rbx");
    assert_false(regs.known & 1u << QH_REG_RAX);
}

/* The program's own PT_TLS, and where its variable really is. */
static int find_tls(struct dl_phdr_info *info, size_t size, void *opaque)
{
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_TLS) {
            *(ElfW(Phdr) *)opaque = info->dlpi_phdr[i];
        }
    }
    return 1; /* the first is the program itself */
}

static void test_tls_block(void **state)
{
    ElfW(Phdr) tls = { 0 };

    (void)state;
    dl_iterate_phdr(find_tls, &tls);
    assert_int_equal(tls.p_type, PT_TLS);
    uint64_t block =
        qh_arch_tls_block(own_fs_base(), tls.p_memsz, tls.p_align, tls.p_vaddr);
    assert_true((uint64_t)&own_variable >= block);
    assert_true((uint64_t)(&own_variable + 1) <= block + tls.p_memsz);
    assert_int_equal(block % tls.p_align, tls.p_vaddr % tls.p_align);
}

static struct qh_task asleep_in(int64_t call, int result)
{
    struct qh_task task = { .stop = QH_TASK_STOPPED, .orig_rax = call };

    task.regs.dwarf[QH_REG_RAX] = (uint64_t)(int64_t)-result;
    return task;
}

/* Restart codes of include/linux/errno.h, which user space never sees. */
static void test_wait(void **state)
{
    const char *name;
    struct qh_task task = asleep_in(SYS_ppoll, 514);

    (void)state;
    assert_int_equal(qh_arch_wait(&task, &name), QH_WAIT_BLOCKED);
    assert_string_equal(name, "ppoll");
    task = asleep_in(SYS_io_uring_enter, EINTR);
    assert_int_equal(qh_arch_wait(&task, &name), QH_WAIT_BLOCKED);
    /* An event was there already: the call comes back with it. */
    task = asleep_in(SYS_ppoll, -1);
    assert_int_equal(qh_arch_wait(&task, &name), QH_WAIT_NONE);
    /* An interrupted read has read nothing yet only with a restart code. */
    task = asleep_in(SYS_read, EINTR);
    assert_int_equal(qh_arch_wait(&task, &name), QH_WAIT_NONE);
    task = asleep_in(-1, 512);
    assert_int_equal(qh_arch_wait(&task, &name), QH_WAIT_NONE);
    assert_null(name);
    task = asleep_in(SYS_ppoll, 514);
    task.stop = QH_TASK_IN_KERNEL;
    assert_int_equal(qh_arch_wait(&task, &name), QH_WAIT_NONE);
}

/* What io_uring_enter has submitted hides whether its wait was over. */
static void test_wait_after_submitting(void **state)
{
    const char *name;
    struct qh_task task = asleep_in(SYS_io_uring_enter, -3);

    (void)state;
    task.regs.dwarf[QH_REG_RSI] = 3;
    task.regs.dwarf[QH_REG_RDX] = 1;
    task.regs.dwarf[QH_REG_R10] = 1;
    assert_int_equal(qh_arch_wait(&task, &name), QH_WAIT_UNSURE);
    assert_string_equal(name, "io_uring_enter");
    task.regs.dwarf[QH_REG_RDX] = 0; /* it was not to wait */
    assert_int_equal(qh_arch_wait(&task, &name), QH_WAIT_NONE);
    task.regs.dwarf[QH_REG_RDX] = 1;
    task.regs.dwarf[QH_REG_RSI] = 4; /* not all: it failed before the wait */
    assert_int_equal(qh_arch_wait(&task, &name), QH_WAIT_NONE);
    task = asleep_in(SYS_io_uring_enter, 0); /* its event had come */
    task.regs.dwarf[QH_REG_RDX] = 1;
    task.regs.dwarf[QH_REG_R10] = 1;
    assert_int_equal(qh_arch_wait(&task, &name), QH_WAIT_NONE);
}

static enum qh_call_timeout timeout_of(int64_t call, unsigned reg,
                                       uint64_t argument)
{
    struct qh_task task = asleep_in(call, EINTR);
    struct raddr at;

    task.regs.dwarf[reg] = argument;
    enum qh_call_timeout timeout = qh_arch_timeout(&task, &at);
    assert_int_equal(at.value, timeout == QH_TIMEOUT_TIMESPEC ? argument : 0);
    return timeout;
}

static void test_timeout(void **state)
{
    const uint64_t minus_one = UINT32_MAX; /* above it may be anything */

    (void)state;
    assert_int_equal(timeout_of(SYS_ppoll, QH_REG_RDX, 0), QH_TIMEOUT_NONE);
    assert_int_equal(timeout_of(SYS_ppoll, QH_REG_RDX, 0x1000),
                     QH_TIMEOUT_TIMESPEC);
    assert_int_equal(timeout_of(SYS_epoll_pwait2, QH_REG_R10, 0),
                     QH_TIMEOUT_NONE);
    assert_int_equal(timeout_of(SYS_epoll_pwait2, QH_REG_R10, 0x1000),
                     QH_TIMEOUT_TIMESPEC);
    assert_int_equal(timeout_of(SYS_poll, QH_REG_RDX, minus_one),
                     QH_TIMEOUT_NONE);
    assert_int_equal(timeout_of(SYS_poll, QH_REG_RDX, 0), QH_TIMEOUT_ZERO);
    assert_int_equal(timeout_of(SYS_poll, QH_REG_RDX, 10), QH_TIMEOUT_SOME);
    assert_int_equal(timeout_of(SYS_epoll_wait, QH_REG_R10, minus_one),
                     QH_TIMEOUT_NONE);
    assert_int_equal(timeout_of(SYS_epoll_wait, QH_REG_R10, 0),
                     QH_TIMEOUT_ZERO);
    assert_int_equal(timeout_of(SYS_epoll_pwait, QH_REG_R10, 10),
                     QH_TIMEOUT_SOME);
    assert_int_equal(timeout_of(SYS_io_uring_enter, QH_REG_RDX, 0),
                     QH_TIMEOUT_UNKNOWN);
}

/* Lets the child go on to where it next enters or leaves a system call. */
static void go_on(pid_t child, struct qh_task *task)
{
    struct user_regs_struct user;
    int status;

    assert_int_equal(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(ptrace(PTRACE_GETREGS, child, NULL, &user), 0);
    qh_arch_registers(&user, &task->regs, &task->fs_base, &task->orig_rax);
}

/* The child, asked to stop in the very moment in which it calls ppoll(). */
static struct qh_task stopped_in_ppoll(pid_t child)
{
    struct qh_task task = { .stop = QH_TASK_STOPPED, .orig_rax = -1 };
    int status;

    assert_int_equal(waitpid(child, &status, 0), child); /* its SIGSTOP */
    assert_int_equal(ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_EXITKILL),
                     0);
    while (task.orig_rax != SYS_ppoll) {
        go_on(child, &task);
    }
    assert_int_equal(kill(child, SIGSTOP), 0);
    go_on(child, &task);
    return task;
}

/* The kernel gives a stopped ppoll() that was not to wait the same code as one
 * that slept: only the timeout tells the two apart. */
static void test_only_looks(void **state)
{
    const struct timespec zero = { 0 };
    const char *name;
    struct raddr at;

    (void)state;
    pid_t child = fork();
    if (!child) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        syscall(SYS_ppoll, NULL, 0, &zero, NULL, 8);
        _exit(0);
    }
    struct qh_task task = stopped_in_ppoll(child);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(qh_arch_wait(&task, &name), QH_WAIT_BLOCKED);
    assert_int_equal(qh_arch_timeout(&task, &at), QH_TIMEOUT_TIMESPEC);
    assert_int_equal(at.value, &zero);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jmpbuf),
        cmocka_unit_test(test_tls_block),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_wait_after_submitting),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_only_looks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
