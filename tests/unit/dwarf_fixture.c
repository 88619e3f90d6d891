/* A program of known shape: it says where everything is, then stands still.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Built by several compilers at several levels. Each line on stdout is a fact
 * for the tests to find by themselves; "ready" comes last. The main thread, a
 * second thread and one in hand-written code then wait for standard input to
 * end; a coroutine is parked.
 */
#include "dwarf_fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <ucontext.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define KEEP(value) __asm__ volatile("" : : "r"(value) : "memory")

enum colour { RED, GREEN = 7, BLUE = 200, INFRA = -3 };

struct point {
    int x;
    int y;
};
typedef struct point point; /* the same name twice, as QEMU has it */

struct forest {
    char lead;
    struct point points[3];
    union {
        struct {
            short low;
            short high;
        };
        uint32_t both;
    };
    struct {
        const volatile struct point *where;
        struct {
            long deep[2][4];
        } level;
    } named;
    unsigned narrow : 3;
    int negative : 5;
    uint64_t wide : 40;
    _Bool flag : 1;
    unsigned char byte;
    signed char tiny;
    enum colour colour;
    pthread_mutex_t lock;
    sigjmp_buf env;
    hidden_t *pointer;
    void (*callback)(void *);
    struct point tail[];
};
typedef struct {
    int only; /* known by its typedef alone */
    struct forest inside;
} anonymous;

static struct forest forest;
static anonymous nameless;
static long static_counter = 11;
long global_counter = 22;
static __thread long tls_first = 33;
__thread char tls_second = 44;
static __thread _Alignas(64) long tls_aligned = 55;

/* What a compiler leaves of a function when it splits it, and what link-time
 * optimisation makes of a static variable's name. */
long partial(long value) __asm__("partial.part.0");
NOINLINE long partial(long value)
{
    return opaque(value) + 1;
}
long renamed __asm__("renamed.lto_priv.7") = 66;

/* Only one of these tells the version of a program of QEMU. */
const char *const versions[] = { "virtio version 1.0.0",
                                 "fixture (QEMU) version 4.5.6 (made up)",
                                 "qemu version 7", "qemu version 1.2.",
                                 "qemu version 1.2.3.4" };

/* Clang keeps these as their members: one by an address of its own, one in two
 * places, so that no address stands for it. */
static struct {
    struct point *first;
} lone;
static struct {
    struct point *first;
    long second;
} pair;

static void use_split(struct point *point)
{
    lone.first = opaque(1) ? point : NULL;
    pair.first = opaque(1) ? point : NULL;
    pair.second = opaque(9);
    printf("split lone %p\nsplit pair %p\n", (void *)lone.first,
           (void *)pair.first);
}

static void describe_fields(void)
{
    FIELD(struct forest, "forest", points);
    FIELD(struct forest, "forest", points[2]);
    FIELD(struct forest, "forest", points[1].y);
    FIELD(struct forest, "forest", high);
    FIELD(struct forest, "forest", both);
    FIELD(struct forest, "forest", named.where);
    FIELD(struct forest, "forest", named.level.deep);
    FIELD(struct forest, "forest", named.level.deep[1][3]);
    FIELD(struct forest, "forest", byte);
    FIELD(struct forest, "forest", tiny);
    FIELD(struct forest, "forest", colour);
    FIELD(struct forest, "forest", lock);
    FIELD(struct forest, "forest", lock.__data.__lock);
    FIELD(struct forest, "forest", lock.__data.__owner);
    FIELD(struct forest, "forest", env);
    FIELD(struct forest, "forest", env[0].__jmpbuf);
    FIELD_AS(struct forest, "forest", env[0].__jmpbuf, env.__jmpbuf);
    FIELD(struct forest, "forest", env[0].__jmpbuf[7]);
    FIELD(struct forest, "forest", pointer);
    FIELD(struct forest, "forest", callback);
    FIELD(struct point, "point", y);
    FIELD(anonymous, "anonymous", inside.points[1].x);
    printf("sizeof forest %zu\nsizeof point %zu\nsizeof anonymous %zu\n",
           sizeof(struct forest), sizeof(point), sizeof(anonymous));
    printf("enum GREEN %d\nenum BLUE %d\nenum INFRA %d\n", GREEN, BLUE, INFRA);
    KEEP(&forest);
    KEEP(&nameless);
    KEEP(lone.first);
    KEEP(pair.first);
    KEEP(pair.second);
}

static void describe_bits(void)
{
    forest.narrow = 5;
    forest.negative = -7;
    forest.wide = UINT64_C(0xabcdef0123);
    forest.flag = 1;
    KEEP(&forest);
    printf("bits forest narrow %p 5\n", (void *)&forest);
    printf("bits forest negative %p -7\n", (void *)&forest);
    printf("bits forest wide %p %lld\n", (void *)&forest, 0xabcdef0123ll);
    printf("bits forest flag %p 1\n", (void *)&forest);
}

static void describe_tls(void)
{
    tls_first += opaque(1);
    tls_second += (char)opaque(1);
    tls_aligned += opaque(1);
    printf("tls tls_first %d %p\n", gettid(), (void *)&tls_first);
    printf("tls tls_second %d %p\n", gettid(), (void *)&tls_second);
    printf("tls tls_aligned %d %p\n", gettid(), (void *)&tls_aligned);
}

/* Its parameter dies at the call: only the caller knows it then. */
static NOINLINE long forgets(long gone, int fd)
{
    KEEP(gone);
    return block(fd) + opaque(1);
}

static NOINLINE long inner(struct point *box, long count, int fd)
{
    long kept = count * 3;
    long result = forgets(kept, fd);

    KEEP(box);
    return result + kept + box->x;
}

static inline __attribute__((always_inline)) long middle(struct point *here,
                                                         int fd)
{
    long in_middle = opaque(1234);
    long result;

    {
        long in_block = opaque(4321);
        printf("line middle %d\nready\n", __LINE__ + 1);
        result = inner(here, in_middle, fd);
        KEEP(in_block);
    }
    KEEP(in_middle);
    return result + here->y;
}

static NOINLINE long outer(int fd)
{
    struct point point_here = { 6, 7 };
    long result;

    KEEP(&point_here);
    printf("memory main outer point_here %p\n", (void *)&point_here);
    printf("line outer %d\n", __LINE__ + 1);
    result = middle(&point_here, fd);
    KEEP(&point_here);
    return result;
}

/* A coroutine as QEMU makes them: makecontext, then sigsetjmp. */
struct coroutine {
    sigjmp_buf env;
    char stack[65536];
};
static struct coroutine coroutine;
static sigjmp_buf caller;

static NOINLINE void yield_to_caller(struct coroutine *self)
{
    if (!sigsetjmp(self->env, 0)) {
        siglongjmp(caller, 1);
    }
}

static NOINLINE long entry(struct coroutine *self)
{
    long in_coroutine = opaque(777);

    yield_to_caller(self);
    return opaque(in_coroutine);
}

static void coroutine_trampoline(int low, int high)
{
    uintptr_t bits = (uint32_t)low | (uintptr_t)(uint32_t)high << 32;

    entry((struct coroutine *)bits);
    abort();
}

static void park_coroutine(void)
{
    static ucontext_t fresh;
    uintptr_t bits = (uintptr_t)&coroutine;

    getcontext(&fresh);
    fresh.uc_stack.ss_sp = coroutine.stack;
    fresh.uc_stack.ss_size = sizeof(coroutine.stack);
    makecontext(&fresh, (void (*)(void))coroutine_trampoline, 2, (int)bits,
                (int)(bits >> 32));
    if (!sigsetjmp(caller, 0)) {
        setcontext(&fresh);
    }
    printf("jmpbuf %p\n", (void *)&coroutine.env);
}

/*
 * uses_rbx(fd, buffer, bytes) measures its frame from rbx, as ld.so's resolver
 * does, and calls read_by_hand(), which never touches rbx.
 */
long uses_rbx(long fd, void *buffer, long bytes);
__asm__(".text\n"
        ".globl read_by_hand\n"
        ".type read_by_hand, @function\n"
        "read_by_hand:\n"
        ".cfi_startproc\n"
        "    xorl %eax, %eax\n"
        "    syscall\n"
        "    ret\n"
        ".cfi_endproc\n"
        ".size read_by_hand, . - read_by_hand\n"
        ".globl uses_rbx\n"
        ".type uses_rbx, @function\n"
        "uses_rbx:\n"
        ".cfi_startproc\n"
        "    pushq %rbx\n"
        ".cfi_adjust_cfa_offset 8\n"
        ".cfi_rel_offset rbx, 0\n"
        "    movq %rsp, %rbx\n"
        ".cfi_def_cfa rbx, 16\n"
        "    subq $64, %rsp\n"
        "    call read_by_hand\n"
        "    movq %rbx, %rsp\n"
        ".cfi_def_cfa rsp, 16\n"
        "    popq %rbx\n"
        ".cfi_restore rbx\n"
        ".cfi_adjust_cfa_offset -8\n"
        "    ret\n"
        ".cfi_endproc\n"
        ".size uses_rbx, . - uses_rbx\n");

static NOINLINE long calls_by_hand(int fd)
{
    char byte = 0;
    long before = opaque(888);
    long result = uses_rbx(fd, &byte, 1);

    KEEP(before);
    return result + byte;
}

/* A signal that arrives while a thread counts; its handler waits. */
static int signal_fd;

static void handler(int number)
{
    block(signal_fd);
    opaque(number); /* not a tail call: the handler stays on the stack */
}

static NOINLINE long interrupted(int fd)
{
    signal_fd = fd;
    raise(SIGUSR1);
    return opaque(2);
}

struct job {
    const char *name;
    long (*run)(int fd);
    int fd;
    pthread_barrier_t described;
};

static void *thread_main(void *opaque_job)
{
    struct job *job = opaque_job;

    printf("thread %s %d\n", job->name, gettid());
    describe_tls();
    pthread_barrier_wait(&job->described);
    job->run(job->fd);
    return NULL;
}

static void start_thread_of(struct job *job)
{
    pthread_t thread;

    pthread_barrier_init(&job->described, NULL, 2);
    pthread_create(&thread, NULL, thread_main, job);
    pthread_barrier_wait(&job->described);
}

static long run_block(int fd)
{
    return block(fd) + opaque(0);
}

int main(void)
{
    static struct job plain = { "plain", run_block, 0 };
    static struct job by_hand = { "by_hand", calls_by_hand, 0 };
    static struct job signalled = { "signalled", interrupted, 0 };

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGUSR1, handler);
    printf("symbol static_counter %p\nsymbol global_counter %p\n",
           (void *)&static_counter, (void *)&global_counter);
    printf("symbol inner %p\nsymbol main %p\n", (void *)inner, (void *)main);
    printf("symbol renamed %p\nclone partial %p\n", (void *)&renamed,
           (void *)partial);
    use_split(&forest.points[1]);
    static_counter += opaque(1) + partial(2) + versions[opaque(1)][0];
    describe_fields();
    hidden_describe();
    describe_bits();
    printf("thread main %d\n", getpid());
    describe_tls();
    park_coroutine();
    start_thread_of(&plain);
    start_thread_of(&by_hand);
    start_thread_of(&signalled);
    return (int)outer(0) & 1;
}
