"""A guest that fills its RAM with a pattern that is nowhere else.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import re
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Sequence

import labqemu  # finds race
from race.qemu import die_with_parent

PATTERN = b"QHANG-GUEST-RAM!"
_KEY = 0x5a
_START_TIMEOUT_S = 120.0
_SEABIOS = Path("/usr/share/seabios")

# The pattern lies in the boot sector under a key, so that neither the image
# nor what QEMU keeps of it has it in clear.  From 128 KiB up to 512 KiB; then
# it says so on the debug port.
_SOURCE = """
    .code16
    .globl _start
_start:
    xorw %ax, %ax
    movw %ax, %ds
    cld
    movw $0x2000, %bx
segment:
    movw %bx, %es
    xorw %di, %di
again:
    movw $secret, %si
    movw $16, %cx
byte:
    lodsb
    xorb $KEY, %al
    stosb
    loop byte
    testw %di, %di
    jnz again
    addw $0x1000, %bx
    cmpw $0x8000, %bx
    jb segment
    movb $'R', %al
    outb %al, $0xe9
stop:
    hlt
    jmp stop
secret:
    .byte SECRET
    .org 510
    .word 0xaa55
"""


def boot_sector(folder: Path) -> Path:
    """Assembles it into a raw image."""
    secret = ", ".join(str(byte ^ _KEY) for byte in PATTERN)
    source = folder / "boot.s"
    source.write_text(_SOURCE.replace("KEY", str(_KEY))
                      .replace("SECRET", secret))
    image = folder / "boot.img"
    for argv in (["as", "--32", "-o", folder / "boot.o", source],
                 ["ld", "-m", "elf_i386", "-Ttext", "0x7c00", "-o",
                  folder / "boot.elf", folder / "boot.o"],
                 ["objcopy", "-O", "binary", "-j", ".text",
                  folder / "boot.elf", image]):
        subprocess.run([str(word) for word in argv], check=True)
    # A disk of one sector is none to SeaBIOS.
    with image.open("r+b") as file:
        file.truncate(1 << 20)
    return image


@contextmanager
def pattern_guest(program: Path, folder: Path,
                  options: Sequence[str]) -> Iterator[int]:
    """The pid of a QEMU whose guest has filled its RAM."""
    image = boot_sector(folder)
    said = folder / "said"
    log = (folder / "log").open("wb")
    with subprocess.Popen(
            [str(program), "-M", "pc", "-L", str(_SEABIOS), "-nodefaults",
             "-display", "none", "-vga", "none", "-debugcon", f"file:{said}",
             "-drive", f"file={image},format=raw,if=ide", *options],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=die_with_parent) as process:
        try:
            end = time.monotonic() + _START_TIMEOUT_S
            while not said.is_file() or said.read_bytes() != b"R":
                assert process.poll() is None and time.monotonic() < end, \
                    (folder / "log").read_text(errors="replace")
                time.sleep(0.01)
            yield process.pid
        finally:
            process.kill()


def pattern_places(pid: int) -> list[str]:
    """The lines of the memory map whose memory has the pattern."""
    places = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            match = re.match(r"(\w+)-(\w+) r", line)
            if not match or "[v" in line:
                continue
            start, end = (int(word, 16) for word in match.groups())
            for at in range(start, min(end, start + (2 << 20)), 1 << 20):
                try:
                    memory.seek(at)
                    if PATTERN in memory.read(min(1 << 20, end - at)):
                        places.append(line)
                        break
                except OSError:
                    break
    return places
