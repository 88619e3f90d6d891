#!/usr/bin/python3
"""How many rounds of opening and closing a node hang, build by build.

SPDX-License-Identifier: GPL-2.0-or-later

The seed's results on real QEMU.  A round is a fresh QEMU and ten times
blockdev-add and blockdev-del, while stress-ng keeps every CPU busy; no
debugger, no injected delay.  Takes some five minutes; keeps
tests/bench/results/rounds.{json,md}.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional, Sequence, Union

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))

# pylint: disable=wrong-import-position
import build as lab_build
from figures import columns, keep
from hang import CONFIRM_S, FRAMES, HANG_AFTER_S, Hang, LateAnswer, hunt
from labapt import LabError, SourceMissing
from labqemu import DAEMON, Qemu, Stress

PAIRS = 10
STRESS_SLICE_S = 300
# Of a known wait so many functions tell it; of another one so many more.
TOLD = 3
TOLD_OF_UNKNOWN = 8
# So many late rounds for each one that counts are too many.
MOST_LATE = 3
CONFIDENCE = 0.95


class TooSlow(Exception):
    """Answers are late all the time: nothing can be said about hangs."""


@dataclass
class Result:
    """What became of the rounds of one program.

    `stress` is the number of stress-ng's workers, 0 for none; `load` what the
    machine had to do (its one minute's load average) when it began.  A late
    round, one whose answer came as soon as the stressors had gone, is none of
    `rounds`: it has been made up for.  `places` counts where the main thread
    of each hung one stands.
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
        """The share of hung rounds that no hang in so many still allows.

        One-sided, at 95 %; None when there was a hang, or no round.
        """
        if self.hung or not self.rounds:
            return None
        return 1 - (1 - CONFIDENCE) ** (1 / self.rounds)


Progress = Callable[[Result], None]


def place(hang: Hang) -> str:
    """Where the main thread stands, innermost function first."""
    frame = FRAMES.get(hang.kind)
    told = (hang.stack[hang.stack.index(frame):][:TOLD] if frame
            else hang.stack[:TOLD_OF_UNKNOWN])
    return " <- ".join(told) or "unknown"


def _round(lab: Path, exe: Path, stress: int, pairs: int) -> Optional[str]:
    """One round; where it hangs, or None."""
    system = exe.name.startswith("qemu-system")
    with ExitStack() as stack:
        qemu = stack.enter_context(Qemu(lab, exe.parent.name, system,
                                        exe=exe))
        qemu.to_iothread()
        busy = (stack.enter_context(Stress(STRESS_SLICE_S, stress))
                if stress else None)
        hang = hunt(qemu, busy, pairs)
        return place(hang) if hang else None


def rounds(program: Union[str, Path], wanted: int,
           stress: Optional[int] = None, pairs: int = PAIRS,
           lab: Optional[Path] = None,
           progress: Progress = lambda _: None) -> Result:
    """Counts the hung ones among `wanted` rounds of a program.

    `program` is a build of the lab or the path of a storage daemon or system
    emulator; `stress` is the number of stress-ng's workers, None for one on
    every CPU.  `progress` is told after every round.  Raises TooSlow when
    answers keep coming late, QmpError when the QEMU ends or refuses.
    """
    lab = lab or lab_build.lab_folder()
    exe = (program if isinstance(program, Path)
           else lab / "bin" / program / DAEMON)
    if stress is None:
        stress = os.cpu_count() or 1
    found = Result(str(program), stress, load=os.getloadavg()[0])
    started = time.monotonic()
    while found.rounds < wanted:
        try:
            where = _round(lab, exe, stress, pairs)
        except LateAnswer as late:
            found.late += 1
            if found.late > MOST_LATE * wanted:
                raise TooSlow(f"{exe}: late {found.late} times") from late
            continue
        found.rounds += 1
        if where:
            found.hung += 1
            found.places[where] += 1
        found.seconds = time.monotonic() - started
        progress(found)
    return found


@dataclass(frozen=True)
class Row:
    """One row of the table, and whether it must hang, None for open."""

    build: str
    rounds: int
    stress: Optional[int]
    must_hang: Optional[bool]


ROWS = (
    Row("stock", 100, 0, None),
    Row("stock", 30, None, True),
    Row("graphfix", 30, None, True),
    Row("fixed", 300, None, False),
)


def table(results: Sequence[Result]) -> str:
    """The counts as Markdown, in the form of the seed's."""
    rows = []
    for one in results:
        passed = (f"{one.rounds - one.hung}/{one.rounds} PASS"
                  if one.hung == 0 else f"hung {one.hung} of {one.rounds}")
        bound = f"{one.at_most:.1%}" if one.at_most is not None else ""
        rows.append([
            one.program,
            str(one.stress or f"none (load before {one.load:.1f})"),
            passed, bound,
            str(one.late), f"{one.seconds:.0f}",
            "; ".join(f"{count}: `{where}`"
                      for where, count in one.places.most_common())])
    return columns(["build", "stress-ng --cpu", "rounds",
                    "hangs at most (95 %)", "late", "seconds",
                    "where the main thread stands"], rows)


def text(results: Sequence[Result]) -> str:
    """The table, and what its words mean."""
    return (
        f"{table(results)}\n\n"
        f"A round is a fresh storage daemon and {PAIRS} pairs of blockdev-add "
        "and blockdev-del of a qcow2 node on a file node in an iothread, "
        "daemon and stressors in one session.  Hung: an answer took more than "
        f"{HANG_AFTER_S:.0f} s and had not come {CONFIRM_S:.0f} s after the "
        "stressors' end.  Late: it came then; another round was made in its "
        "place.  \"At most\" is the share of hung rounds that would give none "
        "in so many with a chance of 5 %.")


def as_expected(row: Row, found: Result) -> bool:
    """Whether the count is on the side that it must be on."""
    return row.must_hang is None or row.must_hang == (found.hung > 0)


def _say(found: Result) -> None:
    print(f"{found.program}, {found.stress} stressors: {found.hung} of "
          f"{found.rounds} hung, {found.late} late", file=sys.stderr,
          flush=True)


def main() -> int:
    """Command line: 0 as expected, 1 not, 77 no lab."""
    parser = argparse.ArgumentParser(
        description="Counts how many rounds of add/del hang under stress-ng, "
                    "build by build, and keeps the table.",
        epilog="example: tests/lab/rounds.py --rounds 5 --build graphfix")
    parser.add_argument("--rounds", type=int, metavar="N",
                        help="so many of each row; the figures are then "
                        "shown and not kept")
    parser.add_argument("--build", choices=lab_build.FIRST, action="append",
                        help="only this one, not kept; may be given again")
    args = parser.parse_args()
    results, good = [], True
    try:
        lab = lab_build.ensure(lab_build.FIRST)
        for row in ROWS:
            if args.build and row.build not in args.build:
                continue
            found = rounds(row.build, args.rounds or row.rounds, row.stress,
                           lab=lab, progress=_say)
            results.append(found)
            good = good and as_expected(row, found)
    except SourceMissing as missing:
        print(f"rounds.py: skipped: {missing}", file=sys.stderr)
        return lab_build.EXIT_MISSING
    except (LabError, TooSlow) as error:
        print(f"rounds.py: {error}", file=sys.stderr)
        return lab_build.EXIT_FAILED
    print(text(results))
    if not args.rounds and not args.build:
        kept = {
            "revision": lab_build.revision(),
            "qemu": lab_build.WANTED,
            "rows": [{**vars(one), "at_most": one.at_most}
                     for one in results]}
        keep("rounds", "Rounds of opening and closing a node, real QEMU",
             kept, text(results))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
