/* Coroutine stacks, and switching between them by ucontext and siglongjmp.
 * SPDX-License-Identifier: LGPL-2.1-or-later */

/* The checks that it adds to siglongjmp take a switch of stacks for an
 * error. */
#undef _FORTIFY_SOURCE

#include <setjmp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "atomics.h"
#include "runtime/coroutine.h"
#include "runtime/stack_tools.h"
#include "runtime/thread.h"

/* As QEMU's: 1 MiB to use, one page below it that faults. */
#define COROUTINE_STACK_SIZE (1u << 20)

/*
 * util/coroutine-ucontext.c.  `stack` is the lowest address of the mapping, so
 * that of the guard page, and `stack_size` counts it in: the stack's upper end
 * is stack + stack_size.  `env` holds the registers while the coroutine is not
 * running (while it is, they are stale); that of a leader holds the thread's
 * own stack while the thread runs a coroutine.  QEMU's own gdb script looks the
 * type up by its name as a typedef.
 */
typedef struct CoroutineUContext CoroutineUContext;
struct CoroutineUContext {
    struct Coroutine base;
    void *stack;
    size_t stack_size;
    sigjmp_buf env;
    /* Where qemu_coroutine_new() waits; used once. */
    sigjmp_buf *creator;
    struct stack_tools tools;
};

/*
 * The compiler may compute the address of a thread-local variable once and
 * keep it across a switch, after which the thread may be another.  So they are
 * reached through functions that are never inlined.
 */
static __thread struct CoroutineUContext co_tls_leader;
static __thread struct Coroutine *co_tls_current;

static __attribute__((noinline)) struct CoroutineUContext *get_ptr_leader(void)
{
    __asm__ volatile("");
    return &co_tls_leader;
}

static __attribute__((noinline)) struct Coroutine *get_current(void)
{
    __asm__ volatile("");
    return co_tls_current;
}

static __attribute__((noinline)) void set_current(struct Coroutine *co)
{
    __asm__ volatile("");
    co_tls_current = co;
}

struct Coroutine *qemu_coroutine_self(void)
{
    struct Coroutine *self = get_current();

    if (!self) {
        struct CoroutineUContext *leader = get_ptr_leader();

        stack_tools_adopt_thread(&leader->tools);
        self = &leader->base;
        SIMPLEQ_INIT(&self->co_queue_wakeup);
        set_current(self);
    }
    return self;
}

bool qemu_in_coroutine(void)
{
    struct Coroutine *self = get_current();

    return self && self->caller;
}

static struct CoroutineUContext *to_ucontext(struct Coroutine *co)
{
    return (struct CoroutineUContext *)co;
}

/* makecontext() passes ints only, so a pointer travels as two of them. */
union pointer_as_ints {
    void *pointer;
    int half[2];
};

/*
 * The bottom of every coroutine's stack.  It comes here once to note its
 * registers and go back to its creator, and a second time, by siglongjmp, to
 * run.  After that it serves one entry function after the other, as the pool
 * hands it out again.
 */
static void coroutine_trampoline(int i0, int i1)
{
    union pointer_as_ints arg = { .half = { i0, i1 } };
    CoroutineUContext *self = arg.pointer;
    struct Coroutine *co = &self->base;

    stack_tools_arrive(NULL);
    if (!sigsetjmp(self->env, 0)) {
        struct CoroutineUContext *creator = to_ucontext(get_current());

        stack_tools_leave(&creator->tools, &self->tools.fake_stack);
        siglongjmp(*self->creator, 1);
    }
    stack_tools_arrive(self->tools.fake_stack);

    for (;;) {
        co->entry(co->entry_arg);
        qemu_coroutine_switch(co, co->caller, COROUTINE_TERMINATE);
    }
}

static void *qemu_alloc_stack(size_t *ret_size)
{
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    size_t size = COROUTINE_STACK_SIZE + guard;
    void *stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (stack == MAP_FAILED) {
        cfix_die("mmap of a coroutine's stack");
    }
    if (mprotect(stack, guard, PROT_NONE)) {
        cfix_die("mprotect of a guard page");
    }
    *ret_size = size;
    return stack;
}

/* Brings `co` to where coroutine_trampoline waits to be entered. */
static void prepare_stack(struct CoroutineUContext *co)
{
    union pointer_as_ints arg = { .pointer = co };
    struct CoroutineUContext *self = to_ucontext(qemu_coroutine_self());
    ucontext_t context;
    ucontext_t back;
    sigjmp_buf creator;

    if (getcontext(&context)) {
        cfix_die("getcontext");
    }
    context.uc_link = &back;
    context.uc_stack.ss_sp = co->stack;
    context.uc_stack.ss_size = co->stack_size;
    context.uc_stack.ss_flags = 0;
    makecontext(&context, (void (*)(void))coroutine_trampoline, 2, arg.half[0],
                arg.half[1]);
    co->creator = &creator;
    if (!sigsetjmp(creator, 0)) {
        stack_tools_leave(&co->tools, &self->tools.fake_stack);
        swapcontext(&back, &context);
    }
    stack_tools_arrive(to_ucontext(get_current())->tools.fake_stack);
}

struct Coroutine *qemu_coroutine_new(void)
{
    struct CoroutineUContext *co = cfix_zalloc(sizeof(*co));

    co->stack = qemu_alloc_stack(&co->stack_size);
    stack_tools_register(&co->tools, co->stack, co->stack_size);
    prepare_stack(co);
    co->creator = NULL;
    return &co->base;
}

void qemu_coroutine_free(struct Coroutine *base)
{
    struct CoroutineUContext *co = to_ucontext(base);

    stack_tools_unregister(&co->tools);
    munmap(co->stack, co->stack_size);
    free(co);
}

/* Never inlined: it calls sigsetjmp, and its frame is what an observer looks
 * for in a suspended coroutine. */
__attribute__((noinline)) enum CoroutineAction
qemu_coroutine_switch(struct Coroutine *from_, struct Coroutine *to_,
                      enum CoroutineAction action)
{
    struct CoroutineUContext *from = to_ucontext(from_);
    struct CoroutineUContext *to = to_ucontext(to_);
    int ret;

    set_current(to_);
    ret = sigsetjmp(from->env, 0);
    if (ret == 0) {
        stack_tools_leave(&to->tools, &from->tools.fake_stack);
        siglongjmp(to->env, (int)action);
    }
    /* `from` is this stack's own coroutine again, whoever came back to it. */
    stack_tools_arrive(from->tools.fake_stack);
    return (enum CoroutineAction)ret;
}
