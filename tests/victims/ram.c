/* Guest RAM as a system emulator lists it, made to look like a coroutine.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "ram.h"

#include <stdint.h>
#include <sys/mman.h>

#include "runtime/coroutine.h"
#include "watch.h"

#define GUARD_BYTES 4096
#define RAM_BYTES (1 << 20)
/* Where gcc keeps the pointer to the context, below the top of a stack. */
#define CONTEXT_BELOW_TOP 0x28

/* Names as in QEMU's include/exec/ramlist.h and ramblock.h. */
struct RAMBlock {
    void *host;
    uint64_t max_length;
    struct {
        struct RAMBlock *le_next;
        struct RAMBlock **le_prev;
    } next;
};

struct RAMList {
    struct {
        struct RAMBlock *lh_first;
    } blocks;
};

struct RAMList ram_list;

/* As struct CoroutineUContext of cfix/runtime/coroutine_ucontext.c begins. */
struct forged_context {
    struct Coroutine base;
    void *stack;
    size_t stack_size;
};

void ram_forge_coroutine(void)
{
    static struct RAMBlock block;
    char *guard = mmap(NULL, GUARD_BYTES + RAM_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (guard == MAP_FAILED || mprotect(guard, GUARD_BYTES, PROT_NONE)) {
        watch_fail("cannot map guest RAM");
    }
    char *top = guard + GUARD_BYTES + RAM_BYTES;
    struct forged_context *forged = (void *)(guard + GUARD_BYTES);
    forged->stack = guard;
    forged->stack_size = GUARD_BYTES + RAM_BYTES;
    *(void **)(top - CONTEXT_BELOW_TOP) = forged;
    block.host = guard + GUARD_BYTES;
    block.max_length = RAM_BYTES;
    ram_list.blocks.lh_first = &block;
}
