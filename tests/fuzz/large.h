/* A function of the program's that counts beyond 64 bits.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Put in front of a source by seeds.py. It mentions the string by which `qhang
 * verify` finds the sleep, so that its paths are followed. */
__attribute__((used)) static const char *large(void)
{
    const char *text = "qemu_co_sleep_ns";

    __asm__ volatile("movabs $0x7fffffffffffffff, %%rax\n\t"
                     "lea 16(%%rax,%%rax,8), %%rcx\n\t"
                     "mov (%%rcx), %%rdx\n\t"
                     "mov %%rsp, %%rcx\n\t"
                     "add %%rax, %%rcx\n\t"
                     "add %%rax, %%rcx\n\t"
                     "movabs $0x8000000000000000, %%rdx\n\t"
                     "sub %%rdx, %%rcx\n\t"
                     "sub %%rdx, %%rax\n\t"
                     "lea (%%rdx,%%rdx,2), %%rcx\n\t"
                     "mov 16(%%rcx), %%rcx"
                     :
                     :
                     : "rax", "rcx", "rdx", "memory");
    return text;
}
