"""Puts another coroutine sleep into a QEMU of the lab while it runs.

SPDX-License-Identifier: GPL-2.0-or-later

A test of a patch, not of qhang: gdb calls dlopen() in the target and writes
a jump over the entry of every function of util/qemu-coroutine-sleep.c.
Sleepers that are parked in the old code stay there and are woken by the new
one.  x86-64 only.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "gdbscripts"))

# pylint: disable=wrong-import-position
import build as lab_build
from labqemu import Qemu
from race.mi import Gdb
from race.symbols import Symbols, functions

FIXED = lab_build.TEXTS["sleep"]
MARK = lab_build.FAULTY / "qemu-coroutine-sleep-mark.c"
WRAPPER = lab_build.HERE / "upgrade.c"
SLEEP = lab_build.SOURCES[1]
REPLACED = ("qemu_co_sleep_wake", "co_sleep_cb", "qemu_co_sleep",
            "qemu_co_sleep_ns_wakeable")

# Where the main thread is when dlopen() is called: at the entry of a QMP
# command's handler it holds no lock of the C library's.
SAFE_COMMAND = "query-named-block-nodes"
SAFE_FUNCTION = "qmp_query_named_block_nodes"
RTLD_NOW = 2
ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9", "rax")
RED_ZONE = 128
CLAIM = b"\0qemu_co_sleep_ns\0"
# jmp *0(%rip), and behind it the address.
JUMP = bytes.fromhex("ff2500000000")
JUMP_LENGTH = len(JUMP) + 8
STEP_TIMEOUT_S = 60.0
DEEPEST = 200


class UpgradeError(Exception):
    """The QEMU could not be upgraded; it goes on as it was."""


@dataclass(frozen=True)
class Mapping:
    """One line of /proc/PID/maps."""

    start: int
    end: int
    access: str
    path: str


def mappings(pid: int) -> Iterator[Mapping]:
    """What is mapped from files."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        words = line.split(maxsplit=5)
        if len(words) == 6:
            start, end = (int(word, 16) for word in words[0].split("-"))
            yield Mapping(start, end, words[1], words[5])


def file_of(pid: int, address: int) -> Path:
    """The program or shared object that an address is in."""
    for one in mappings(pid):
        if one.start <= address < one.end:
            return Path(one.path)
    raise UpgradeError(f"{address:#x} of {pid} is in no file")


def claim_address(pid: int) -> int:
    """Where the program's own string "qemu_co_sleep_ns" is."""
    exe = os.readlink(f"/proc/{pid}/exe")
    found = []
    with open(f"/proc/{pid}/mem", "rb") as memory:
        for one in mappings(pid):
            if one.path == exe and one.access.startswith("r--"):
                memory.seek(one.start)
                text = memory.read(one.end - one.start)
                found += [one.start + match.start() + 1
                          for match in re.finditer(CLAIM, text)]
    if len(found) != 1:
        raise UpgradeError(f"{exe} has the sleep's claim {len(found)} times")
    return found[0]


def _run(argv: list[str], cwd: Path) -> str:
    done = subprocess.run(argv, cwd=cwd, check=False, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise UpgradeError(f"{shlex.join(argv)}:\n{done.stdout}")
    return done.stdout


def compile_sleep(lab: Path, source: Path, into: Path) -> Path:
    """Compiles `source` as the lab's gcc build does, position-independent.

    Returns the object; nothing of the lab's tree or build is touched.
    """
    compiled = into / "upgrade.o"
    argv, folder = lab_build.compiling(lab, SLEEP, WRAPPER, compiled)
    _run([*argv, "-fPIC", f'-DSLEEP_SOURCE="{source}"'], folder)
    return compiled


def link_for(pid: int, compiled: Path) -> Path:
    """Links the object for one process: its functions, its addresses.

    What the program does not have is the C library's.
    """
    symbols = Symbols(pid)
    needed = _run(["nm", "-u", "-j", compiled.name], compiled.parent).split()
    addresses = {name: symbols.entry(name)
                 for name in needed if name in symbols}
    addresses["program_claim"] = claim_address(pid)
    linked = compiled.with_suffix(".so")
    _run(["cc", "-shared", "-o", linked.name, compiled.name, "-Wl,-z,now",
          *(f"-Wl,--defsym={name}={address:#x}"
            for name, address in addresses.items())], compiled.parent)
    return linked


def _call_dlopen(gdb: Gdb, thread: str, linked: Path) -> int:
    """Its result, called in a thread that is at the entry of a function.

    There a call may change all registers but those that it saves itself, and
    the arguments, which are put back.  gdb's own way of calling restores the
    vector registers as well, which gdb 13 cannot do where the CPU has AMX.
    """
    saved = {name: gdb.evaluate(thread, f"${name}")
             for name in ("rip", "rsp", *ARGUMENTS)}
    path = bytes(linked) + b"\0"
    text = saved["rsp"] - RED_ZONE - len(path)
    stack = text // 16 * 16 - 8  # as at the entry of any function
    for address, content in ((text, path),
                             (stack, saved["rip"].to_bytes(8, "little"))):
        gdb.command(f"-data-write-memory-bytes {address:#x} {content.hex()}")
    for name, value in (("rsp", stack), ("rdi", text), ("rsi", RTLD_NOW),
                        ("rip", gdb.evaluate(thread, "&dlopen"))):
        gdb.evaluate(thread, f"${name} = {value:#x}")
    number = gdb.breakpoint(saved["rip"], thread)
    gdb.resume(thread)
    if not gdb.stopped(STEP_TIMEOUT_S,
                       lambda s: s.values.get("bkptno") == number):
        raise UpgradeError("dlopen() does not return")
    gdb.delete(number)
    handle = gdb.evaluate(thread, "$rax")
    for name, value in saved.items():
        gdb.evaluate(thread, f"${name} = {value:#x}")
    return handle


def _load(gdb: Gdb, qemu: Qemu, linked: Path) -> dict[str, int]:
    """Has the main thread load it; the entries of its functions.

    All threads are stopped before; afterwards the main thread is, and the
    answer to SAFE_COMMAND is still to come.
    """
    main = gdb.ids_by_tid()[qemu.pid]
    number = gdb.breakpoint(Symbols(qemu.pid).entry(SAFE_FUNCTION), main)
    gdb.resume_all()
    qemu.qmp.send(SAFE_COMMAND)
    if not gdb.stopped(STEP_TIMEOUT_S,
                       lambda s: s.values.get("bkptno") == number):
        raise UpgradeError(f"the main thread does not come to "
                           f"{SAFE_FUNCTION}")
    gdb.delete(number)
    handle = _call_dlopen(gdb, main, linked)
    if not handle:
        raise UpgradeError(f"the QEMU could not load {linked}")
    # The first member of struct link_map is l_addr, see dlinfo(3).
    bias = gdb.read_word(handle)
    return {name: bias + address
            for name, address in functions(linked).items()}


def _stop_outside(gdb: Gdb) -> None:
    """Stops every thread where none has an old function on its stack."""
    deadline = time.monotonic() + STEP_TIMEOUT_S
    while time.monotonic() < deadline:
        gdb.command("-exec-interrupt --all")
        while any(t["state"] != "stopped" for t in gdb.threads()):
            if time.monotonic() > deadline:
                raise UpgradeError("not every thread stops")
            time.sleep(0.01)
        inside = [thread["id"] for thread in gdb.threads() if
                  set(REPLACED) & {name.split(".")[0] for name in
                                   gdb.functions(thread["id"], DEEPEST)}]
        if not inside:
            return
        for thread in inside:
            gdb.resume(thread)
    raise UpgradeError("there is always a thread in the old code")


def upgrade(gdb: Gdb, qemu: Qemu, lab: Path, source: Path
            ) -> dict[str, int]:
    """Puts the sleep of `source` into a QEMU built by the lab's gcc.

    `gdb` has just been attached to it.  Returns the entries of the new
    functions; all threads are stopped then, and the answer to SAFE_COMMAND
    is to be taken once they go on.
    """
    symbols = Symbols(qemu.pid)
    small = [name for name in REPLACED if symbols.room(name) < JUMP_LENGTH]
    if small:
        raise UpgradeError(f"no room for a jump in {', '.join(small)}")
    linked = link_for(qemu.pid, compile_sleep(lab, source, qemu.folder))
    entries = _load(gdb, qemu, linked)
    _stop_outside(gdb)
    for name in REPLACED:
        jump = JUMP + entries[name].to_bytes(8, "little")
        gdb.command(f"-data-write-memory-bytes {symbols.entry(name):#x} "
                    f"{jump.hex()}")
    return entries
