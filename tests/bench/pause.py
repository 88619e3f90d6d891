#!/usr/bin/python3
"""How long qhang and gdb stop a QEMU, seen from outside, side by side.

SPDX-License-Identifier: GPL-2.0-or-later

The tools take turns on one and the same hung storage daemon.  For qhang the
samples before and after a stop are counted in (see stops.py), for gdb they are
not: the ratio is never better than the truth.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "tests/lab")]

# pylint: disable=wrong-import-position
import build as lab_build
from figures import columns, keep
from forced import forced
from labapt import LabError, SourceMissing
from labqhang import EXIT_FINDING, qhang_program
from race import HANG, WAKE_BEFORE_ARM
from stops import MeasureError, Stop, measure

WANTED_RATIO = 100.0
ROUNDS = 7


def reported_pause_ns(pid: int) -> int:
    """What qhang itself says about its longest stop."""
    done = subprocess.run([qhang_program(), "diagnose", "--json", str(pid)],
                          check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE)
    return int(json.loads(done.stdout)["pause_ns"])


def compare(pid: int, rounds: int) -> dict[str, Any]:
    """Takes turns and adds up; times in milliseconds."""
    tools = {
        "qhang": ([str(qhang_program()), "diagnose", str(pid)], EXIT_FINDING),
        "gdb": (["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off",
                 "-p", str(pid), "-ex", "thread apply all bt"], 0),
    }
    runs: dict[str, list[tuple[Stop, float]]] = {name: [] for name in tools}
    for _ in range(rounds):
        for name, (argv, status) in tools.items():
            runs[name].append(measure(pid, argv, status))
    qhang_ms = max(stop.at_most_ns for stop, _ in runs["qhang"]) / 1e6
    gdb_ms = max(stop.seen_ns for stop, _ in runs["gdb"]) / 1e6
    found: dict[str, Any] = {"rounds": rounds}
    for name, told in runs.items():
        found[name] = {
            "longest_seen_ms": max(s.seen_ns for s, _ in told) / 1e6,
            "longest_at_most_ms": max(s.at_most_ns for s, _ in told) / 1e6,
            "median_seen_ms":
                statistics.median(s.seen_ns for s, _ in told) / 1e6,
            "whole_run_median_s": statistics.median(t for _, t in told),
            "sampling_us":
                statistics.median(s.sampling_ns for s, _ in told) / 1e3,
        }
    found["qhang"]["reported_ms"] = reported_pause_ns(pid) / 1e6
    found["ratio"] = gdb_ms / qhang_ms
    return found


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows = []
    for name, title in (("qhang", "qhang diagnose"),
                        ("gdb", "gdb thread apply all bt")):
        row = found[name]
        rows.append([title, f"{row['longest_seen_ms']:.3f}",
                     f"{row['longest_at_most_ms']:.3f}",
                     f"{row['median_seen_ms']:.3f}",
                     f"{row['whole_run_median_s']:.3f}"])
    text = columns(["tool", "longest stop, ms", "at most, ms", "median, ms",
                    "whole run, s"], rows)
    return (f"{text}\n\ngdb's longest stop is {found['ratio']:.0f} times "
            f"qhang's (wanted: {WANTED_RATIO:.0f}); qhang itself reported "
            f"{found['qhang']['reported_ms']:.3f} ms; a look at every thread "
            f"took {found['qhang']['sampling_us']:.0f} us; "
            f"{found['rounds']} rounds.")


def main() -> int:
    """Command line: 0 ratio reached, 1 not, 77 no lab."""
    parser = argparse.ArgumentParser(
        description="Measures the longest stop of a hung storage daemon "
                    "under qhang diagnose and under gdb, in one run.",
        epilog="example: tests/bench/pause.py --rounds 5")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--pid", type=int,
                        help="take this process, not one of the lab")
    parser.add_argument("--save", action="store_true",
                        help="keep the figures in tests/bench/results")
    args = parser.parse_args()
    try:
        if args.pid:
            found = compare(args.pid, args.rounds)
        else:
            lab_build.ensure(["graphfix"])
            with forced("graphfix", WAKE_BEFORE_ARM) as (qemu, outcome):
                assert outcome == HANG, outcome
                found = compare(qemu.pid, args.rounds)
    except SourceMissing as missing:
        print(f"pause.py: skipped: {missing}", file=sys.stderr)
        return lab_build.EXIT_MISSING
    except (LabError, MeasureError, OSError) as error:
        print(f"pause.py: {error}", file=sys.stderr)
        return lab_build.EXIT_FAILED
    print(table(found))
    if args.save:
        keep("pause", "Longest stop of a hung storage daemon", found,
             table(found))
    return 0 if found["ratio"] >= WANTED_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
