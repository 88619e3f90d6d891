/* A guest of 512 bytes: it writes to its disk, reads back and counts.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Loaded by the firmware from the disk's first sector. In rounds for ever it
 * writes 4 KiB that hold the round's number to a place that moves on, reads
 * them back and compares. Each round puts one byte to the debug port: '.' when
 * the data was right, '!' when it was not, 'E' when the disk gave an error;
 * after those it stops.
 */
    .code16
    .text
    .globl _start

    .set BUFFER, 0x8000
    .set SECTORS, 8
    .set DWORDS, SECTORS * 512 / 4
    .set FIRST, 2048      /* sector of the first place */
    .set PLACES, 1024     /* a power of 2 */
    .set DEBUG_PORT, 0xe9

_start:
    ljmp    $0, $begin
begin:
    xorw    %ax, %ax
    movw    %ax, %ds
    movw    %ax, %es
    movw    %ax, %ss
    movw    $0x7c00, %sp
    cld
    sti
    movb    %dl, drive

round:
    incl    number
    movl    number, %eax
    call    fill
    movl    number, %eax
    andl    $(PLACES - 1), %eax
    imull   $SECTORS, %eax
    addl    $FIRST, %eax
    movl    %eax, sector

    movw    $0x4300, %ax  /* extended write */
    call    transfer
    xorl    %eax, %eax
    call    fill
    movw    $0x4200, %ax  /* extended read */
    call    transfer

    movl    number, %eax
    movw    $BUFFER, %di
    movw    $DWORDS, %cx
    repe    scasl
    jne     wrong
    movb    $'.', %al
    outb    %al, $DEBUG_PORT
    jmp     round

/* The buffer with %eax. */
fill:
    movw    $BUFFER, %di
    movw    $DWORDS, %cx
    rep     stosl
    ret

transfer:
    movb    drive, %dl
    movw    $SECTORS, count
    movw    $packet, %si
    int     $0x13
    jc      failed
    ret

wrong:
    movb    $'!', %al
    jmp     stop
failed:
    movb    $'E', %al
stop:
    outb    %al, $DEBUG_PORT
    cli
    hlt
    jmp     stop

    .balign 4
packet: /* disk address packet of int 13h's extensions */
    .byte   16, 0
count:
    .word   SECTORS
    .word   BUFFER, 0
sector:
    .long   0, 0
number:
    .long   0
drive:
    .byte   0

    .org    510
    .word   0xaa55
