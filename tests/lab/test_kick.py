"""A real QEMU that hangs is kicked, goes on, and has lost nothing.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import build as lab_build
from kicked import (ANSWER_S, kick, racing_guest, rescue_forced,
                    rescue_natural)
from labqemu import Qemu
from labqhang import EXIT_CLEAN, check_clean, diagnose_pid
from race import ERASED, WAKE_BEFORE_ARM

EXIT_REFUSED = 3


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
        check_clean(diagnose_pid(guest.pid))


def test_healthy_is_left_alone(lab: Path, qhang: Any) -> None:
    """Nothing to kick."""
    with Qemu(lab, "graphfix") as qemu:
        qemu.to_iothread()
        qemu.add()
        done = kick(qemu.pid)
        assert done.status == EXIT_REFUSED, done.told()
        assert done.stdout == ""
        qemu.delete()
