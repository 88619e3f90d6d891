"""Runs inside gdb: holds a process until stdin ends, then lets it go.

SPDX-License-Identifier: GPL-2.0-or-later

$HOLD_PID is the process. Prints the registers of all threads as JSON on one
line as soon as they are held, and again before they are let go; the frames of
each whenever a line comes on stdin. Where $HOLD_RUN is the tid of a thread,
not "", that one goes on at once, alone; the process is then gdb's until gdb is
killed.
"""

import json
import os
import sys
from typing import Any

import gdb

NAMES = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9",
         "r10", "r11", "r12", "r13", "r14", "r15", "rip", "fs_base",
         "orig_rax")


def registers() -> dict[str, dict[str, str]]:
    """Of each thread, by tid."""
    told = {}
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        frame = gdb.newest_frame()
        told[str(thread.ptid[1])] = {
            name: hex(int(frame.read_register(name)) % 2**64)
            for name in NAMES}
    return told


def frames() -> dict[str, list[list[str]]]:
    """pc and sp of each frame of each thread, by tid; none of inlined code,
    which has those of the function that it is in, and none of tail calls,
    which gdb infers and which have left nothing on the stack."""
    inferred = (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME)
    gdb.execute("set backtrace past-main on")
    told: dict[str, list[list[str]]] = {}
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        places = told.setdefault(str(thread.ptid[1]), [])
        frame = gdb.newest_frame()
        while frame:
            if frame.type() not in inferred:
                places.append([hex(int(frame.read_register(name)) % 2**64)
                               for name in ("rip", "rsp")])
            frame = frame.older()
    return told


def show(what: str, told: Any) -> None:
    """Prints it behind a word that gdb itself does not print."""
    sys.stdout.write(f"{what} {json.dumps(told)}\n")
    sys.stdout.flush()


def let_run(tid: int) -> None:
    """Lets one thread go on while the others stand."""
    for thread in gdb.selected_inferior().threads():
        if thread.ptid[1] == tid:
            thread.switch()
            gdb.execute("set scheduler-locking on")
            gdb.execute("continue &")


gdb.execute(f"attach {os.environ['HOLD_PID']}")
show("HELD", registers())
if os.environ["HOLD_RUN"]:
    let_run(int(os.environ["HOLD_RUN"]))
while sys.stdin.readline():
    show("FRAMES", frames())
show("GOES", registers())
gdb.execute("detach")
