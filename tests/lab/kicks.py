#!/usr/bin/python3
"""How many hangs of real QEMUs a kick ends, and whether anything was lost.

SPDX-License-Identifier: GPL-2.0-or-later

Natural hangs under stress-ng with a second disk under I/O, the forced erased
form with its timer pending and fired, and a guest that runs.  Takes an hour;
keeps tests/bench/results/kick.{json,md}.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional, Sequence

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))

# pylint: disable=wrong-import-position
import build as lab_build
from figures import columns, keep
from kicked import (ANSWER_S, KickFailed, kick, racing_guest, rescue_forced,
                    rescue_natural)
from hang import NoHang
from labapt import LabError, SourceMissing
from race import ERASED, WAKE_BEFORE_ARM


@dataclass
class Row:
    """One row of the table; what a kick took, of each that went well."""

    name: str
    wanted: int
    took_s: list[float] = field(default_factory=list)
    more_kicks: int = 0
    second_steps: int = 0
    none: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def cells(self) -> list[str]:
        """For the table."""
        took = sorted(self.took_s)
        return [self.name, f"{len(took)} of {self.wanted}",
                *((f"{took[len(took) // 2]:.4f}", f"{took[-1]:.4f}")
                  if took else ("-", "-")),
                str(self.more_kicks), str(self.second_steps),
                f"{self.seconds:.0f}"]


def natural(build: str) -> Callable[[Row], None]:
    """A natural hang; its images are looked at."""
    def run(row: Row) -> None:
        rescued = rescue_natural(build)
        row.took_s.append(rescued.kick.took_s())
        row.more_kicks += rescued.more_kicks
        row.second_steps += rescued.steps
    return run


def erased(fired: bool) -> Callable[[Row], None]:
    """The form that never heals."""
    def run(row: Row) -> None:
        row.took_s.append(rescue_forced("graphfix", ERASED, fired).took_s())
    return run


def guest(row: Row) -> None:
    """A guest that counts on."""
    with racing_guest(WAKE_BEFORE_ARM) as qemu:
        done = kick(qemu.pid)
        if done.status or not qemu.qmp.answered(ANSWER_S):
            raise KickFailed(done.told())
        qemu.wait_round()
        row.took_s.append(done.took_s())


ROWS: tuple[tuple[str, int, Callable[[Row], None]], ...] = (
    ("erased, timer pending", 20, erased(False)),
    ("erased, timer fired", 20, erased(True)),
    ("guest, wake before arm", 10, guest),
    ("natural, graphfix", 50, natural("graphfix")),
    ("natural, stock", 50, natural("stock")),
)


def table(rows: Sequence[Row]) -> str:
    """The counts, what the words mean, and what did not go as it must."""
    failures = [f"- {row.name}: {failure.splitlines()[0]}"
                for row in rows for failure in row.failures]
    none = sum(row.none for row in rows)
    return columns(
        ["hang", "went on", "median s", "longest s", "kicked again",
         "writes of the second disk", "seconds"],
        [row.cells() for row in rows]) + (
        "\n\nThe time is from when the stopped process was let go until its "
        "waiter had left its wait, as qhang kick tells it; QMP answered "
        f"within {ANSWER_S:.0f} s of the kick's end, of all that went on.  A "
        "natural hang then finishes ten more pairs of blockdev-add and "
        "blockdev-del (hung again ones are kicked again), a second disk that "
        "was written and read back all the while reads back whole, so does a "
        "pattern of the first, and qemu-img check finds both images clean."
    ) + (f"\n\n{none} times no hang came for a long while, and its hunt began "
         "anew." if none else "") + (
        "\n\nThese did not:\n\n" + "\n".join(failures) if failures else "")


def _hang_and_kick(row: Row, once: Callable[[Row], None]) -> None:
    """One hang; where none comes for a long while, the wait begins anew."""
    for last in (False, False, True):
        try:
            return once(row)
        except NoHang:
            row.none += 1
            if last:
                raise


def run_row(row: Row, once: Callable[[Row], None]) -> None:
    """Makes a row; a failure is written down and the rest goes on."""
    began = time.monotonic()
    for done in range(row.wanted):
        try:
            _hang_and_kick(row, once)
        except Exception as error:  # told, counted, and fatal at the end
            row.failures.append(f"{type(error).__name__}: {error}")
            print(f"{row.name}: {row.failures[-1]}", file=sys.stderr)
        row.seconds = time.monotonic() - began
        print(f"{row.name}: {len(row.took_s)} of {done + 1}, "
              f"{row.seconds:.0f} s", file=sys.stderr, flush=True)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Command line: 0 all went on, 1 not, 77 no lab."""
    parser = argparse.ArgumentParser(
        description="Counts hangs that a kick ends, and keeps the table.",
        epilog="example: tests/lab/kicks.py --count 2 --only natural")
    parser.add_argument("--count", type=int, metavar="N",
                        help="so many of each row; not kept")
    parser.add_argument("--only", metavar="TEXT",
                        help="only rows with TEXT in their name; not kept")
    args = parser.parse_args(argv)
    rows = []
    try:
        lab_build.ensure([*lab_build.FIRST, "system"])
        for name, wanted, once in ROWS:
            if args.only and args.only not in name:
                continue
            rows.append(Row(name, args.count or wanted))
            run_row(rows[-1], once)
    except SourceMissing as missing:
        print(f"kicks.py: skipped: {missing}", file=sys.stderr)
        return lab_build.EXIT_MISSING
    except LabError as error:
        print(f"kicks.py: {error}", file=sys.stderr)
        return lab_build.EXIT_FAILED
    print(table(rows))
    if not args.count and not args.only:
        keep("kick", "Hangs of real QEMUs that a kick ends",
             {"revision": lab_build.revision(), "qemu": lab_build.WANTED,
              "rows": [vars(row) for row in rows]}, table(rows))
    return 1 if any(row.failures for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
