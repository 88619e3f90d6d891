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
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Sequence, Union

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))

# pylint: disable=wrong-import-position
import build as lab_build
from figures import columns, keep
from hang import FRAMES, UNKNOWN, kind_of, main_thread_functions
from labapt import LabError, SourceMissing
from labqemu import DAEMON, Qemu
from race import rounds as race_rounds
from race.qemu import Qemu as AnyQemu
from race.rounds import CONFIRM_S, HANG_AFTER_S, PAIRS, Result, TooSlow

# Of a known wait so many functions tell it; of another one so many more.
TOLD = 3
TOLD_OF_UNKNOWN = 8


def place(qemu: AnyQemu) -> str:
    """Where the main thread stands, innermost function first."""
    stack = main_thread_functions(qemu.pid)
    frame = FRAMES.get(kind_of(stack))
    told = (stack[stack.index(frame):][:TOLD] if frame
            else stack[:TOLD_OF_UNKNOWN])
    return " <- ".join(told) or UNKNOWN


def rounds(program: Union[str, Path], wanted: int,
           stress: Optional[int] = None, pairs: int = PAIRS,
           lab: Optional[Path] = None,
           progress: Callable[[Result], None] = lambda _: None) -> Result:
    """Counts the hung ones among `wanted` rounds of a program.

    `program` is a build of the lab or the path of a storage daemon or system
    emulator; the rest is as for race.rounds.rounds().
    """
    folder = lab or lab_build.lab_folder()
    exe = (program if isinstance(program, Path)
           else folder / "bin" / program / DAEMON)
    system = exe.name.startswith("qemu-system")
    return race_rounds.rounds(
        str(program),
        lambda: Qemu(folder, exe.parent.name, system, exe=exe),
        place, wanted, stress, pairs, progress)


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
        "place.  \"At most\" is the share of hung rounds that would give so "
        "few with a chance of 5 %.")


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
