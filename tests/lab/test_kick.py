"""A real QEMU that hangs is kicked, goes on, and has lost nothing.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import build as lab_build
from forced import forced
from kicked import (ANSWER_S, kick, racing_guest, rescue_forced,
                    rescue_natural)
from labqemu import Qemu
from labqhang import EXIT_CLEAN, look_clean
from race import ERASED, HANG, WAKE_BEFORE_ARM
from test_kill import runs_on

EXIT_REFUSED = 3
KILLS = 20
# About as long as a kick takes.
KICK_S = 0.8


@pytest.mark.parametrize("build", ["graphfix", "stock"])
def test_natural_hang(lab: Path, qhang: Any, build: str) -> None:
    """It finishes its rounds, and both images are whole."""
    rescued = rescue_natural(build, lab)
    assert "UNSTUCK" in rescued.kick.stdout, rescued.kick.told()
    assert rescued.answer_s < ANSWER_S


@pytest.mark.parametrize("fired", [False, True])
def test_erased(lab: Path, qhang: Any, fired: bool) -> None:
    """The form that never heals: armed again, and linked again."""
    done = rescue_forced("graphfix", ERASED, fired, lab)
    assert "QemuCoSleep.to_wake" in done.stdout, done.told()
    assert ("QEMUTimerList.active_timers" in done.stdout) == fired, done.told()


def test_guest_goes_on(lab: Path, qhang: Any) -> None:
    """The VM runs, QMP answers, the guest counts."""
    lab_build.ensure(["system"])
    with racing_guest(WAKE_BEFORE_ARM, lab) as guest:
        done = kick(guest.pid)
        assert done.status == EXIT_CLEAN, done.told()
        assert guest.qmp.answered(ANSWER_S), done.told()
        status = guest.qmp.execute("query-status")
        assert status["running"]
        guest.wait_round()
        look_clean(guest.pid)


def test_healthy_is_left_alone(lab: Path, qhang: Any) -> None:
    """Nothing to kick."""
    with Qemu(lab, "graphfix") as qemu:
        qemu.to_iothread()
        qemu.add()
        done = kick(qemu.pid)
        assert done.status == EXIT_REFUSED, done.told()
        assert done.stdout == ""
        qemu.delete()


def test_killed_at_any_instant(lab: Path, qhang: Any) -> None:
    """A kick that is killed leaves the daemon as it hung, or rescued."""
    seed = int(os.environ.get("QHANG_SEED",
                              random.SystemRandom().getrandbits(32)))
    print(f"QHANG_SEED={seed}")
    draw = random.Random(seed)
    with forced("graphfix", WAKE_BEFORE_ARM, lab=lab) as (qemu, outcome):
        assert outcome == HANG
        for _ in range(KILLS):
            child = subprocess.Popen(
                [str(qhang), "kick", "--yes", str(qemu.pid)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL)
            time.sleep(draw.uniform(0, KICK_S))
            child.kill()
            child.wait()
            runs_on(qemu.pid, "killed")
            if qemu.qmp.answered(0.1):
                break
        else:
            done = kick(qemu.pid)
            assert done.status == EXIT_CLEAN, done.told()
            assert qemu.qmp.answered(ANSWER_S)
        qemu.delete()
        qemu.add()
        qemu.delete()
