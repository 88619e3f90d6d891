/* Changes to a frozen victim, as an input tells them.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An input is a head of four bytes, then records of one size, so that cutting,
 * doubling and shuffling them gives inputs that still mean something.
 */
#ifndef QH_CHANGE_H
#define QH_CHANGE_H

#include "frozen.h"

enum change_kind {
    CHANGE_WORD,     /* value, shifted by `arg` bits */
    CHANGE_POINTER,  /* to another spot, `delta` bytes off */
    CHANGE_CIRCLE,   /* to itself, `delta` bytes off */
    CHANGE_PLANT,    /* into the plant */
    CHANGE_ADD,      /* what is there, plus `delta` */
    CHANGE_FLIP,     /* bit `arg` of what is there */
    CHANGE_INT,      /* 32 bits only */
    CHANGE_COPY,     /* `arg` bytes from another spot */
    CHANGE_SWAP,     /* with another spot */
    CHANGE_FILL,     /* `arg` bytes of `value`'s lowest one */
    CHANGE_HIDE,     /* the page cannot be read */
    CHANGE_CHAIN,    /* a list without an end, of copies of what it links to */
    CHANGE_REGISTER, /* of a thread: `value`, or an address near a spot */
    CHANGE_THREAD,   /* its state, its system call, its TLS */
    CHANGE_MAP,      /* one mapping: cut, gone, other rights */
    CHANGE_PLANTED,  /* a word in the plant: a pointer to a spot, or `value` */
    CHANGE_KINDS
};

struct change_head {
    uint8_t base;   /* which victim */
    uint8_t kind;   /* of target; and 64: only looked at, 128: no clock */
    uint8_t events; /* of every eventfd; 255: cannot be told */
    uint8_t late;   /* so many records come with the second sample only */
};

struct change {
    uint8_t kind; /* modulo CHANGE_KINDS */
    uint8_t arg;
    uint16_t spot;
    uint16_t other; /* another spot, or a number */
    int16_t delta;
    uint32_t value;
};

void change_apply(struct frozen *frozen, const struct change *change);

#endif
