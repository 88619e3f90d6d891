/* victim: a program that hangs itself on purpose, for qhang to look at.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomics.h"
#include "hold.h"
#include "park.h"
#include "plant.h"
#include "runtime/main_loop.h"
#include "scenario.h"
#include "watch.h"

/* Of the faulty and the fixed program, which one this is; they are linked from
 * the same objects but for the primitives. */
#ifdef VICTIM_FIXED
static const bool i_am_fixed = true;
#else
static const bool i_am_fixed = false;
#endif

struct options {
    const struct scenario *scenario;
    unsigned coroutines;
    unsigned timers;
    unsigned long interval;
    bool interval_given;
    bool when_told;
    enum plant plant;
};

/* What the script's thread and the main thread share. */
struct stage {
    const struct options *options;
    struct world world;
    bool done;
};

static const char usage[] =
    "Usage: victim --scenario NAME [--coroutines N] [--interval SECONDS]\n"
    "              [--timers N] [--plant timer-loop|queue-loop|names|maze|ram]\n"
    "              [--when-told]\n"
    "       victim --list\n"
    "\n"
    "Brings itself into the state NAME, prints one line\n"
    "  ready PID coroutines=IN_USE pooled=POOLED\n"
    "and stays there.  When the command that the scenario is about returns\n"
    "after all, it prints \"returned\".  A byte or the end of a pipe, "
    "terminal\n"
    "or socket on stdin makes it let go of what it holds, and exit; with\n"
    "/dev/null or a file there it stays until it is killed.\n"
    "\n"
    "  --scenario NAME     see --list\n"
    "  --coroutines N      parks N more, of four kinds, in iothread io1\n"
    "  --interval SECONDS  how long the cleaner sleeps (600; erased-fired 1)\n"
    "  --timers N          arms N timers in iothread io0, 3 minutes ahead\n"
    "  --plant WHAT        damages memory or names, just before ready\n"
    "  --when-told         prints \"waiting PID\" while all is well, and "
    "begins when\n"
    "                      a byte comes on stdin\n"
    "  --list              names, and how many coroutines are in use in each\n"
    "                      (- if that varies)\n"
    "\n"
    "Exit status: 0 ended as told, 1 the state was not reached, 64 usage,\n"
    "77 not possible on this machine.\n"
    "\n"
    "Example: victim --scenario wake-lost --interval 30\n"
    "\n"
    "Scenarios:\n";

static void usage_error(const char *what, const char *value)
{
    fprintf(stderr, "victim: %s: %s\nTry victim --help.\n", what, value);
    exit(64);
}

static void help(void)
{
    const struct scenario *scenario;

    fputs(usage, stdout);
    for (int i = 0; (scenario = scenario_at(i)); i++) {
        printf("  %-19s %s\n", scenario->name, scenario->about);
    }
}

static int list(void)
{
    const struct scenario *scenario;

    for (int i = 0; (scenario = scenario_at(i)); i++) {
        if (scenario->coroutines < 0) {
            printf("%s -\n", scenario->name);
        } else {
            printf("%s %d\n", scenario->name, scenario->coroutines);
        }
    }
    return 0;
}

static unsigned long number(const char *option, const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || value > 1000000) {
        usage_error(option, text);
    }
    return value;
}

static void parse_option(struct options *options, int option)
{
    switch (option) {
    case 's':
        options->scenario = scenario_find(optarg);
        if (!options->scenario) {
            usage_error("no such scenario", optarg);
        }
        break;
    case 'c':
        options->coroutines = (unsigned)number("--coroutines", optarg);
        break;
    case 'i':
        options->interval = number("--interval", optarg);
        options->interval_given = true;
        break;
    case 't':
        options->timers = (unsigned)number("--timers", optarg);
        break;
    case 'p':
        options->plant = plant_parse(optarg);
        if (options->plant == PLANT_NONE) {
            usage_error("no such plant", optarg);
        }
        break;
    case 'w':
        options->when_told = true;
        break;
    case 'l':
        exit(list());
    case 'h':
        help();
        exit(0);
    default:
        exit(64);
    }
}

static void parse_options(struct options *options, int argc, char **argv)
{
    static const struct option longs[] = {
        { "scenario", required_argument, NULL, 's' },
        { "coroutines", required_argument, NULL, 'c' },
        { "interval", required_argument, NULL, 'i' },
        { "timers", required_argument, NULL, 't' },
        { "plant", required_argument, NULL, 'p' },
        { "when-told", no_argument, NULL, 'w' },
        { "list", no_argument, NULL, 'l' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    int option;

    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        parse_option(options, option);
    }
    if (optind < argc) {
        usage_error("what is this", argv[optind]);
    }
    if (!options->scenario) {
        usage_error("missing", "--scenario");
    }
    if (!options->interval_given) {
        options->interval = options->scenario->interval;
    }
    if (options->plant != PLANT_NONE &&
        options->coroutines < PLANT_COROUTINES) {
        options->coroutines = PLANT_COROUTINES;
    }
}

/* Becomes the sibling with the other primitives; the PID stays. */
static void exec_right_program(const struct options *options, char **argv)
{
    char path[4096];
    ssize_t length;

    if (options->scenario->fixed == i_am_fixed) {
        return;
    }
    if (i_am_fixed) {
        usage_error("needs the program without -fixed",
                    options->scenario->name);
    }
    length = readlink("/proc/self/exe", path, sizeof(path) - sizeof("-fixed"));
    if (length < 0) {
        watch_fail("cannot read the link /proc/self/exe");
    }
    strcpy(path + length, "-fixed");
    execv(path, argv);
    watch_fail("cannot execute %s", path);
}

/* Pipes, terminals and sockets tell the end of whoever started us. */
static bool stdin_tells(void)
{
    struct stat st;

    return fstat(STDIN_FILENO, &st) == 0 &&
           (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) ||
            isatty(STDIN_FILENO));
}

/* Nothing has gone wrong yet. */
static void wait_until_told(void)
{
    char byte;

    printf("waiting %d\n", (int)getpid());
    fflush(stdout);
    if (read(STDIN_FILENO, &byte, 1) != 1) {
        _exit(0);
    }
}

static void print_ready(void)
{
    unsigned in_use;
    unsigned pooled;

    qemu_coroutine_census(&in_use, &pooled);
    printf("ready %d coroutines=%u pooled=%u\n", (int)getpid(), in_use, pooled);
    fflush(stdout);
}

/* Says, once, that the command has returned, if there was one and it has. */
static void say_returned(void)
{
    static bool said;

    if (!said && qmp_last_command() && qmp_returned()) {
        printf("returned %s\n", qmp_last_command());
        fflush(stdout);
        said = true;
    }
}

/* Until told to end. */
static void stay(void)
{
    struct pollfd fds[2] = {
        { .fd = stdin_tells() ? STDIN_FILENO : -1, .events = POLLIN },
        { .fd = qmp_returned_fd(), .events = POLLIN },
    };

    while (!fds[0].revents) {
        say_returned();
        fds[1].fd = qmp_returned() ? -1 : qmp_returned_fd();
        poll(fds, 2, -1);
    }
}

static void *script_run(void *opaque)
{
    struct stage *stage = opaque;
    const struct scenario *scenario = stage->options->scenario;

    step_main_rests(&stage->world);
    park_coroutines(stage->world.io1, stage->options->coroutines);
    park_timers(stage->world.io0, stage->options->timers);
    if (stage->options->when_told) {
        wait_until_told();
    }
    scenario->run(&stage->world);
    plant(stage->options->plant, &stage->world);
    step_looked(&stage->world);
    print_ready();
    stay();
    if (scenario->release) {
        scenario->release(&stage->world);
    }
    say_returned();
    if (stage->options->plant != PLANT_NONE ||
        (scenario->end == END_STUCK && !qmp_returned())) {
        _exit(0);
    }
    cfix_store(&stage->done, true);
    qemu_notify_event();
    return NULL;
}

/* The reverse of what main() and the script have set up. */
static void tear_down(struct stage *stage)
{
    struct BlockDriverState *bs = bdrv_find_node("q0");

    if (bs) {
        bdrv_unref(bs);
    }
    park_release(stage->world.io1);
    park_release_timers();
    qmp_stop();
    iothread_destroy(stage->world.io0);
    iothread_destroy(stage->world.io1);
    qemu_cleanup_main_loop();
    qemu_coroutine_pool_drain();
}

int main(int argc, char **argv)
{
    struct options options = { 0 };
    struct stage stage = { .options = &options };
    struct QemuThread script;

    parse_options(&options, argc, argv);
    exec_right_program(&options, argv);
    if (options.scenario->prepare) {
        options.scenario->prepare();
    }
    hold_init();
    qemu_init_main_loop();
    stage.world.interval = options.interval;
    stage.world.main_tid = qemu_get_thread_id();
    stage.world.io0 = iothread_create("io0");
    stage.world.io1 = iothread_create("io1");
    qmp_start();
    qemu_thread_create(&script, "script", script_run, &stage);
    while (!cfix_load(&stage.done)) {
        main_loop_wait(false);
    }
    qemu_thread_join(&script);
    tear_down(&stage);
    return 0;
}
