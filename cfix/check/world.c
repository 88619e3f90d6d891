/* The checked world: what is static, what things are called.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From the linker: the beginning of .data and the end of .bss. */
extern char __data_start[];
extern char _end[];

struct world world;

static size_t static_bytes(void)
{
    return (size_t)((uintptr_t)_end - (uintptr_t)__data_start);
}

void *world_copy(void)
{
    void *copy = malloc(static_bytes());

    if (!copy) {
        perror("cfix-check: malloc");
        abort();
    }
    memcpy(copy, __data_start, static_bytes());
    return copy;
}

void world_restore(const void *copy)
{
    memcpy(__data_start, copy, static_bytes());
    /* Nothing static may be kept in registers across this. */
    __asm__ volatile("" : : : "memory");
}

void check_name(const void *addr, const char *name)
{
    if (world.n_names < WORLD_NAMES) {
        world.names[world.n_names].addr = addr;
        world.names[world.n_names++].name = name;
    }
}

const char *world_value(uint64_t value, unsigned size, bool is_string,
                        char *buf, size_t buf_bytes)
{
    if (size == sizeof(void *)) {
        if (!value) {
            return "NULL";
        }
        if (is_string) {
            snprintf(buf, buf_bytes, "\"%s\"", (const char *)(uintptr_t)value);
            return buf;
        }
        for (unsigned i = 0; i < world.n_names; i++) {
            if ((uintptr_t)world.names[i].addr == value) {
                return world.names[i].name;
            }
        }
    }
    if (size == sizeof(int)) {
        snprintf(buf, buf_bytes, "%d", (int)value);
    } else {
        snprintf(buf, buf_bytes, "%#llx", (unsigned long long)value);
    }
    return buf;
}

void check_limit(const void *addr, unsigned writes)
{
    world.limit_addr = addr;
    world.limit_writes = writes;
}

void check_forget(const void *addr, unsigned size)
{
    const unsigned room = sizeof(world.forgotten) / sizeof(world.forgotten[0]);

    if (world.n_forgotten == room) {
        world.overflow = true;
        return;
    }
    world.forgotten[world.n_forgotten].addr = addr;
    world.forgotten[world.n_forgotten++].size = size;
}

bool world_is_forgotten(const void *addr)
{
    const char *byte = addr;

    for (unsigned i = 0; i < world.n_forgotten; i++) {
        if (byte >= world.forgotten[i].addr &&
            byte < world.forgotten[i].addr + world.forgotten[i].size) {
            return true;
        }
    }
    return false;
}
