"""qhang is killed at random instants; what it looked at always runs on.

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

import hang as lab_hang
from healthy import Worker, busy_io, churn
from labqhang import (check_wake_lost, diagnose_pid, look_clean, qhang_program,
                      truth_of_pid)

KILLS = 100
KILLS_IN_STOP = 20
# A diagnosis of a busy daemon is not always as long as the one before, and
# one that has ended cannot be killed: then there is another try.
TRIES = 10 * KILLS
# Ends a wait for a condition; never reached when all is well.
LIMIT_S = 60.0
LOOKS_BEFORE = 5


def stat_of(task: Path) -> str:
    """The state letter of a thread; X when it has ended."""
    try:
        return (task / "stat").read_bytes().rsplit(b")", 1)[1].split()[
            0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def tracer_of(task: Path) -> int:
    """Who traces a thread; 0 for nobody, and when it has ended."""
    try:
        told = (task / "status").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(told.split("TracerPid:")[1].split()[0])


def held(pid: int) -> dict[int, tuple[str, int]]:
    """The threads that somebody traces or that stand still."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        state, tracer = stat_of(task), tracer_of(task)
        if tracer or state in "tT":
            found[int(task.name)] = (state, tracer)
    return found


def runs_on(pid: int, told: str) -> None:
    """Every thread is let go, at once or soon."""
    end = time.monotonic() + LIMIT_S
    while held(pid):
        assert time.monotonic() < end, f"{told}: {held(pid)}"
        time.sleep(0.0005)


class Killer:
    """Starts qhang again and again and kills it somewhere in its run.

    The seed is printed, and another may be given in QHANG_SEED; the instants
    are drawn from the whole length of a diagnosis, which is measured first.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.seed = int(os.environ.get("QHANG_SEED",
                                       random.SystemRandom().getrandbits(32)))
        self.random = random.Random(self.seed)
        self.argv = [str(qhang_program()), "diagnose", str(pid)]
        self.length_s = sorted(self._whole() for _ in range(LOOKS_BEFORE))[
            LOOKS_BEFORE // 2]
        self.killed = self.while_held = self.too_late = self.in_stop = 0

    def _whole(self) -> float:
        started = time.monotonic()
        subprocess.run(self.argv, check=False, timeout=LIMIT_S,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return time.monotonic() - started

    def kill_once(self) -> None:
        """One run that is killed, unless it comes to its end before."""
        after = self.random.uniform(0, self.length_s)
        child = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        try:
            # The very instant is what this is about.
            time.sleep(after)
            self.while_held += bool(held(self.pid))
        finally:
            child.kill()
            status = child.wait()
        self.killed += status < 0
        self.too_late += status >= 0
        runs_on(self.pid, f"seed {self.seed}: killed after {after:.6f} s")

    def kill_in_stop(self) -> None:
        """One run that ends as soon as the main thread is seen held."""
        main = Path(f"/proc/{self.pid}/task/{self.pid}")
        child = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        try:
            while not tracer_of(main) and child.poll() is None:
                pass
        finally:
            child.kill()
            self.in_stop += child.wait() < 0
        runs_on(self.pid, "killed in its stop")

    def tell(self, what: str) -> None:
        """For -s and for the report of a failure."""
        print(f"{what}: seed {self.seed}, a diagnosis takes "
              f"{self.length_s:.3f} s; {self.killed} killed, "
              f"{self.too_late} had ended before; {self.while_held} times "
              f"threads were held at that instant; of {KILLS_IN_STOP} aimed "
              f"at the stop {self.in_stop} hit")


def kill_often(pid: int, what: str) -> None:
    """KILLS kills anywhere, each of them in time; and some in the stop, which
    is but a small part of a diagnosis."""
    killer = Killer(pid)
    while killer.killed < KILLS and killer.killed + killer.too_late < TRIES:
        killer.kill_once()
    for _ in range(KILLS_IN_STOP):
        killer.kill_in_stop()
    killer.tell(what)
    assert killer.killed == KILLS, "too few were killed"
    assert killer.in_stop, "none was killed in its stop"


def works_on(work: Worker) -> None:
    """What it does all the time comes to an end, twice, and QMP answers."""
    work.wait_step()
    work.wait_step()


@pytest.mark.parametrize("kind", ["add-del", "io"])
def test_busy(lab: Path, qhang: Any, kind: str) -> None:
    """A daemon in the middle of work goes on with it, and does it right."""
    opened = (churn("fixed", stress=False, lab=lab) if kind == "add-del"
              else busy_io("fixed", stress=False, lab=lab))
    with opened as work:
        kill_often(work.qemu.pid, kind)
        works_on(work)
        look_clean(work.qemu.pid)
        works_on(work)
        if kind == "io":
            assert work.qemu.qmp.execute("query-block-exports")
    assert not work.failure


def test_hung(lab: Path, qhang: Any) -> None:
    """A hung one stays hung, the same way: not one thread was disturbed."""
    with lab_hang.hung("graphfix", lab=lab) as hang:
        known = truth_of_pid(hang.pid)
        check_wake_lost(diagnose_pid(hang.pid), hang.pid, known)
        kill_often(hang.pid, "hung")
        assert not hang.goes_on(0.2), "it went on: was it diagnosed or woken?"
        check_wake_lost(diagnose_pid(hang.pid), hang.pid, known)
        again = truth_of_pid(hang.pid)
        assert again["sleeper"] == known["sleeper"]
