"""Faults of locks and throttles, made in a real QEMU by writing to it.

SPDX-License-Identifier: GPL-2.0-or-later

Coroutines of a storage daemon wait rightly for a CoMutex and in a throttle
group (parked.py). Then gdb takes away what would let them go, as the bugs of
QEMU's history did: that very moment is the fault, with the layouts that this
QEMU's compiler made. Who holds the CoMutex is put back in between.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

import build as lab_build
import parked
from labqhang import check_clean, diagnose_pid, look_clean

GDB_S = 120


def write(pid: int, *commands: str) -> None:
    """Has gdb do that to the process, which goes on afterwards."""
    argv = ["gdb", "-nx", "-batch", "-p", str(pid)]
    for command in commands:
        argv += ["-ex", command]
    done = subprocess.run(argv, check=True, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=GDB_S)
    assert "error" not in done.stderr.lower(), done.stderr


def waiter(report: dict[str, Any], kind: str) -> tuple[str, dict[str, int]]:
    """Object and operands of the first coroutine with such a wait."""
    wait = next(w for w in report["waits"]
                if w["coroutine"] and w["kind"] == kind)
    return wait["object"], {o["what"]: o["value"] for o in wait["operands"]}


def check_found(pid: int, rule: str, address: str) -> None:
    """That one fault is found and proved, with the object in its evidence."""
    got = diagnose_pid(pid)
    assert got.rules() == [rule], got.told()
    [finding] = got.report["findings"]
    assert finding["certainty"] == "proof"
    assert address in [e["address"] for e in finding["evidence"]]


@pytest.mark.parametrize("build", ["stock", "clang-stock", "O0-stock"])
def test_taken_away(lab: Path, qhang: Any, build: str) -> None:
    """A CoMutex's holder, and a throttle group's timer."""
    lab_build.ensure([build])
    with parked.parked(lab, build) as disk:
        pid = disk.qemu.pid
        got = diagnose_pid(pid)
        check_clean(got)
        mutex, values = waiter(got.report, "co-mutex")
        holder = f"((struct CoMutex *){mutex})->holder"
        write(pid, f"set var {holder} = 0")
        check_found(pid, "comutex.handoff-lost", mutex)
        write(pid, f"set var {holder} = {values['holder']}")
        look_clean(pid)
        member, _ = waiter(got.report, "throttle")
        write(pid, f"set $t = ((struct ThrottleGroupMember *){member})"
              "->throttle_timers.timers[1]",
              "set var $t->timer_list->active_timers = $t->next",
              "set var $t->expire_time = -1")
        check_found(pid, "throttle.timer-unarmed", member)
