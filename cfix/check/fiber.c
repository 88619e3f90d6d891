/* Stacks to run threads and coroutines of the checked world on.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check/fiber.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define STACK_BYTES (64u * 1024)

struct fiber {
    /* Where it stopped. */
    jmp_buf at;
    /* At the bottom of its stack, ready to call entry(arg). */
    jmp_buf bottom;
    void (*entry)(void *arg);
    void *arg;
    ucontext_t first;
    ucontext_t creator;
};

/* makecontext passes ints only; read once, before anybody else is created. */
static struct fiber *being_created;

static void stand_at_bottom(void)
{
    struct fiber *volatile fiber = being_created;

    if (!_setjmp(fiber->bottom)) {
        swapcontext(&fiber->first, &fiber->creator);
    }
    fiber->entry(fiber->arg);
    abort();
}

struct fiber *fiber_create_leader(void)
{
    struct fiber *fiber = calloc(1, sizeof(*fiber));

    if (!fiber) {
        perror("cfix-check: calloc");
        abort();
    }
    return fiber;
}

struct fiber *fiber_create(void)
{
    struct fiber *fiber = fiber_create_leader();
    void *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (stack == MAP_FAILED || getcontext(&fiber->first)) {
        perror("cfix-check: a stack");
        abort();
    }
    fiber->first.uc_stack.ss_sp = stack;
    fiber->first.uc_stack.ss_size = STACK_BYTES;
    being_created = fiber;
    makecontext(&fiber->first, stand_at_bottom, 0);
    swapcontext(&fiber->creator, &fiber->first);
    return fiber;
}

void fiber_start(struct fiber *fiber, void (*entry)(void *arg), void *arg)
{
    fiber->entry = entry;
    fiber->arg = arg;
    memcpy(&fiber->at, &fiber->bottom, sizeof(fiber->at));
}

void fiber_switch(struct fiber *from, struct fiber *to)
{
    if (!_setjmp(from->at)) {
        _longjmp(to->at, 1);
    }
}
