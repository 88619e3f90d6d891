/* Which addresses of a coroutine count as known to somebody, and which do not.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Memory is laid out by hand, with a layout of the test's own, and a child
 * inherits it; that one is searched. The rest of the child's memory is this
 * test's, and knows the coroutine as well: it is told to be guest RAM.
 */
#include "qemu/references.h"
#include "target_help.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* The zone, in pages: each part but the gaps is a mapping of its own. */
enum part {
    HEAP = 1,
    ODD = 3, /* of another kind than the heap: shared, executable */
    OTHER_STACK = 5,
    STACK = 8,
    THREAD_STACK = 11,
    ZONE_PAGES = 15 /* a gap on top, too: the kernel merges neighbours */
};

/* Each stack is a guard page and two more; where in them its pointer is. */
enum { STACK_BYTES = 3 * PAGE_BYTES, SP = 2 * PAGE_BYTES };

/* The layout. */
enum {
    BASE = 0x10,
    ENV = 0x80,
    UCONTEXT_BYTES = 0x100,
    REQUEST_CO = 0,
    REQUEST_NEXT = 8,
    REQUEST_PREV = 16,
    MUTEX_LOCKED = 0,
    MUTEX_CTX = 8,
    MUTEX_HOLDER = 16,
    POLL_CO = 8
};

/* Offsets in the heap. */
enum {
    UCONTEXT = 0,
    OTHER_UCONTEXT = 0x200,
    MUTEX = 0x400,
    MORE_MUTEX = 0x440,
    LIST = 0x480,
    NEXT_REQUEST = 0x4c0,
    WORD = 0x600
};

enum { CONTEXT = 0x5000, TID = 17, PC = 0x401000, RETURN_PC = 0x402000 };

struct scene {
    unsigned char *zone;
    struct qh_layout layout;
    struct qh_qemu qemu;
    struct qh_reader reader;
    struct qh_thread thread;
    struct qh_task task;
    struct qh_thread_work thread_work;
    struct qh_coroutine_work coroutine_work[2];
    struct qh_range ram[2];
    struct qh_suspect suspect;
    struct qh_poll_frame frame;
    struct qh_stale_word stale;
    struct qh_coroutine *coroutine, *other;
};

static uint64_t part(const struct scene *scene, enum part at)
{
    return (uint64_t)(uintptr_t)scene->zone + (uint64_t)at * PAGE_BYTES;
}

static uint64_t heap(const struct scene *scene, uint64_t offset)
{
    return part(scene, HEAP) + offset;
}

static void put(uint64_t at, uint64_t value)
{
    memcpy((void *)(uintptr_t)at, &value, sizeof(value));
}

static void set_field(struct scene *scene, enum qh_field_id id, uint64_t offset)
{
    scene->layout.fields[id].present = true;
    scene->layout.fields[id].at =
        (struct qh_field){ .offset = offset, .bytes = 8, .item_bytes = 8 };
}

static void set_layout(struct scene *scene)
{
    scene->layout.ucontext_bytes = UCONTEXT_BYTES;
    set_field(scene, QH_F_UC_BASE, BASE);
    set_field(scene, QH_F_UC_ENV, ENV);
    set_field(scene, QH_F_REQUEST_CO, REQUEST_CO);
    set_field(scene, QH_F_REQUEST_NEXT, REQUEST_NEXT);
    set_field(scene, QH_F_REQUEST_PREV, REQUEST_PREV);
    set_field(scene, QH_F_CO_MUTEX_LOCKED, MUTEX_LOCKED);
    set_field(scene, QH_F_CO_MUTEX_CTX, MUTEX_CTX);
    set_field(scene, QH_F_CO_MUTEX_HOLDER, MUTEX_HOLDER);
    set_field(scene, QH_F_POLL_CO, POLL_CO);
}

static void map_part(const struct scene *scene, enum part at, size_t pages)
{
    void *start = scene->zone + (size_t)at * PAGE_BYTES;

    assert_int_equal(
        mprotect(start, pages * PAGE_BYTES, PROT_READ | PROT_WRITE), 0);
}

static struct qh_coroutine *add_coroutine(struct scene *scene, uint64_t heap_at,
                                          enum part stack)
{
    struct qh_snapshot *s = scene->reader.snapshot;
    struct qh_coroutine *coroutine =
        qh_list_add(&s->arena, &s->coroutines, &s->coroutine_count,
                    &s->room.coroutines, sizeof(*coroutine));

    assert_non_null(coroutine);
    *coroutine = (struct qh_coroutine){
        .address = qh_raddr(heap(scene, heap_at + BASE)),
        .context = qh_raddr(CONTEXT),
        .state = QH_CO_SUSPENDED,
        .stack_start = qh_raddr(part(scene, stack)),
        .stack_bytes = STACK_BYTES,
        .regs.known = 1u << QH_REG_RSP | 1u << QH_REG_RIP,
    };
    coroutine->regs.dwarf[QH_REG_RSP] = part(scene, stack) + SP;
    coroutine->regs.dwarf[QH_REG_RIP] = PC;
    return coroutine;
}

/* Two coroutines, in order of their stacks; the second is looked for. */
static void add_coroutines(struct scene *scene)
{
    struct qh_snapshot *s = scene->reader.snapshot;

    add_coroutine(scene, OTHER_UCONTEXT, OTHER_STACK);
    add_coroutine(scene, UCONTEXT, STACK);
    scene->other = &s->coroutines[0];
    scene->coroutine = &s->coroutines[1];
    scene->coroutine_work[0].ucontext = qh_raddr(heap(scene, OTHER_UCONTEXT));
    scene->coroutine_work[1].ucontext = qh_raddr(heap(scene, UCONTEXT));
    assert_null(qh_snapshot_order(s));
    scene->suspect =
        (struct qh_suspect){ .coroutine = scene->coroutine->address,
                             .sp = part(scene, STACK) + SP,
                             .pc = PC };
}

static void make_zone(struct scene *scene)
{
    scene->zone = mmap(NULL, ZONE_PAGES * PAGE_BYTES, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(scene->zone, MAP_FAILED);
    map_part(scene, HEAP, 1);
    map_part(scene, ODD, 1);
    map_part(scene, OTHER_STACK + 1, 2);
    map_part(scene, STACK + 1, 2);
    map_part(scene, THREAD_STACK + 1, 2);
    scene->ram[0] = (struct qh_range){ 0, part(scene, 0) };
    scene->ram[1] = (struct qh_range){ part(scene, ZONE_PAGES), UINT64_MAX };
}

static struct scene *scene_create(void)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    assert_non_null(scene);
    make_zone(scene);
    set_layout(scene);
    scene->qemu.suspects = &scene->suspect;
    scene->qemu.suspect_count = 1;
    scene->reader = (struct qh_reader){
        .qemu = &scene->qemu,
        .layout = &scene->layout,
        .threads = &scene->thread_work,
        .coroutines = scene->coroutine_work,
        .ram = { .blocks = scene->ram, .count = 2, .known = true },
        .has_pointer_guard = true,
    };
    assert_null(qh_snapshot_create(&scene->reader.snapshot));
    add_coroutines(scene);
    return scene;
}

static void scene_destroy(struct scene *scene)
{
    munmap(scene->zone, ZONE_PAGES * PAGE_BYTES);
    qh_snapshot_destroy(scene->reader.snapshot);
    free(scene);
}

/* A thread that is asleep, in the stack that is kept for it. */
static void add_thread(struct scene *scene)
{
    uint64_t stack = part(scene, THREAD_STACK);

    scene->task = (struct qh_task){ .tid = TID,
                                    .name = "IO io0",
                                    .stop = QH_TASK_STOPPED,
                                    .fs_base = stack + STACK_BYTES - 64 };
    scene->task.regs.dwarf[QH_REG_RSP] = stack + SP;
    scene->task.regs.dwarf[QH_REG_RIP] = PC;
    scene->thread_work.task = &scene->task;
    scene->thread.tid = TID;
    scene->reader.snapshot->threads = &scene->thread;
    scene->reader.snapshot->thread_count = 1;
}

/* What the search says of the coroutine. */
static enum qh_referred search(struct scene *scene)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            pause();
        }
    }
    scene->coroutine->referred = QH_REFERRED_UNKNOWN;
    scene->reader.target = open_live(pid);
    struct qh_error *error = qh_search_suspects(&scene->reader);
    qh_target_destroy(scene->reader.target);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_fine(error);
    return scene->coroutine->referred;
}

static void assert_counts(struct scene *scene)
{
    assert_int_equal(search(scene), QH_REFERRED_YES);
}

static void assert_counts_not(struct scene *scene)
{
    assert_int_equal(search(scene), QH_REFERRED_NO);
}

static uint64_t address(const struct scene *scene)
{
    return scene->coroutine->address.value;
}

/* ---- what counts ---- */

/* Nobody knows what it is for: that is enough. */
static void test_any_word(void **state)
{
    struct scene *scene = scene_create();

    assert_counts_not(scene);
    put(heap(scene, WORD), address(scene));
    assert_counts(scene);
    put(heap(scene, WORD), 0);
    put(heap(scene, WORD + 4), address(scene)); /* in a packed struct */
    assert_counts(scene);
    put(heap(scene, WORD + 4), part(scene, STACK) + SP + 64); /* a record */
    assert_counts(scene);
    put(heap(scene, WORD + 4), 0);
    put(part(scene, OTHER_STACK) + SP + 64, address(scene));
    assert_counts(scene);
    scene_destroy(scene);
}

static void test_register(void **state)
{
    struct scene *scene = scene_create();

    add_thread(scene);
    scene->task.regs.dwarf[QH_REG_RBX] = address(scene);
    assert_counts_not(scene); /* not known to be its value */
    scene->task.regs.known = 1u << QH_REG_RBX;
    assert_counts(scene);
    scene_destroy(scene);
}

/* ---- where nothing counts ---- */

static void test_itself(void **state)
{
    struct scene *scene = scene_create();

    put(heap(scene, UCONTEXT + ENV), part(scene, STACK) + SP + 8);
    put(part(scene, STACK) + SP + 64, address(scene));
    assert_counts_not(scene);
    /* What lies below its own stack pointer is no part of it any more. */
    put(heap(scene, WORD), part(scene, STACK) + SP - 8);
    assert_counts_not(scene);
    scene_destroy(scene);
}

static void test_left_below_a_stack_pointer(void **state)
{
    struct scene *scene = scene_create();

    add_thread(scene);
    put(part(scene, OTHER_STACK) + SP - 256, address(scene));
    put(part(scene, THREAD_STACK) + SP - 256, address(scene));
    assert_counts_not(scene);
    /* A leaf function keeps its own in the red zone. */
    put(part(scene, THREAD_STACK) + SP - 64, address(scene));
    assert_counts(scene);
    put(part(scene, THREAD_STACK) + SP - 64, 0);
    /* No thread-local variables on top: it may be a stack of signals, with
     * the thread's own below it. */
    scene->task.fs_base = 0;
    assert_counts(scene);
    scene_destroy(scene);
}

/* uc_link, to the one that created it. */
static void test_top_of_a_stack(void **state)
{
    struct scene *scene = scene_create();
    uint64_t top = part(scene, OTHER_STACK) + STACK_BYTES;

    put(top - 8, part(scene, STACK) + SP + 64);
    assert_counts_not(scene);
    put(top - 32, part(scene, STACK) + SP + 64);
    assert_counts(scene);
    scene->qemu.start_bytes = 32; /* the frame of coroutine_trampoline() */
    assert_counts_not(scene);
    scene_destroy(scene);
}

/* Registers that were taken up again, and the argument of a life that is over.
 */
static void test_others_that_went_on(void **state)
{
    struct scene *scene = scene_create();

    put(heap(scene, OTHER_UCONTEXT + ENV), address(scene));
    assert_counts(scene);
    scene->other->state = QH_CO_RUNNING;
    assert_counts_not(scene);
    scene->other->state = QH_CO_POOLED;
    assert_counts_not(scene);
    put(heap(scene, OTHER_UCONTEXT + BASE + 8), address(scene));
    assert_counts_not(scene);
    scene->other->state = QH_CO_RUNNING;
    assert_counts(scene);
    scene_destroy(scene);
}

static void map_odd(struct scene *scene, int protection, int flags)
{
    void *at = scene->zone + (size_t)ODD * PAGE_BYTES;

    assert_ptr_equal(mmap(at, PAGE_BYTES, protection,
                          flags | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                     at);
    put(part(scene, ODD), address(scene));
}

static void test_memory_of_another_kind(void **state)
{
    struct scene *scene = scene_create();

    map_odd(scene, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    assert_counts(scene);
    scene->ram[0].end = part(scene, ODD) + PAGE_BYTES; /* and the heap */
    assert_counts_not(scene);
    scene->ram[0].end = part(scene, 0);
    map_odd(scene, PROT_READ | PROT_WRITE, MAP_SHARED);
    assert_counts_not(scene);
    map_odd(scene, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE);
    assert_counts_not(scene);
    scene_destroy(scene);
}

/* A loop's thread sleeps at the depth at which it served what came before. */
static void test_gaps_of_a_poll(void **state)
{
    struct scene *scene = scene_create();
    uint64_t sp = part(scene, THREAD_STACK) + SP, cfa = sp + 512;

    add_thread(scene);
    put(cfa - 8, RETURN_PC);
    put(sp + 128, address(scene));
    assert_counts(scene);
    scene->frame = (struct qh_poll_frame){ TID, sp, PC, sp, cfa, RETURN_PC };
    scene->qemu.poll_frames = &scene->frame;
    scene->qemu.poll_frame_count = 1;
    assert_counts_not(scene);
    scene->task.regs.dwarf[QH_REG_RIP]++; /* it has gone on */
    assert_counts(scene);
    scene->task.regs.dwarf[QH_REG_RIP]--;
    scene->frame.return_address++; /* another function has */
    assert_counts(scene);
    scene->frame.return_address--;
    put(cfa - 16, address(scene)); /* its caller's registers */
    assert_counts(scene);
    scene_destroy(scene);
}

/* A register of its creator's, which a coroutine's first function has saved. */
static void test_saved_of_the_creator(void **state)
{
    struct scene *scene = scene_create();
    uint64_t at = part(scene, OTHER_STACK) + SP + 128;

    put(at, address(scene));
    scene->stale = (struct qh_stale_word){ at, address(scene) };
    scene->qemu.stale_words = &scene->stale;
    scene->qemu.stale_word_count = 1;
    assert_counts_not(scene);
    scene->stale.value++; /* there stands something else by now */
    assert_counts(scene);
    scene_destroy(scene);
}

/* ---- who knows it and wakes nobody ---- */

/* Its request, on its stack, in a list with a head and one behind it. */
static uint64_t list_request(struct scene *scene)
{
    uint64_t request = part(scene, STACK) + SP + 128;
    uint64_t next = heap(scene, NEXT_REQUEST);

    put(request + REQUEST_CO, address(scene));
    put(request + REQUEST_NEXT, next);
    put(request + REQUEST_PREV, heap(scene, LIST));
    put(heap(scene, LIST), request);
    put(next + REQUEST_CO, scene->other->address.value);
    put(next + REQUEST_PREV, request + REQUEST_NEXT);
    return request;
}

static void test_tracked_request(void **state)
{
    struct scene *scene = scene_create();
    uint64_t request = list_request(scene);

    assert_counts_not(scene);
    put(request + REQUEST_PREV, heap(scene, WORD)); /* not what leads to it */
    assert_counts(scene);
    put(request + REQUEST_PREV, heap(scene, LIST));
    put(request + REQUEST_NEXT, 0); /* nor what it leads to */
    assert_counts(scene);
    put(request + REQUEST_NEXT, heap(scene, NEXT_REQUEST));
    put(request + REQUEST_CO, scene->other->address.value); /* no such one */
    assert_counts(scene);
    put(request + REQUEST_CO, address(scene));
    put(heap(scene, WORD), request); /* somebody waits for it, say */
    assert_counts(scene);
    put(heap(scene, WORD), 0);
    scene->layout.fields[QH_F_REQUEST_PREV].present = false;
    assert_counts(scene);
    scene_destroy(scene);
}

static void hold_mutex(struct scene *scene, uint64_t at)
{
    put(heap(scene, at + MUTEX_LOCKED), 1);
    put(heap(scene, at + MUTEX_CTX), CONTEXT);
    put(heap(scene, at + MUTEX_HOLDER), address(scene));
}

static void test_held_mutex(void **state)
{
    struct scene *scene = scene_create();

    hold_mutex(scene, MUTEX);
    assert_counts(scene); /* it holds none */
    scene->coroutine->locks_held = 1;
    assert_counts_not(scene);
    put(heap(scene, MUTEX + MUTEX_LOCKED), 0);
    assert_counts(scene);
    put(heap(scene, MUTEX + MUTEX_LOCKED), 3); /* by more than there are */
    assert_counts(scene);
    put(heap(scene, MUTEX + MUTEX_LOCKED), 2);
    put(heap(scene, MUTEX + MUTEX_CTX), CONTEXT + 1);
    assert_counts(scene);
    hold_mutex(scene, MUTEX);
    hold_mutex(scene, MORE_MUTEX); /* one of them is none */
    assert_counts(scene);
    scene->coroutine->locks_held = 2;
    assert_counts_not(scene);
    scene_destroy(scene);
}

/* The BdrvPollCo of a thread that polls for its end. */
static void test_poll_of_a_thread(void **state)
{
    struct scene *scene = scene_create();
    uint64_t poll = part(scene, THREAD_STACK) + SP + 128;

    add_thread(scene);
    put(poll + POLL_CO, address(scene));
    assert_counts(scene); /* it is not its argument */
    scene->coroutine->entry_arg = qh_raddr(poll);
    assert_counts_not(scene);
    scene->task.regs.dwarf[QH_REG_RSP] = poll + 64;
    scene->task.fs_base = 0; /* else what is below is left out */
    assert_counts(scene);
    scene->reader.snapshot->thread_count = 0; /* of no thread's stack */
    assert_counts(scene);
    scene_destroy(scene);
}

/* ---- what was not looked at ---- */

static void test_not_whole(void **state)
{
    struct scene *scene = scene_create();

    scene->reader.ram.known = false;
    assert_int_equal(search(scene), QH_REFERRED_PERHAPS_NOT);
    scene->reader.ram.known = true;
    add_thread(scene);
    scene->task.stop = QH_TASK_IN_KERNEL;
    assert_int_equal(search(scene), QH_REFERRED_PERHAPS_NOT);
    scene->suspect.pc++; /* it has gone on: nobody is looked for */
    assert_int_equal(search(scene), QH_REFERRED_UNKNOWN);
    scene_destroy(scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_word),
        cmocka_unit_test(test_register),
        cmocka_unit_test(test_itself),
        cmocka_unit_test(test_left_below_a_stack_pointer),
        cmocka_unit_test(test_top_of_a_stack),
        cmocka_unit_test(test_others_that_went_on),
        cmocka_unit_test(test_memory_of_another_kind),
        cmocka_unit_test(test_gaps_of_a_poll),
        cmocka_unit_test(test_saved_of_the_creator),
        cmocka_unit_test(test_tracked_request),
        cmocka_unit_test(test_held_mutex),
        cmocka_unit_test(test_poll_of_a_thread),
        cmocka_unit_test(test_not_whole),
    };

    return cmocka_run_group_tests_name("qemu_references", tests, NULL, NULL);
}
