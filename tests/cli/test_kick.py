"""kick: what hangs goes on, and what is written is what was shown.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from conftest import (CLEAN, FAILED, FINDING, VICTIMS, Victim, qhang, report,
                      task_states, wait_until)
from kicking import (assert_goes_on, assert_untouched, dry, memory, peek, poke,
                     writes)
from test_diagnose import FAULTS

RESCUED = ["sleep.wake-lost", "sleep.erased", "graph.writer-unkicked",
           "wait.condition-met", "aio.queued-unnotified",
           "timer.expired-unserved"]
# Those whose waiter stays have tests of their own: test_kick_outcome.py.
KICKABLE = [name for name, (rule, _, _) in FAULTS.items() if rule in RESCUED
            and name not in ("wake-lost-held", "wake-lost-behind")]


@pytest.mark.parametrize("program", ["victim", "victim-O0"])
@pytest.mark.parametrize("scenario", KICKABLE)
def test_goes_on(scenario: str, program: str) -> None:
    """Each hang that has a rescue."""
    with Victim(scenario, program=program) as victim:
        done = qhang("kick", "--yes", str(victim.pid))
        assert done.returncode == CLEAN
        assert re.search(r"^UNSTUCK +after [0-9.]+ m?s$", done.stdout,
                         re.MULTILINE)
        assert "nothing hangs any more" in done.stdout
        rule = FAULTS[scenario][0]
        assert bool(writes(done.stdout)) == rule.startswith("sleep.")
        assert all(len(line) <= 80 for line in done.stdout.splitlines())
        assert f"{rule}: unstuck after" in done.stderr
        assert len(done.stderr.splitlines()) == 2
        assert_goes_on(victim, scenario)


@pytest.mark.parametrize("timers", ["1", "7"])
@pytest.mark.parametrize("scenario", ["wake-lost", "erased", "erased-fired"])
def test_behind_other_timers(scenario: str, timers: str) -> None:
    """The sleeper's timer becomes the first; the others stay, in order."""
    with Victim(scenario, "--timers", timers) as victim:
        before = report(str(victim.pid))["timers"]
        done = qhang("kick", "--yes", str(victim.pid))
        assert done.returncode == CLEAN
        assert_goes_on(victim, scenario)
        sleepers = {finding for finding, _, _ in writes(done.stdout)}
        after = report(str(victim.pid))["timers"]

        def others(timers: list[dict]) -> list[tuple]:
            return [(timer["address"], timer["expire_ns"])
                    for timer in timers
                    if int(timer["address"], 16) not in sleepers]

        assert others(after) == others(before)
        assert len(others(after)) >= int(timers)


def test_written_as_shown() -> None:
    """--dry-run writes nothing; what is written then is what it showed."""
    with Victim("erased") as victim:
        before = memory(victim.pid)
        shown = dry(victim)
        assert_untouched(victim.pid, before)
        assert all(peek(victim.pid, at) == old for at, old, _ in shown)
        done = qhang("kick", "--yes", str(victim.pid))
        assert done.returncode == CLEAN
        assert writes(done.stdout) == shown


def test_names_that_hurt(tmp_path: Path) -> None:
    """Nothing that the process calls itself gets to the terminal as it is."""
    program = tmp_path / "\x1b[31m\a"
    shutil.copy(VICTIMS / "victim", program)
    with Victim("wake-lost", "--plant", "names",
                executable=program) as victim:
        for options in (["--notify-only", "--yes"], ["--dry-run"], ["--yes"]):
            done = qhang("kick", *options, str(victim.pid))
            told = done.stdout + done.stderr
            assert all(c.isprintable() or c == "\n" for c in told)
            assert "\\x1b" in told


@pytest.mark.parametrize("scenario", ["wake-lost", "erased", "erased-fired"])
def test_cut_short_within_its_words(scenario: str) -> None:
    """Whatever a kick that was killed has left, the next one goes on from."""
    done = 0
    while True:
        with Victim(scenario, "--timers", "2") as victim:
            shown = dry(victim)
            done += 1
            if done == len(shown):
                break
            for at, _, new in shown[:done]:
                poke(victim.pid, at, new)
            told = qhang("kick", "--yes", str(victim.pid))
            assert told.returncode == CLEAN
            assert_goes_on(victim, scenario)
    assert done > 2


def test_thread_in_the_kernel() -> None:
    """A thread in state D: its hang has no rescue, and yet any loop may be
    woken."""
    with Victim("kernel-stuck") as victim:
        done = qhang("kick", "--yes", str(victim.pid))
        assert done.returncode == FAILED
        assert "nothing was written" in " ".join(done.stdout.split())
        done = qhang("kick", "--notify-only", "--yes", str(victim.pid))
        assert done.returncode == CLEAN
        assert "no memory written" in done.stdout


def test_notify_only() -> None:
    """Any loop may be woken: one that was not kicked goes on, one that sleeps
    rightly sleeps on."""
    with Victim("graph-unkicked") as victim:
        before = memory(victim.pid)
        done = qhang("kick", "--notify-only", "--dry-run", str(victim.pid))
        assert done.returncode == FINDING
        loops = re.findall(r"eventfd (\d+)", done.stdout)
        assert len(loops) == len(report(str(victim.pid))["contexts"])
        assert_untouched(victim.pid, before)
        done = qhang("kick", "--notify-only", "--yes", str(victim.pid))
        assert done.returncode == CLEAN
        assert re.findall(r"eventfd (\d+)", done.stdout) == loops
        assert f"{len(loops)} event loops, no memory written" in done.stdout
        assert all(len(line) <= 80 for line in done.stdout.splitlines())
        assert_goes_on(victim, "graph-unkicked")
    with Victim("wake-lost") as victim:
        shown = dry(victim)
        assert qhang("kick", "--notify-only", "--yes",
                     str(victim.pid)).returncode == CLEAN
        wait_until(lambda: set(task_states(victim.pid).values()) == {"S"},
                   "all sleep again")
        assert dry(victim) == shown
