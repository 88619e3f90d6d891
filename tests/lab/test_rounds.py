"""The count of hung rounds: what is a hang, what is only slow.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import math
import signal
from pathlib import Path
from typing import Any

import pytest

from hang import LateAnswer, UNKNOWN, hunt
from labqemu import Qemu, Stress
from race.rounds import Result
from rounds import rounds


class Brake(Stress):
    """Takes the place of stressors: as long as it is there, QEMU stands."""

    def __init__(self, qemu: Qemu) -> None:
        self._qemu = qemu
        self._qemu.process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """Lets it go on."""
        self._qemu.process.send_signal(signal.SIGCONT)


def test_slow_is_no_hang(lab: Path) -> None:
    """An answer that comes when the stressors have gone was only late."""
    with Qemu(lab, "fixed") as qemu, Brake(qemu) as brake:
        with pytest.raises(LateAnswer, match="blockdev-add of pair 1"):
            hunt(qemu, brake, 1)


def test_standstill_is_a_hang(lab: Path) -> None:
    """One that does not come then either is a hang, whatever the cause."""
    with Qemu(lab, "fixed") as qemu, Brake(qemu):
        hang = hunt(qemu, None, 1)
        assert hang and hang.kind == UNKNOWN
        assert hang.command == "blockdev-add"


def test_fixed(lab: Path) -> None:
    """The fixed build passes, by its name and by its path."""
    seen: list[int] = []

    def progress(found: Result) -> None:
        seen.append(found.rounds)

    found = rounds("fixed", 2, lab=lab, progress=progress)
    assert (found.rounds, found.hung, seen) == (2, 0, [1, 2])
    program: Any = lab / "bin/fixed/qemu-storage-daemon"
    assert rounds(program, 1, 0, lab=lab).hung == 0


@pytest.mark.parametrize("count, percent", [(59, 5), (299, 1)])
def test_bound_without_a_hang(count: int, percent: int) -> None:
    """59 clean rounds leave room for 5 %, 299 for 1 %: the known figures."""
    found = Result("any", 0, 0.0, count, 0)
    assert found.at_most == pytest.approx(percent / 100, rel=0.01)


@pytest.mark.parametrize("count, hung", [(1, 0), (20, 11), (59, 1), (60, 59),
                                         (2000, 3)])
def test_bound(count: int, hung: int) -> None:
    """At the bound, so few hangs come with a chance of 5 %."""
    share = Result("any", 0, 0.0, count, hung).at_most
    assert share is not None
    chance = sum(math.comb(count, k) * share ** k * (1 - share) ** (count - k)
                 for k in range(hung + 1))
    assert chance == pytest.approx(0.05, rel=1e-4)


def test_bound_of_all_and_of_none() -> None:
    """What hung each time may always hang; no round says nothing."""
    assert Result("any", 0, 0.0, 7, 7).at_most == 1.0
    assert Result("any", 0, 0.0).at_most is None
