/* The process that the target tests examine: says what it is, takes orders.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * target_child threads|vfork|vforks
 *
 * Prints one line, "ready" and then what the test has to know as numbers (see
 * struct child_facts in target_help.h), when everything is in place. Orders are
 * single letters on stdin: p pokes the poller, which answers "poked N" with the
 * number of times that its ppoll came back for no reason; r lets the vfork
 * child go; a aborts. The end of stdin ends the process.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, LIFE_S = 120, VFORKERS = 16 };

static _Alignas(PAGE) volatile uint64_t counter[PAGE / 8];
static _Alignas(PAGE) volatile uint64_t signals[PAGE / 8];
static _Alignas(PAGE) unsigned char pattern[3 * PAGE];
/* Written by the dynamic linker, then read-only: the file has zeros here. */
static int (*const relocated)(const char *) = puts;
static pid_t tids[4];
static pthread_barrier_t ready;
static int poke_fd, counted_fd, release_pipe[2];

static void count_signal(int signal)
{
    __atomic_add_fetch(&signals[signal == SIGUSR1 ? 0 : 1], 1,
                       __ATOMIC_SEQ_CST);
}

static void arrive(unsigned index)
{
    tids[index] = (pid_t)syscall(SYS_gettid);
    pthread_barrier_wait(&ready);
}

static void *poller(void *arg)
{
    struct pollfd poll_fd = { .fd = poke_fd, .events = POLLIN };
    unsigned interrupted = 0;
    uint64_t value;

    pthread_setname_np(pthread_self(), "po) ller");
    arrive(0);
    for (;;) {
        if (ppoll(&poll_fd, 1, NULL, NULL) != 1) {
            interrupted++;
            continue;
        }
        if (read(poke_fd, &value, sizeof(value)) != sizeof(value)) {
            abort();
        }
        printf("poked %u\n", interrupted);
        fflush(stdout);
        interrupted = 0;
    }
    return NULL;
}

static void *waiter(void *arg)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t never = PTHREAD_COND_INITIALIZER;

    arrive(1);
    pthread_mutex_lock(&mutex);
    for (;;) {
        pthread_cond_wait(&never, &mutex);
    }
    return NULL;
}

static void *spinner(void *arg)
{
    arrive(2);
    for (;;) {
        counter[0]++;
        /* Leaves the CPU to the tests now and then. */
        if (counter[0] % 100000 == 0) {
            usleep(100);
        }
    }
    return NULL;
}

static void *sleeper(void *arg)
{
    arrive(3);
    for (;;) {
        sleep(LIFE_S);
    }
    return NULL;
}

/* A parent is in state D until its vfork child ends. */
static void *vforker(void *arg)
{
    char byte;

    arrive(1);
    if (vfork() == 0) {
        /* The parent's own end does not reach it. */
        syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
        syscall(SYS_read, release_pipe[0], &byte, 1);
        _exit(0);
    }
    for (;;) {
        sleep(LIFE_S);
    }
    return NULL;
}

static void *vforker_again(void *arg)
{
    const struct timespec nap = { .tv_nsec = 10000000 };

    for (;;) {
        pid_t child = vfork();
        if (child == 0) {
            syscall(SYS_nanosleep, &nap, NULL);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    return NULL;
}

static void start(void *(*body)(void *))
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, body, NULL)) {
        abort();
    }
}

/* Three pages: the middle one goes. */
static unsigned char *make_gap(void)
{
    unsigned char *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(pages, 0x5a, 3 * PAGE);
    munmap(pages + PAGE, PAGE);
    return pages;
}

static void serve(void)
{
    char order;

    while (read(STDIN_FILENO, &order, 1) == 1) {
        switch (order) {
        case 'p':
            eventfd_write(poke_fd, 1);
            break;
        case 'r':
            if (write(release_pipe[1], "r", 1) != 1) {
                abort();
            }
            break;
        case 'a':
            abort();
        }
    }
}

static void prepare(void)
{
    struct sigaction action = { .sa_handler = count_signal,
                                .sa_flags = SA_RESTART };
    struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(LIFE_S);
    setrlimit(RLIMIT_CORE, &unlimited);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGRTMIN, &action, NULL);
    for (unsigned i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (unsigned char)(i * 7 + i / 256);
    }
    poke_fd = eventfd(0, 0);
    counted_fd = eventfd(0x15, 0);
    if (pipe(release_pipe) < 0) {
        abort();
    }
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "threads";
    bool vforks = strcmp(mode, "vforks") == 0;

    prepare();
    pthread_barrier_init(&ready, NULL, 5);
    start(poller);
    start(strcmp(mode, "vfork") == 0 ? vforker : waiter);
    start(spinner);
    start(sleeper);
    pthread_barrier_wait(&ready);
    for (unsigned i = 0; vforks && i < VFORKERS; i++) {
        start(vforker_again);
    }
    printf("ready %d %d %d %d %d %llu %llu %llu %llu %d %llu %llu\n", getpid(),
           tids[0], tids[1], tids[2], tids[3],
           (unsigned long long)(uintptr_t)counter,
           (unsigned long long)(uintptr_t)signals,
           (unsigned long long)(uintptr_t)pattern,
           (unsigned long long)(uintptr_t)make_gap(), counted_fd,
           (unsigned long long)(uintptr_t)serve,
           (unsigned long long)(uintptr_t)&relocated);
    fflush(stdout);
    serve();
    return 0;
}
