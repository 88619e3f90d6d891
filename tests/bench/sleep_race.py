#!/usr/bin/python3
"""Ten million sleep/wake races for each sleep, and how many wakes got lost.

SPDX-License-Identifier: GPL-2.0-or-later

Runs tests/unit/sleep_race.c from $QHANG_BUILD (default: build/); see there how
a lost wake is told.  Takes some ten minutes; keeps results/sleep_race.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from figures import columns, keep

CHECKOUT = Path(__file__).resolve().parents[2]
MODES = {
    "one waker": (),
    "two wakers": ("--wakers", "2"),
    "timer of 20 us": ("--timer-us", "20"),
}
# The faulty one dies of a second waker and of a late timer.
ROWS = ([("legacy", "one waker")]
        + [(twin, mode) for twin in ("fixed", "qemu", "mark")
           for mode in MODES])


def race(folder: Path, twin: str, mode: str, races: int,
         seed: int) -> dict[str, Any]:
    """One run; what it printed."""
    done = subprocess.run(
        [str(folder / f"sleep_race_{twin}"), "--races", str(races), "--seed",
         str(seed), *MODES[mode]], check=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE)
    return {**json.loads(done.stdout), "mode": mode}


def table(rows: list[dict[str, Any]]) -> str:
    """The counts as Markdown."""
    return columns(
        ["sleep", "against", "races", "wake before arm: lost",
         "erased: lost", "races a second"],
        [[row["twin"], row["mode"], f"{row['races']:,}",
          f"{row['never_kicked']:,}", f"{row['erased']:,}",
          f"{row['races'] / row['seconds']:,.0f}"] for row in rows])


def main() -> int:
    """Command line: 0 when only the faulty one lost any, else 1."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: tests/bench/race.py --races 1000000")
    parser.add_argument("--races", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    folder = Path(os.environ.get("QHANG_BUILD", CHECKOUT / "build"))
    rows = []
    for twin, mode in ROWS:
        rows.append(race(folder / "tests/unit", twin, mode, args.races,
                         args.seed))
        print(json.dumps(rows[-1]), flush=True)
    text = table(rows)
    print(text)
    keep("sleep_race", "Races of sleep and wake", {"rows": rows},
         f"{rows[0]['threads']} threads, each of them always busy.  `legacy` "
         "is the faulty sleep, `mark` QEMU's own repair, `qemu` what goes "
         f"into a QEMU tree.\n\n{text}")
    lost = [row for row in rows if row["never_kicked"] + row["erased"]]
    return 0 if {row["twin"] for row in lost} == {"legacy"} else 1


if __name__ == "__main__":
    sys.exit(main())
