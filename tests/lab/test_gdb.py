"""The commands inside gdb on a real QEMU that hung by itself: live and core.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import build as lab_build
import hang as lab_hang
from forced import forced
from labqhang import (ERASED as SLEEP_ERASED, UNKICKED, WAKE_LOST,
                      diagnose_core, diagnose_pid, gcore, qhang_program)
from race import ERASED, GRAPH, HANG, WAKE_BEFORE_ARM

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


@pytest.mark.parametrize("build, interleaving, rule, state", [
    ("graphfix", WAKE_BEFORE_ARM, WAKE_LOST, "armed"),
    ("graphfix", ERASED, SLEEP_ERASED, "erased"),
    ("stock", GRAPH, UNKICKED, "")])
def test_forced(lab: Path, tmp_path: Path, build: str, interleaving: str,
                rule: str, state: str) -> None:
    """Each forced hang is within gdb what it is outside, live and in a core;
    every coroutine is the program's frame by frame."""
    with forced(build, interleaving, lab=lab) as (qemu, outcome):
        assert outcome == HANG
        core = gcore(qemu.pid, tmp_path)
        for target, got in (
                (["-p", str(qemu.pid)], diagnose_pid(qemu.pid)),
                ([str(qemu.exe), str(core)], diagnose_core(core, qemu.exe))):
            assert got.rules() == [rule], got.told()
            agree(target, got.report, rule, state)


def agree(target: list[str], report: dict, rule: str, state: str) -> None:
    """gdb's commands show the report's finding, sleepers and coroutines."""
    seen = [c for c in report["coroutines"] if c["registers"]]
    told = gdb(*target, commands=[
        "qhang diagnose", "qhang sleepers",
        f"python tell(stacks({[c['address'] for c in seen]}))",
        "python import qhang_gdb.program; "
        "tell(qhang_gdb.program.report()['findings'])"],
        qhang=qhang_program())
    assert rule in told[0]
    sleepers = told[1].strip().splitlines()[1:]
    assert len(sleepers) == len(report["sleepers"])
    assert not state or any(state in line.split() for line in sleepers)
    stacks = json.loads(told[2])
    for coroutine in seen:
        same_stack(coroutine, stacks[coroutine["address"]])
    wanted = [(f["rule"], f["certainty"], f["tid"], f["coroutine"],
               f["heals"]) for f in report["findings"]]
    assert [(f["rule"], f["certainty"], f["tid"], f["coroutine"],
             f["heals"]) for f in json.loads(told[3])] == wanted


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
