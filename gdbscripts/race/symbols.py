"""Where the functions of a running program are, from its ELF symbols.

SPDX-License-Identifier: GPL-2.0-or-later

gdb resolves a name like qemu_co_sleep_wake to split-off and inlined copies
as well; forcing an interleaving needs the one real entry.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
from pathlib import Path
from typing import Optional

_AT_ENTRY = 9
DEBUG_FOLDER = Path("/usr/lib/debug/.build-id")


class SymbolError(Exception):
    """The program does not say where a function is."""


def _binutil(name: str, *arguments: str) -> str:
    """What a program of binutils prints; nothing where it has objections."""
    try:
        done = subprocess.run([name, *arguments], check=False,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise SymbolError(f"{name} is not installed: apt-get install binutils"
                          ) from error
    return done.stdout.decode(errors="replace")


def _nm(program: Path, *options: str) -> str:
    return _binutil("nm", "-P", "--defined-only", *options, str(program))


def _debug_file(program: Path) -> Optional[Path]:
    """The separate debug file of exactly this build, where it is installed."""
    found = re.search(r"Build ID: ([0-9a-f]{2})([0-9a-f]+)",
                      _binutil("readelf", "-n", str(program)))
    if not found:
        return None
    path = DEBUG_FOLDER / found.group(1) / f"{found.group(2)}.debug"
    return path if path.is_file() else None


def functions(program: Path) -> dict[str, int]:
    """Link-time addresses of a program's or shared object's functions."""
    found: dict[str, int] = {}
    told = _nm(program)
    if not told:
        debug = _debug_file(program)
        # .dynsym is what a stripped program still has.
        told = _nm(debug) if debug else _nm(program, "--dynamic")
    for line in told.splitlines():
        words = line.split()
        if len(words) >= 3 and words[1] in "tTwWi":
            found.setdefault(words[0], int(words[2], 16))
    return found


def load_bias(pid: int, exe: Path) -> int:
    """What is added to a link-time address in this process.

    The kernel tells a process its relocated entry point (AT_ENTRY); the ELF
    header has the one that was linked (e_entry, at offset 24).
    """
    auxv = Path(f"/proc/{pid}/auxv").read_bytes()
    for kind, value in struct.iter_unpack("<QQ", auxv):
        if kind == _AT_ENTRY:
            with exe.open("rb") as elf:
                linked = struct.unpack_from("<Q", elf.read(32), 24)[0]
            return value - linked
    raise SymbolError(f"process {pid} has no AT_ENTRY")


class Symbols:
    """Functions of one running process's main program."""

    def __init__(self, pid: int) -> None:
        exe = Path(f"/proc/{pid}/exe")
        self._exe = os.readlink(exe)
        self._bias = load_bias(pid, exe)
        self._entries = functions(exe)

    def entry(self, name: str) -> int:
        """The address of a function's entry in the process."""
        try:
            return self._entries[name] + self._bias
        except KeyError as missing:
            raise SymbolError(f"{self._exe} has no symbol {name}: not built "
                              "with it, or stripped and its debug symbols "
                              "not installed") from missing

    def place(self, name: str, address: int) -> str:
        """"name+0x3 (0x17ae23)": an address in a function, as it is linked."""
        return (f"{name}+{address - self.entry(name):#x} "
                f"({address - self._bias:#x})")

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def room(self, name: str) -> int:
        """Bytes from a function's entry to the next function's."""
        entry = self._entries[name]
        return min(e for e in self._entries.values() if e > entry) - entry
