"""Rounds of opening and closing a node under load: how many of them hang.

SPDX-License-Identifier: GPL-2.0-or-later

A round is a fresh QEMU whose file node lives in an iothread, and some pairs
of blockdev-add and blockdev-del of a qcow2 node on it, while stressors keep
every CPU busy; no debugger, no injected delay.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Callable, Optional

from .qemu import Qemu
from .qmp import QmpTimeout
from .stress import Stress

# An answer that takes longer is missing; it is a hang when it has not come
# so much later either, with the stressors gone.
HANG_AFTER_S = 3.0
CONFIRM_S = 2.0
PAIRS = 10
STRESS_SLICE_S = 300
# So many late rounds for each one that counts are too many.
MOST_LATE = 3
CONFIDENCE = 0.95


class LateAnswer(Exception):
    """The missing answer came when the stressors had gone: it was slow."""


class TooSlow(Exception):
    """Answers are late all the time: nothing can be said about hangs."""


@dataclass
class Standstill:
    """A QMP command of a pair that got no answer."""

    command: str
    stuck_since: float
    pairs: int


def _add_and_delete(qemu: Qemu) -> Optional[str]:
    """One pair; the command that got no answer, or None."""
    try:
        qemu.add(HANG_AFTER_S)
    except QmpTimeout:
        return "blockdev-add"
    try:
        qemu.delete(HANG_AFTER_S)
    except QmpTimeout:
        return "blockdev-del"
    return None


def hunt(qemu: Qemu, stress: Optional[Stress], pairs: int,
         keep_stress: bool = False) -> Optional[Standstill]:
    """Opens and closes in one process until it hangs; None after `pairs`.

    No answer in time is not yet a hang: with the stressors gone it gets some
    more, and raises LateAnswer when it comes then.
    """
    for done in range(1, pairs + 1):
        command = _add_and_delete(qemu)
        if command is None:
            continue
        since = time.monotonic() - HANG_AFTER_S
        if stress and not keep_stress:
            stress.stop()
        if qemu.qmp.answered(CONFIRM_S):
            raise LateAnswer(f"{command} of pair {done} was slow")
        return Standstill(command, since, done)
    return None


def _chance_of_at_most(hung: int, rounds: int, share: float) -> float:
    """That at most so many of so many rounds hang, each with this chance."""
    if share <= 0.0:
        return 1.0
    if share >= 1.0:
        return 1.0 if hung >= rounds else 0.0
    log_share, log_rest = math.log(share), math.log1p(-share)
    return math.fsum(
        math.exp(math.lgamma(rounds + 1) - math.lgamma(k + 1)
                 - math.lgamma(rounds - k + 1)
                 + k * log_share + (rounds - k) * log_rest)
        for k in range(hung + 1))


def upper_bound(hung: int, rounds: int) -> Optional[float]:
    """The share of rounds that hang is below this, at 95 %.

    One-sided and exact (Clopper and Pearson): the share at which so few
    hangs would come with a chance of 5 %.  None when there was no round.
    """
    if not rounds:
        return None
    if hung >= rounds:
        return 1.0
    low, high = hung / rounds, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        if _chance_of_at_most(hung, rounds, middle) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


@dataclass
class Result:
    """What became of the rounds of one program.

    `stress` is the number of stressors, 0 for none; `load` what the machine
    had to do (its one minute's load average) when it began.  A late round,
    one whose answer came as soon as the stressors had gone, is none of
    `rounds`: it has been made up for.  `places` counts where each hung one
    stands, by the name that it was given.
    """

    program: str
    stress: int
    load: float
    rounds: int = 0
    hung: int = 0
    late: int = 0
    seconds: float = 0.0
    places: Counter = field(default_factory=Counter)

    @property
    def at_most(self) -> Optional[float]:
        """See upper_bound()."""
        return upper_bound(self.hung, self.rounds)


Start = Callable[[], Qemu]
Name = Callable[[Qemu], str]
Progress = Callable[[Result], None]


def one_round(start: Start, name: Name, stress: int,
              pairs: int = PAIRS) -> Optional[str]:
    """One round; the name of where it hangs, or None."""
    with ExitStack() as stack:
        qemu = stack.enter_context(start())
        qemu.to_iothread()
        busy = (stack.enter_context(Stress(STRESS_SLICE_S, stress))
                if stress else None)
        return name(qemu) if hunt(qemu, busy, pairs) else None


def rounds(program: str, start: Start, name: Name, wanted: int,
           stress: Optional[int] = None, pairs: int = PAIRS,
           progress: Progress = lambda _: None) -> Result:
    """Counts the hung ones among `wanted` rounds of a program.

    `program` is what it is called, `start` starts it, `name` tells where a
    hung one stands; `stress` is the number of stressors, None for one on
    every CPU.  `progress` is told after every round, a late one too.  Raises TooSlow when
    answers keep coming late, QmpError when the QEMU ends or refuses.
    """
    if stress is None:
        stress = os.cpu_count() or 1
    found = Result(program, stress, load=os.getloadavg()[0])
    started = time.monotonic()
    while found.rounds < wanted:
        try:
            where = one_round(start, name, stress, pairs)
        except LateAnswer as late:
            found.late += 1
            if found.late > MOST_LATE * wanted:
                raise TooSlow(f"{program}: answers were late in {found.late} "
                              "rounds") from late
            progress(found)
            continue
        found.rounds += 1
        if where:
            found.hung += 1
            found.places[where] += 1
        found.seconds = time.monotonic() - started
        progress(found)
    return found
