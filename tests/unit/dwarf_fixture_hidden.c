/* The fixture's second unit: a struct that the first one only declares.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf_fixture.h"

#include <stdio.h>
#include <unistd.h>

struct hidden {
    char lead[3];
    long secret;
};

static struct hidden instance;

void hidden_describe(void)
{
    instance.secret = opaque(5);
    FIELD(struct hidden, "hidden_t", secret);
    FIELD(struct hidden, "hidden", secret);
    printf("sizeof hidden_t %zu\n", sizeof(struct hidden));
}

__attribute__((noinline)) long opaque(long value)
{
    __asm__ volatile("" : "+r"(value));
    return value;
}

__attribute__((noinline)) long block(int fd)
{
    char byte = 0;
    long result = read(fd, &byte, 1);

    __asm__ volatile("" : "+r"(result) : "r"(&byte) : "memory");
    return result + byte;
}
