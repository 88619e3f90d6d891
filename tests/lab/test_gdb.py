"""The commands inside gdb on a real QEMU that hung by itself: live and core.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import build as lab_build
import hang as lab_hang
from labqhang import diagnose_core, diagnose_pid, gcore, qhang_program

sys.path.append(str(lab_build.CHECKOUT / "tests/gdb"))

# pylint: disable=wrong-import-position
from gdbrun import gdb, same_stack


def look(target: list[str], report: dict) -> None:
    """Each coroutine's frames are the program's; the sleeper's arguments and
    locals are there."""
    sleeper = report["sleepers"][0]["coroutine"]
    seen = [c for c in report["coroutines"] if c["registers"]]
    told = gdb(*target, commands=[
        "qhang diagnose", "qhang coroutines",
        f"python tell(stacks({[c['address'] for c in seen]}))"],
        qhang=qhang_program())
    assert "sleep.wake-lost" in told[0]
    assert len(told[1].strip().splitlines()) == len(report["coroutines"]) + 1
    stacks = json.loads(told[2])
    for coroutine in seen:
        same_stack(coroutine, stacks[coroutine["address"]])
    frames = {frame["function"]: frame for frame in stacks[sleeper]}
    wanted = 600 * 10**9
    assert frames["qemu_co_sleep_ns_wakeable"]["args"]["ns"] == wanted
    assert frames["cache_clean_timer"]["locals"]["wait_ns"] == wanted


def test_natural(lab: Path, tmp_path: Path) -> None:
    """A storage daemon in the cache cleaner's hang."""
    with lab_hang.hung("graphfix", lab_hang.CACHE_CLEANER, lab=lab) as hang:
        look(["-p", str(hang.pid)], diagnose_pid(hang.pid).report)
        core = gcore(hang.pid, tmp_path)
        look([str(hang.qemu.exe), str(core)],
             diagnose_core(core, hang.qemu.exe).report)


def plain(text: str) -> list[str]:
    """Without what differs from run to run and from place to place."""
    lines = [line.rstrip() for line in text.splitlines()
             if not re.match(r"\d+\t", line)]
    lines = [re.sub(r"0x[0-9a-f]+|\d+\.\d s|(in|from|at) /?[^ ]*/", "X", line)
             for line in lines]
    # Where a thread waits in the kernel is chance.
    return [line for line in lines if not line.startswith("#0 ") and line]


def test_documented_session(lab: Path) -> None:
    """docs/gdb.md shows what is printed."""
    text = (lab_build.CHECKOUT / "docs/gdb.md").read_text()
    session = re.search(r"```\n(.*?)```", text, re.DOTALL)
    assert session
    steps = [step.split("\n", 1)
             for step in ("\n" + session.group(1)).split("\n(gdb) ")[1:]]
    with lab_hang.hung("graphfix", lab_hang.CACHE_CLEANER, lab=lab) as hang:
        told = gdb("-p", str(hang.pid), commands=[step[0] for step in steps],
                   qhang=qhang_program())
    assert len(steps) >= 5
    for step, got in zip(steps, told):
        assert plain(got) == plain("\n".join(step[1:])), step[0]
