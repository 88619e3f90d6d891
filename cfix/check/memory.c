/* What one step does to memory: sc, tso and c11.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "check/world.h"

/* c11: one value that a location had, and what its writer released with it. */
struct value {
    uint64_t bits;
    struct view view;
};

/* c11: all values of a location in the order of their stores; the first is what
 * it held before anybody touched it. */
struct location {
    const void *addr;
    unsigned latest;
    /* The newest sequentially consistent store. */
    uint8_t latest_sc;
    struct value values[WORLD_VALUES];
};

static struct location locations[WORLD_LOCATIONS];
static unsigned n_locations;

static uint64_t peek(const void *addr, unsigned size)
{
    uint64_t bits = 0;

    memcpy(&bits, addr, size);
    return bits;
}

static void poke(void *addr, unsigned size, uint64_t bits)
{
    if (addr == world.limit_addr && world.limit_writes-- == 0) {
        world.limit_met = true;
    }
    memcpy(addr, &bits, size);
}

static void join(struct view *view, const struct view *other)
{
    for (unsigned i = 0; i < n_locations; i++) {
        if (view->seen[i] < other->seen[i]) {
            view->seen[i] = other->seen[i];
        }
    }
}

static unsigned locate(const struct check_access *access)
{
    unsigned i;

    for (i = 0; i < n_locations; i++) {
        if (locations[i].addr == access->addr) {
            return i;
        }
    }
    if (n_locations == WORLD_LOCATIONS) {
        world.overflow = true;
        return WORLD_LOCATIONS - 1;
    }
    locations[n_locations].addr = access->addr;
    locations[n_locations].values[0].bits = peek(access->addr, access->size);
    return n_locations++;
}

static bool acquires(enum check_order order)
{
    return order == CHECK_ACQUIRE || order == CHECK_SEQ_CST;
}

static bool releases(enum check_order order)
{
    return order == CHECK_RELEASE || order == CHECK_SEQ_CST;
}

/*
 * How many older values the load may read beside the latest.  Those that were
 * written since the load could first be made are left out: to read one of them
 * now is no different from having made the load while it was the latest, and
 * that is another schedule.
 */
static unsigned older_values(const struct thread *thread)
{
    unsigned i = locate(&thread->access);
    unsigned oldest = thread->view.seen[i];

    if (thread->access.order == CHECK_SEQ_CST &&
        oldest < locations[i].latest_sc) {
        oldest = locations[i].latest_sc;
    }
    return thread->latest_then > oldest ? thread->latest_then - oldest : 0;
}

/* The value that a choice stands for. */
static unsigned chosen_value(const struct thread *thread, unsigned i,
                             unsigned choice)
{
    return choice ? thread->latest_then - choice : locations[i].latest;
}

static void c11_read(struct thread *thread, unsigned i, unsigned index)
{
    thread->view.seen[i] = (uint8_t)index;
    if (acquires(thread->access.order)) {
        join(&thread->view, &locations[i].values[index].view);
    }
}

/* `rmw`: it continues what the store before it released. */
static void c11_write(struct thread *thread, unsigned i, uint64_t bits,
                      bool rmw)
{
    struct location *location = &locations[i];
    struct value *value;

    if (location->latest + 1 == WORLD_VALUES) {
        world.overflow = true;
        return;
    }
    value = &location->values[++location->latest];
    value->bits = bits;
    thread->view.seen[i] = (uint8_t)location->latest;
    memset(&value->view, 0, sizeof(value->view));
    if (releases(thread->access.order)) {
        value->view = thread->view;
    }
    if (rmw) {
        join(&value->view, &value[-1].view);
    }
    if (thread->access.order == CHECK_SEQ_CST) {
        location->latest_sc = (uint8_t)location->latest;
    }
}

/* A mutex or a loop hands on what its last user knew. */
static void c11_sync(struct thread *thread, unsigned i)
{
    join(&thread->view, &locations[i].values[0].view);
    locations[i].values[0].view = thread->view;
}

static uint64_t load(struct thread *thread, unsigned choice)
{
    const struct check_access *access = &thread->access;
    unsigned i;

    if (world.model == CHECK_C11) {
        unsigned index;

        i = locate(access);
        index = chosen_value(thread, i, choice);
        c11_read(thread, i, index);
        return locations[i].values[index].bits;
    }
    for (i = thread->n_buffered; i > 0; i--) {
        if (thread->buffer[i - 1].addr == access->addr) {
            return thread->buffer[i - 1].value;
        }
    }
    return peek(access->addr, access->size);
}

static bool is_buffered(const struct check_access *access)
{
    return world.model == CHECK_TSO && access->kind == CHECK_STORE &&
           access->order != CHECK_SEQ_CST;
}

static void store(struct thread *thread)
{
    const struct check_access *access = &thread->access;

    if (world.model == CHECK_C11) {
        unsigned i = locate(access);

        c11_write(thread, i, access->operand, false);
    }
    if (!is_buffered(access)) {
        poke(access->addr, access->size, access->operand);
    } else if (thread->n_buffered == WORLD_BUFFER) {
        world.overflow = true;
    } else {
        thread->buffer[thread->n_buffered++] = (struct buffered){
            .addr = access->addr,
            .size = access->size,
            .value = access->operand,
            .text = access->text,
            .is_string = access->is_string,
        };
    }
}

/* Whether it writes; what, into *ret_new. */
static bool modified(const struct check_access *access, uint64_t old,
                     uint64_t *ret_new)
{
    uint64_t expected = 0;

    /* Of the bytes that there are. */
    memcpy(&expected, &access->expected, access->size);
    switch (access->kind) {
    case CHECK_EXCHANGE:
        *ret_new = access->operand;
        return true;
    case CHECK_ADD:
        *ret_new = old + access->operand;
        return true;
    case CHECK_SUB:
        *ret_new = old - access->operand;
        return true;
    case CHECK_OR:
        *ret_new = old | access->operand;
        return true;
    case CHECK_AND:
        *ret_new = old & access->operand;
        return true;
    default:
        *ret_new = access->operand;
        return old == expected;
    }
}

static uint64_t modify(struct thread *thread)
{
    const struct check_access *access = &thread->access;
    uint64_t old = peek(access->addr, access->size);
    uint64_t new;
    bool writes = modified(access, old, &new);

    if (world.model == CHECK_C11) {
        unsigned i = locate(access);

        c11_read(thread, i, locations[i].latest);
        if (writes) {
            c11_write(thread, i, new, true);
        }
    }
    if (writes) {
        poke(access->addr, access->size, new);
    }
    return old;
}

void memory_pending(struct thread *thread)
{
    if (world.model == CHECK_C11 && thread->access.kind == CHECK_LOAD) {
        thread->latest_then = locations[locate(&thread->access)].latest;
    }
}

unsigned memory_choices(const struct thread *thread)
{
    const struct check_access *access = &thread->access;

    if (thread->ended) {
        return 0;
    }
    switch (access->kind) {
    case CHECK_LOAD:
        return world.model == CHECK_C11 ? older_values(thread) + 1 : 1;
    case CHECK_AWAIT:
        return peek(access->addr, access->size) ? 1 : 0;
    case CHECK_STORE:
        return is_buffered(access) || !thread->n_buffered ? 1 : 0;
    case CHECK_SYNC:
        return thread->n_buffered ? 0 : access->choices(access->addr);
    default:
        return thread->n_buffered ? 0 : 1;
    }
}

uint64_t memory_perform(struct thread *thread, unsigned choice)
{
    switch (thread->access.kind) {
    case CHECK_LOAD:
    case CHECK_AWAIT:
        return load(thread, choice);
    case CHECK_STORE:
        store(thread);
        return 0;
    case CHECK_SYNC:
        if (world.model == CHECK_C11) {
            c11_sync(thread, locate(&thread->access));
        }
        return choice;
    default:
        return modify(thread);
    }
}

void memory_flush(struct thread *thread)
{
    const struct buffered *oldest = &thread->buffer[0];

    poke(oldest->addr, oldest->size, oldest->value);
    thread->n_buffered--;
    memmove(&thread->buffer[0], &thread->buffer[1],
            thread->n_buffered * sizeof(thread->buffer[0]));
}

void memory_catch_up(struct thread *thread)
{
    for (unsigned i = 0; i < n_locations; i++) {
        thread->view.seen[i] = (uint8_t)locations[i].latest;
    }
}

struct footprint memory_footprint(const struct thread *thread)
{
    const struct check_access *access = &thread->access;
    uint64_t unused;

    if (is_buffered(access)) {
        return (struct footprint){ NULL, false };
    }
    switch (access->kind) {
    case CHECK_LOAD:
    case CHECK_AWAIT:
        return (struct footprint){ access->addr, false };
    case CHECK_CMPXCHG:
        /* One that fails is a load. */
        return (struct footprint){
            access->addr,
            modified(access, peek(access->addr, access->size), &unused)
        };
    default:
        return (struct footprint){ access->addr, true };
    }
}
