"""Runs inside gdb: holds a process until stdin ends, then lets it go.

SPDX-License-Identifier: GPL-2.0-or-later

$HOLD_PID is the process. Prints the registers of all threads as JSON on one
line as soon as they are held, and again before they are let go. Where
$HOLD_RUN is the tid of a thread, not "", that one goes on at once, alone; the
process then is gdb's until gdb is killed.
"""

import json
import os
import sys

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


def show(what: str) -> None:
    """Prints the registers behind a word that gdb itself does not print."""
    sys.stdout.write(f"{what} {json.dumps(registers())}\n")
    sys.stdout.flush()


def let_run(tid: int) -> None:
    """Lets one thread go on while the others stand."""
    for thread in gdb.selected_inferior().threads():
        if thread.ptid[1] == tid:
            thread.switch()
            gdb.execute("set scheduler-locking on")
            gdb.execute("continue &")


gdb.execute(f"attach {os.environ['HOLD_PID']}")
show("HELD")
if os.environ["HOLD_RUN"]:
    let_run(int(os.environ["HOLD_RUN"]))
sys.stdin.read()
show("GOES")
gdb.execute("detach")
