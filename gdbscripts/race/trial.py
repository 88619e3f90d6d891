"""Puts a program on trial for `qhang verify`: forced races, rounds of stress.

SPDX-License-Identifier: GPL-2.0-or-later

What is found goes to stdout, one JSON object a line (collector/verify/trial.c
reads it): {"progress": CHECK, "done": N, "of": N} while a check goes on, and
{"result": CHECK, "verdict": ..., "where": ..., "why": ..., "rounds": N,
"hung": N, "agreed": N, "late": N, "seconds": X, "at_most": X} at its end.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional, Sequence

from .forced import (ERASED, GRAPH, HANG, WAKE_BEFORE_ARM, ForcedRace,
                     RaceError, Unreached)
from .mi import MiError
from .qemu import Qemu, die_with_parent
from .qmp import QmpError
from .rounds import Result, TooSlow, rounds, upper_bound
from .setup import Setup, Unfit, prepare
from .stress import StressError
from .symbols import SymbolError

# Each forced interleaving, and the rule that its hang must be diagnosed as.
RACES = {
    "race.wake-before-arm": (WAKE_BEFORE_ARM, "sleep.wake-lost"),
    "race.erased": (ERASED, "sleep.erased"),
    "race.graph-unlock": (GRAPH, "graph.writer-unkicked"),
}
STRESS = "stress"
RULES = {rule for _, rule in RACES.values()}
UNEXAMINED = "not examined"
NO_FINDING = "no finding"

SAFE, VULNERABLE, UNDETERMINED = "safe", "vulnerable", "undetermined"
# An interleaving that was not reached so often in a row is given up.
MOST_MISSES = 2
# Clean rounds that leave room for more hangs than this say nothing.
SAFE_BELOW = 0.05
ENDED_BY_SIGNAL = 128 + signal.SIGTERM


@dataclass
class Tally:
    """What a check has come to; `rules` counts what its hangs were."""

    check: str
    wanted: int
    rounds: int = 0
    hung: int = 0
    agreed: int = 0
    late: int = 0
    seconds: float = 0.0
    where: Optional[str] = None
    rules: Counter = field(default_factory=Counter)
    misses: list[str] = field(default_factory=list)

    def diagnosed(self) -> str:
        """"sleep.erased 3 times, no finding once"."""
        return ", ".join(f"{rule} {_times(count)}"
                         for rule, count in self.rules.most_common())


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def _say_progress(tally: Tally) -> None:
    _say({"progress": tally.check, "done": tally.rounds + len(tally.misses),
          "of": tally.wanted})


def _say_result(tally: Tally, verdict: str, why: str) -> None:
    at_most = (upper_bound(tally.hung, tally.rounds)
               if tally.check == STRESS else None)
    _say({"result": tally.check, "verdict": verdict, "where": tally.where,
          "why": why, "rounds": tally.rounds, "hung": tally.hung,
          "agreed": tally.agreed, "late": tally.late,
          "seconds": round(tally.seconds, 3), "at_most": at_most})


def name_of(setup: Setup, pid: int, wanted: Optional[str] = None) -> str:
    """What qhang says of a process that hangs: one rule.

    `wanted`, where it is among several.
    """
    try:
        rules = setup.diagnose(pid)
    except Unfit:
        return UNEXAMINED
    if wanted in rules:
        return wanted or NO_FINDING
    return rules[0] if rules else NO_FINDING


# Forced.

class HungBefore(RaceError):
    """A known fault came before the interleaving, and will again."""


def _force(setup: Setup, tally: Tally) -> None:
    """One round.  RaceError when the interleaving was not reached."""
    interleaving, rule = RACES[tally.check]
    with setup.start() as qemu:
        qemu.to_iothread()
        race = ForcedRace(qemu.pid, interleaving, qemu.send_add,
                          qemu.qmp.answered)
        try:
            outcome = race.run()
        except QmpError as error:
            if qemu.alive():
                raise
            raise RaceError(f"it ended: {qemu.last_words()}") from error
        except Unreached:
            raise
        except RaceError as error:
            name = _hung_before(setup, qemu)
            if name is None:
                raise
            raise HungBefore(f"{error}: it hung before that, diagnosed as "
                             f"{name}") from error
        tally.where = race.where
        tally.rounds += 1
        if outcome == HANG:
            name = name_of(setup, qemu.pid, rule)
            tally.hung += 1
            tally.rules[name] += 1
            tally.agreed += name == rule


def _hung_before(setup: Setup, qemu: Qemu) -> Optional[str]:
    """The known fault that it hung in on the way to an interleaving."""
    if not qemu.alive() or qemu.qmp.answered(0.0):
        return None
    name = name_of(setup, qemu.pid)
    return name if name in RULES else None


def _check_examinable(setup: Setup) -> None:
    """Unfit where a hang could not be told from another later on."""
    if not shutil.which("gdb"):
        raise Unfit("gdb is not installed: apt-get install gdb")
    with setup.start() as qemu:
        found = setup.diagnose(qemu.pid)
    if found:
        raise Unfit("it is diagnosed before anything was forced: "
                    + ", ".join(found))


def race(setup: Setup, tally: Tally) -> None:
    """All rounds of one interleaving, and its result."""
    started = time.monotonic()
    in_a_row = 0
    while (tally.rounds + len(tally.misses) < tally.wanted
           and in_a_row < MOST_MISSES):
        try:
            _force(setup, tally)
            in_a_row = 0
        except (HungBefore, Unreached) as error:
            tally.misses.append(str(error))
            in_a_row = MOST_MISSES
        except (RaceError, MiError, QmpError) as error:
            tally.misses.append(str(error))
            in_a_row += 1
        tally.seconds = time.monotonic() - started
        _say_progress(tally)
    _say_result(tally, *race_verdict(tally))


def race_verdict(tally: Tally) -> tuple[str, str]:
    """Verdict and reason, from the counts of a forced interleaving."""
    forced = f"forced {_times(tally.rounds)}: "
    missed = (f"; {_times(len(tally.misses))} it could not be forced: "
              f"{tally.misses[0]}" if tally.misses else "")
    if tally.agreed:
        return VULNERABLE, (f"{forced}hung {_times(tally.hung)}, diagnosed as "
                            f"{tally.diagnosed()}{missed}")
    if tally.hung:
        return UNDETERMINED, (
            f"{forced}hung {_times(tally.hung)}, but not as was forced: "
            f"{tally.diagnosed()}{missed}")
    if tally.misses:
        return UNDETERMINED, f"it could not be forced: {tally.misses[0]}"
    return SAFE, f"{forced}went on" + " each time" * (tally.rounds > 1)


# Natural.

def _bound(tally: Tally) -> str:
    """"below 5 % at 95 %", never less than it is."""
    percent = 100 * (upper_bound(tally.hung, tally.rounds) or 1.0)
    told = (f"{math.ceil(percent)}" if percent >= 1
            else f"{math.ceil(percent * 10) / 10}")
    return f"below {told} % at 95 %"


def rounds_for(share: float) -> int:
    """How many clean rounds it takes to say that fewer than this hang."""
    count = 1
    while (upper_bound(0, count) or 1.0) > share:
        count += 1
    return count


def stress(setup: Setup, tally: Tally) -> None:
    """All rounds under load, and their result."""
    def progress(found: Result) -> None:
        _take(tally, found)
        _say_progress(tally)

    try:
        rounds(str(setup.program), setup.start,
               lambda qemu: name_of(setup, qemu.pid), tally.wanted,
               progress=progress)
    except (QmpError, StressError, TooSlow) as error:
        tally.misses.append(str(error))
    _say_result(tally, *stress_verdict(tally))


def _take(tally: Tally, found: Result) -> None:
    tally.rounds, tally.hung = found.rounds, found.hung
    tally.late, tally.seconds = found.late, found.seconds
    tally.rules = found.places
    tally.agreed = sum(count for rule, count in found.places.items()
                       if rule in RULES)


def stress_verdict(tally: Tally) -> tuple[str, str]:
    """Verdict and reason, from the counts of rounds under load."""
    count = f"{tally.hung} of {tally.rounds} rounds hung"
    if tally.rounds:
        count += f": {_bound(tally)}"
    if tally.misses:
        count += f"; then it could not go on: {tally.misses[0]}"
    if tally.hung:
        told = f"{count}; diagnosed: {tally.diagnosed()}"
        known = tally.agreed or tally.rules[UNEXAMINED]
        return (VULNERABLE, told) if known else (
            UNDETERMINED, f"{told}: none of the faults that are judged here")
    if tally.misses:
        return UNDETERMINED, count
    least = rounds_for(SAFE_BELOW)
    if tally.rounds < least:
        return UNDETERMINED, (f"{count}; {least} rounds would say below "
                              f"{SAFE_BELOW:.0%}".replace("%", " %"))
    return SAFE, count


# The command.

def _wanted(text: str) -> tuple[str, int]:
    """"race.erased=20" as its two parts."""
    name, _, count = text.partition("=")
    if name not in (*RACES, STRESS) or not count.isdigit() or not int(count):
        raise argparse.ArgumentTypeError(f"no check: {text}")
    return name, int(count)


def _run(setup: Setup, tallies: Sequence[Tally]) -> None:
    examinable: Optional[str] = None
    asked = False
    for tally in tallies:
        _say_progress(tally)
        run: Callable[[Setup, Tally], None] = stress
        try:
            if tally.check in RACES:
                run = race
                if not asked:
                    asked = True
                    try:
                        _check_examinable(setup)
                    except (Unfit, QmpError) as error:
                        examinable = str(error)
                if examinable:
                    raise Unfit(examinable)
            run(setup, tally)
        except (Unfit, SymbolError, OSError) as error:
            _say_result(tally, UNDETERMINED, str(error))


def _end(*_: object) -> None:
    """On a signal: everything that was begun is ended on the way out."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(ENDED_BY_SIGNAL)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Command line: 0 each check has its result."""
    parser = argparse.ArgumentParser(
        description="Puts a QEMU on trial; `qhang verify` runs this.")
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--qhang", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True,
                        help="an empty folder, removed at the end")
    parser.add_argument("--check", type=_wanted, action="append",
                        required=True, metavar="CHECK=ROUNDS")
    args = parser.parse_args(argv)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _end)
    parent = os.getppid()
    die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:
        return ENDED_BY_SIGNAL
    tallies = [Tally(name, count) for name, count in args.check]
    try:
        _run(prepare(args.program, args.qhang, args.work), tallies)
    except Unfit as error:
        for tally in tallies:
            _say_result(tally, UNDETERMINED, str(error))
    finally:
        shutil.rmtree(args.work, ignore_errors=True)
    return 0
