/* Telling sanitizers and valgrind which stack a thread is on.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CFIX_RUNTIME_STACK_TOOLS_H
#define CFIX_RUNTIME_STACK_TOOLS_H

/*
 * Three tools follow the stack pointer and are lost when it jumps:
 * AddressSanitizer (shadow of the stack, fake stacks), ThreadSanitizer (one
 * fiber is one history of events; unannounced switches abort) and valgrind
 * (which stack a store below the pointer belongs to).  This header is all that
 * the runtime does for them, and is nothing in a plain build, except that
 * valgrind's request is compiled in wherever its header exists: a few
 * instructions that do nothing outside of it.
 *
 * Around every switch: the old stack calls stack_tools_leave() as its last
 * act, the new one stack_tools_arrive() as its first.  These two must be part
 * of the function that jumps (a return between a leave and the jump would be
 * recorded for the wrong fiber), so they are always inlined.
 */
#include <stddef.h>
#include <stdint.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CFIX_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define CFIX_TSAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define CFIX_ASAN 1
#endif
#ifdef __SANITIZE_THREAD__
#define CFIX_TSAN 1
#endif

#ifdef CFIX_ASAN
#include <pthread.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef CFIX_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define CFIX_VALGRIND 1
#endif

/* One for every stack, a thread's own included. */
struct stack_tools {
    /* The bounds of the stack, for AddressSanitizer. */
    const void *bottom;
    size_t size;
    /* AddressSanitizer's fake frames of this stack while it is left. */
    void *fake_stack;
    /* ThreadSanitizer's name for it. */
    void *fiber;
    unsigned valgrind_id;
};

/* A new stack from `stack` up, `size` bytes. */
static inline void stack_tools_register(struct stack_tools *tools, void *stack,
                                        size_t size)
{
    tools->bottom = stack;
    tools->size = size;
#ifdef CFIX_TSAN
    tools->fiber = __tsan_create_fiber(0);
#endif
#ifdef CFIX_VALGRIND
    tools->valgrind_id =
        VALGRIND_STACK_REGISTER((uintptr_t)stack, (uintptr_t)stack + size);
#endif
}

/* Before the stack is unmapped; nobody is on it. */
static inline void stack_tools_unregister(struct stack_tools *tools)
{
#ifdef CFIX_TSAN
    __tsan_destroy_fiber(tools->fiber);
#endif
#ifdef CFIX_VALGRIND
    VALGRIND_STACK_DEREGISTER(tools->valgrind_id);
#endif
    (void)tools;
}

/* Fills in what is to know of the calling thread's own stack. */
static inline void stack_tools_adopt_thread(struct stack_tools *tools)
{
#ifdef CFIX_ASAN
    pthread_attr_t attr;
    void *bottom = NULL;

    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        pthread_attr_getstack(&attr, &bottom, &tools->size);
        pthread_attr_destroy(&attr);
        tools->bottom = bottom;
    }
#endif
#ifdef CFIX_TSAN
    tools->fiber = __tsan_get_current_fiber();
#endif
    (void)tools;
}

/* About to jump to the stack `to`; the fake frames of this one are stored into
 * *ret_fake, to be given to stack_tools_arrive() when it is back. */
static inline __attribute__((always_inline)) void
stack_tools_leave(const struct stack_tools *to, void **ret_fake)
{
#ifdef CFIX_ASAN
    __sanitizer_start_switch_fiber(ret_fake, to->bottom, to->size);
#endif
#ifdef CFIX_TSAN
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
    (void)to;
    (void)ret_fake;
}

/* On this stack again, or (`fake` NULL) for the first time. */
static inline __attribute__((always_inline)) void stack_tools_arrive(void *fake)
{
#ifdef CFIX_ASAN
    __sanitizer_finish_switch_fiber(fake, NULL, NULL);
#endif
    (void)fake;
}

#endif
